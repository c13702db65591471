"""Alerts and dashboards ask for metrics that there are, and each alert has a runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shared.adapters.telemetry import REGISTRY

FOLDER = Path("deploy/observability")
RULES_FILE = Path("deploy/helm/pointsman/files/alerts.yaml")
RULES = yaml.safe_load(RULES_FILE.read_text())
ALERTS = RULES["groups"][0]["rules"]
PANELS = json.loads((FOLDER / "grafana/dashboards/pointsman.json").read_text())["panels"]


def known() -> dict[str, set[str]]:
    """Series by name, with their labels."""
    found: dict[str, set[str]] = {}
    for collector in set(REGISTRY._collector_to_names):
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        kind, name = collector._type, collector._name  # type: ignore[attr-defined]
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
            kind, ("",)
        )
        found |= {
            name + ending: labels | ({"le"} if ending == "_bucket" else set()) for ending in endings
        }
    return found


def test_every_metric_and_label_that_is_asked_for_is_there() -> None:
    series = known()
    asked = [rule["expr"] for rule in ALERTS] + [
        target["expr"] for panel in PANELS for target in panel["targets"]
    ]
    for expression in asked:
        names = re.findall(r"pointsman_\w+", expression)
        assert names, expression
        labels = set().union(*(series[name] for name in names))
        by = {
            label.strip()
            for group in re.findall(r"by \(([^)]*)\)", expression)
            for label in group.split(",")
        }
        matched = set(re.findall(r"[{,]\s*(\w+)=~?", expression))
        assert (by | matched) - {"namespace"} <= labels, (
            expression
        )  # Kubernetes's, which Prometheus adds


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Prometheus's promtool is not installed"
)
def test_alerts_fire_on_what_they_say_and_on_nothing_else() -> None:
    config = (
        (FOLDER / "prometheus.yml")
        .read_text()
        .replace("/etc/prometheus", str(RULES_FILE.parent.resolve()))
    )
    for command in (
        ["check", "config", "/dev/stdin"],
        ["test", "rules", "tests/unit/services/alerts.promtool.yaml"],
    ):
        done = subprocess.run(
            ["promtool", *command], input=config, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_runbook() -> None:
    headings = {
        "#" + re.sub(r"[^\w-]", "", line.lstrip("# ").lower().replace(" ", "-"))
        for line in Path("docs/operations.md").read_text().splitlines()
        if line.startswith("#")
    }
    for rule in ALERTS:
        file, anchor = re.fullmatch(
            r"(docs/operations\.md)(#\w+)", rule["annotations"]["runbook"]
        ).groups()  # type: ignore[union-attr]
        assert Path(file).exists()
        assert anchor in headings, rule["alert"]


def test_the_chart_and_the_compose_file_have_the_same_alerts() -> None:
    docs = yaml.safe_load_all(Path("deploy/helm/rendered/strimzi.yaml").read_text())
    assert [doc["spec"] for doc in docs if doc["kind"] == "PrometheusRule"] == [RULES]
    mounted = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]["prometheus"][
        "volumes"
    ]
    assert "./deploy/helm/pointsman/files/alerts.yaml:/etc/prometheus/alerts.yaml:ro" in mounted
    assert yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"] == [
        "/etc/prometheus/alerts.yaml"
    ]


def test_the_compose_file_scrapes_every_service() -> None:
    services = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]
    ours = {
        name for name, service in services.items() if (service.get("command") or [""])[0] == "run"
    } - {"embedder-gpu"}
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0][
        "dns_sd_configs"
    ][0]["names"]
    assert set(scraped) == ours
