"""docker-compose.yml: well formed, held short, started in order, and of the same words as what it starts."""

import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from server.settings import Settings
from tests.conftest import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EACH = pytest.mark.parametrize("name", SERVICES)

KEYS_OF_A_SERVICE = {
    *("build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "init", "logging"),
    *("networks", "ports", "profiles", "read_only", "restart", "secrets", "security_opt", "stop_grace_period", "tmpfs"),
    *("user", "volumes"),
}
"""Those of the Compose specification that are used here: a misspelt one is found."""


@EACH
def test_keys_are_known(name: str) -> None:
    assert set(SERVICES[name]) <= KEYS_OF_A_SERVICE
    health = {"test", "interval", "timeout", "retries", "start_period"}
    assert set(SERVICES[name].get("healthcheck", {})) <= health
    assert set(COMPOSE) <= {"services", "secrets", "volumes", "x-hardened", "x-server"}


@pytest.mark.parametrize("profiles", [["cpu"], ["gpu"], ["cpu", "watch", "load", "milvus"]])
def test_compose_itself_accepts_it(profiles: list[str]) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, timeout=60).returncode:
        pytest.skip("docker compose is not installed")
    chosen = [part for profile in profiles for part in ("--profile", profile)]
    said = subprocess.run(
        [docker, "compose", *chosen, "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert said.returncode == 0, said.stderr


@EACH
def test_services_are_held_short(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] != "0" or name == "milvus"
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert service["profiles"]


@EACH
def test_versions_are_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


@EACH
def test_it_listens_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name]["ports"]:
        assert re.match(r"127\.0\.0\.1:|\$\{VERNIER_PUBLISH:-127\.0\.0\.1:", port)


@EACH
def test_order_waits_for_health(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        has_check = "healthcheck" in SERVICES[other] or SERVICES[other]["build"]["target"] == "server"
        assert has_check, other
        assert how.get("required", True) is (SERVICES[other]["profiles"] == SERVICES[name]["profiles"])


def test_named_volumes_and_secrets_exist() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), (name, source)
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    assert all(list(secret) == ["file"] for secret in COMPOSE["secrets"].values())


def test_variables_are_the_servers() -> None:
    known = {f"VERNIER_{field.upper()}" for field in Settings.model_fields} | {"VERNIER_API_KEY"}
    for name in ("server", "server-gpu", "locust"):
        told = {entry for entry in SERVICES[name]["environment"] if entry.startswith("VERNIER_")}
        assert told <= known, name


def test_targets_of_the_image_exist() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["target"] in stages, name
    for lock in ("serve", "milvus", "gpu", "dev"):
        assert (ROOT / "requirements" / f"{lock}.txt").is_file()


def test_prometheus_asks_where_the_server_answers() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    for name in ("server", "server-gpu"):
        assert "server" in SERVICES[name]["networks"]["default"]["aliases"]
    assert job["authorization"]["credentials_file"].removeprefix("/run/secrets/") in SERVICES["prometheus"]["secrets"]


def test_our_images_are_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name, service in SERVICES.items():
        assert "build" not in service or service["image"].endswith(f":{version}"), name
    for way in ("one-machine", "many-machines"):
        kustomization = yaml.safe_load((ROOT / "deploy" / "kubernetes" / way / "kustomization.yaml").read_text())
        assert [image["newTag"] for image in kustomization["images"]] == [version], way
