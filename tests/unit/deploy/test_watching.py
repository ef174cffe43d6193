"""Prometheus' rules and Grafana's dashboard ask for series that the server has, and show what they promise."""

import json
from typing import Any

import pytest
import yaml

from server.errors import CODES
from tests.conftest import ROOT
from tests.unit.deploy.metric_names import SERIES, asked_for

DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "vernier.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_series_exist(expression: str) -> None:
    assert asked_for(expression) <= SERIES
    assert expression.count("(") == expression.count(")")


def test_this_would_find_a_series_that_is_not_there() -> None:
    assert not asked_for("rate(vernier_requests[5m])") <= SERIES
    assert asked_for("rate(vernier_requests_total[5m])") <= SERIES


def test_codes_in_alerts_are_the_servers() -> None:
    for rule in ALERTS:
        for part in rule["expr"].split('code="')[1:]:
            assert part.partition('"')[0] in CODES


def test_the_dashboard_shows_the_four_signals_and_the_stages() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows[:5] == ["Latency", "Traffic", "Errors", "Saturation", "Stages"]
    shown = set().union(*(asked_for(expression) for expression in EXPRESSIONS))
    assert {"vernier_request_seconds_bucket", "vernier_requests_total", "vernier_rejected_total"} <= shown
    assert {"vernier_queue_depth", "vernier_requests_in_flight", "vernier_stage_seconds_bucket"} <= shown


def test_panels_have_ids_places_and_a_source() -> None:
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    (prometheus,) = source["datasources"]
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["type"] == "row" or panel["datasource"]["uid"] == prometheus["uid"]
        assert len({target["refId"] for target in panel.get("targets", ())}) == len(panel.get("targets", ()))


def test_every_alert_is_in_the_runbook() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in ALERTS if f"`{rule['alert']}`" not in runbook] == []
