"""The Kubernetes examples fit the schemas of real clusters, keep the one-writer rule, and scale by a real metric."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from server.settings import Settings
from tests.conftest import ROOT
from tests.unit.deploy.metric_names import SERIES, asked_for

HERE = ROOT / "deploy" / "kubernetes"
WAYS = ("one-machine", "many-machines")


def resources(way: str) -> list[dict[str, Any]]:
    listed = yaml.safe_load((HERE / way / "kustomization.yaml").read_text())["resources"]
    return [document for file in listed for document in yaml.safe_load_all((HERE / way / file).read_text())]


def only(way: str, kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in resources(way) if resource["kind"] == kind]
    return found


def workload(way: str) -> dict[str, Any]:
    return only(way, "StatefulSet" if way == "one-machine" else "Deployment")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
def test_schemas_of_three_versions(way: str, version: str) -> None:
    for resource in resources(way):
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [({"replicas": "one"}, "integer"), ({"replica": 1}, "unexpected"), ({"selector": []}, "object")],
)
def test_the_schemas_would_find_something(wrong: dict[str, Any], complaint: str) -> None:
    broken = copy.deepcopy(workload("one-machine"))
    broken["spec"] |= wrong
    with pytest.raises(kubernetes_validate.ValidationError, match=complaint):
        kubernetes_validate.validate(broken, "1.37", strict=True)


@pytest.mark.parametrize("way", WAYS)
def test_kustomize_builds_it(way: str) -> None:
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run([kubectl, "kustomize", str(HERE / way)], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    assert len(list(yaml.safe_load_all(built.stdout))) == len(resources(way))
    assert re.search(r"image: vernier-server\S*:0\.1\.0", built.stdout)


def test_a_gallery_in_a_directory_has_one_pod() -> None:
    """Its folder has one writer (`index/locks.py`), so nothing may start a second pod, not even while updating."""
    spec = workload("one-machine")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert not [way for way in resources("one-machine") if way["kind"] == "HorizontalPodAutoscaler"]


def test_many_pods_share_milvus_alone() -> None:
    spec = workload("many-machines")["spec"]
    assert "replicas" not in spec  # a number here would undo the autoscaler's at each apply
    (container,) = spec["template"]["spec"]["containers"]
    told = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    assert told["VERNIER_GALLERY"].startswith("milvus://")
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes["galleries"]


@pytest.mark.parametrize("way", WAYS)
def test_pods_are_held_short(way: str) -> None:
    pod = workload(way)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    uid = pod["securityContext"]["runAsUser"]
    assert f"USER {uid}\n" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert pod["terminationGracePeriodSeconds"] > Settings.model_fields["shutdown_timeout_s"].default


@pytest.mark.parametrize("way", WAYS)
def test_probes_and_settings_are_the_servers(way: str) -> None:
    (container,) = workload(way)["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {
        "startupProbe": "/health/ready",
        "readinessProbe": "/health/ready",
        "livenessProbe": "/health/live",
    }
    assert container["livenessProbe"]["timeoutSeconds"] > Settings.model_fields["canary_timeout_s"].default
    known = {f"VERNIER_{name.upper()}" for name in Settings.model_fields} | {"VERNIER_MILVUS_TOKEN"}
    assert {entry["name"] for entry in container["env"]} <= known


def test_it_scales_by_a_metric_that_the_server_has() -> None:
    scaler = only("many-machines", "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == workload("many-machines")["metadata"]["name"]
    assert scaler["minReplicas"] >= 2
    (metric,) = scaler["metrics"]
    (rule,) = yaml.safe_load((HERE / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert asked_for(rule["seriesQuery"]) == {"vernier_queue_depth"} <= SERIES


@pytest.mark.parametrize("way", WAYS)
def test_selectors_meet_pods(way: str) -> None:
    labels = workload(way)["spec"]["template"]["metadata"]["labels"]
    for resource in resources(way):
        selector = resource.get("spec", {}).get("selector")
        if selector:
            assert selector.get("matchLabels", selector).items() <= labels.items(), resource["kind"]


def test_no_secret_is_in_the_files() -> None:
    for file in sorted(Path(HERE).rglob("*.yaml")):
        assert "kind: Secret" not in file.read_text(), file
