"""deploy/ agrees with the service: metrics, probes, settings, no passwords. No container is built here."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.metrics import MetricWrapperBase

from recsys.config import Settings
from recsys.service.api import health
from recsys.service.app import ROUTERS
from recsys.service.observability.metrics import Metrics
from recsys.service.options import ServiceOptions

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "rules" / "whyrec.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "whyrec.json"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
OF_PROMETHEUS = {"instance", "job", "le", "namespace", "pod"}
"""Labels that a scrape or a query adds."""


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def rules() -> list[dict[str, Any]]:
    return [rule for group in documents(RULES)[0]["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    """Every query of the rules, the dashboard, and the adapter that feeds the autoscaler."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    adapted = [
        rule["seriesQuery"] for rule in documents(DEPLOY / "prometheus-adapter.yaml")[0]["rules"]["custom"]
    ]
    return [*(rule["expr"] for rule in rules()), *shown, *adapted]


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Series that a server exports -> their labels: each metric is touched once and the registry is read."""
    metrics = Metrics()
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase) and metric._labelnames:
            metric.labels(*["x"] * len(metric._labelnames))
    return {
        sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples
    }


@pytest.fixture(scope="module")
def promtool() -> str:
    """Debian's promtool, installed where it is missing and that is possible; else the tests are skipped."""
    found = subprocess.run(
        [str(ROOT / "scripts" / "promtool.sh")], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(found.stderr.strip() or "no promtool")
    return found.stdout.split()[-1]


# --- metrics ---------------------------------------------------------------------


@pytest.mark.parametrize("expression", expressions())
def test_every_series_and_label_that_is_asked_for_is_exported(
    expression: str, exported: dict[str, set[str]]
) -> None:
    named = set(re.findall(r"(?<![\w:])whyrec_\w+", expression))
    assert named <= exported.keys()
    for name, matchers in re.findall(r"(?<![\w:])(whyrec_\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', '"', matchers)))
        assert asked <= exported[name] | OF_PROMETHEUS, name
    grouped = {
        word.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for word in group.split(",")
    }
    assert grouped <= set().union(OF_PROMETHEUS, *(exported[name] for name in named))


def test_routes_that_queries_name_exist() -> None:
    served = {route.path for router in ROUTERS for route in router.routes if hasattr(route, "path")}
    for expression in expressions():
        for pattern in re.findall(r'route(?:=|!~)"([^"]*)"', expression):
            assert set(pattern.split("|")) <= served


def test_values_below_zero_have_no_sum(exported: dict[str, set[str]]) -> None:
    """A mean of log-odds from `_sum` was the first form of the drift alert: that series does not exist."""
    assert "whyrec_label_mass_sum" in exported
    assert "whyrec_log_odds_sum" not in exported


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 7
    for alert in alerts:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"].keys() == {"summary", "action"}
        assert "for" in alert


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = documents(DEPLOY / "rules" / "whyrec.test.yml")[0]["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


def test_rules_are_sound_and_fire_when_they_should(promtool: str) -> None:
    for command in (
        ["check", "config", DEPLOY / "prometheus.yml"],
        ["check", "rules", RULES],
        ["test", "rules", DEPLOY / "rules" / "whyrec.test.yml"],
    ):
        done = subprocess.run([promtool, *map(str, command)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_panels_of_the_dashboard_are_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    (source,) = documents(DEPLOY / "grafana" / "datasources.yaml")[0]["datasources"]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["datasource"]["uid"] == source["uid"] for target in panel["targets"])


def test_every_metric_is_on_the_dashboard(exported: dict[str, set[str]]) -> None:
    text = DASHBOARD.read_text()
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exported}
    assert [name for name in sorted(families) if name.removesuffix("_total") not in text] == []


# --- containers --------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    (found,) = documents(DEPLOY / "compose.yaml")
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in (".yaml", ".yml")], ids=lambda p: p.name)
def test_yaml_parses(path: Path) -> None:
    assert all(documents(path))


def test_every_compose_service_has_a_health_check_and_a_pinned_image(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"whyrec", "postgres", "vllm", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert re.search(r":v?\d[\w.]*}?$", service["image"]), name
        for network in service["networks"]:
            assert network in compose["networks"]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"]
        # Nothing is reachable from other machines unless somebody says so.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_no_password_has_a_default(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "URL" in name:
                assert ":?" in value, name
            if "KEY" in name:
                assert re.fullmatch(r"\$\{\w+:-\}", value), name
    for line in (DEPLOY / "env.example").read_text().splitlines():
        if "PASSWORD=" in line or "KEY=" in line:
            assert line.endswith("="), line
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert asked == set(re.findall(r"^(\w+)=$", (DEPLOY / "env.example").read_text(), re.MULTILINE))


def test_prometheus_scrapes_what_compose_starts(compose: dict[str, Any]) -> None:
    (config,) = documents(DEPLOY / "prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["whyrec:8000"]}]
    assert f'up{{job="{job["job_name"]}"}}' in RULES.read_text()
    assert set(compose["services"]["prometheus"]["networks"]) & set(compose["services"]["whyrec"]["networks"])


def test_the_image_copies_what_is_there_and_runs_without_root() -> None:
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    kept = {
        line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().split() if line[0] == "!"
    }
    assert set(copied) == kept
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert not users[-1].startswith(("0", "root"))
    (check,) = (line for line in lines if line.startswith("HEALTHCHECK "))
    assert "/readyz" in check
    assert any("make setup" in line for line in lines if line.startswith("RUN "))


# --- Kubernetes --------------------------------------------------------------------


def objects() -> Iterator[dict[str, Any]]:
    folder = DEPLOY / "kubernetes"
    (index,) = documents(folder / "kustomization.yaml")
    assert {*index["resources"], "kustomization.yaml"} == {path.name for path in folder.iterdir()}
    for name in index["resources"]:
        yield from documents(folder / name)


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, dict[str, Any]]:
    return {found["kind"]: found for found in objects()}


def test_the_pod_is_probed_bounded_and_without_privileges(kubernetes: dict[str, dict[str, Any]]) -> None:
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    routes = {route.path for route in health.router.routes if hasattr(route, "path")}
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["path"] in routes
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"  # an absent database kills no pod
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_there_is_time_to_drain(kubernetes: dict[str, dict[str, Any]], compose: dict[str, Any]) -> None:
    drain = int(kubernetes["ConfigMap"]["data"]["WHYREC_SERVE_DRAIN_S"])
    pod = kubernetes["Deployment"]["spec"]["template"]["spec"]
    waits = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > drain + waits
    assert (
        int(compose["services"]["whyrec"]["stop_grace_period"].removesuffix("s")) > ServiceOptions().drain_s
    )


def test_kubernetes_objects_find_each_other(kubernetes: dict[str, dict[str, Any]]) -> None:
    deployment = kubernetes["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["Service"]["spec"]["selector"] == labels
    assert kubernetes["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaler = kubernetes["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # or each apply undoes what the autoscaler did
    assert scaler["minReplicas"] > kubernetes["PodDisruptionBudget"]["spec"]["maxUnavailable"]


def test_the_autoscaler_asks_for_a_metric_that_is_exported_and_adapted(
    kubernetes: dict[str, dict[str, Any]], exported: dict[str, set[str]]
) -> None:
    (metric,) = kubernetes["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in exported
    assert name in (DEPLOY / "prometheus-adapter.yaml").read_text()


def test_settings_exist(kubernetes: dict[str, dict[str, Any]], compose: dict[str, Any]) -> None:
    container = kubernetes["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    image = re.findall(r"\b(WHYREC_\w+)=", (DEPLOY / "Containerfile").read_text())
    named = {
        *kubernetes["ConfigMap"]["data"],
        *(entry["name"] for entry in container["env"]),
        *compose["services"]["whyrec"]["environment"],
        *image,
    }
    known = {f"WHYREC_{name.upper()}" for name in Settings.model_fields}
    known |= {f"WHYREC_SERVE_{name.upper()}" for name in ServiceOptions.model_fields}
    assert named <= known
