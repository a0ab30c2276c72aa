"""The manifests are valid, agree with each other, and give every process the time that it takes to stop."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lockstep.cli.commands import make_app
from lockstep.cli.worker import _OVERDUE
from lockstep.settings import DOCUMENTED, Settings
from tests.deploy.expressions import unknown
from web.routes import ENDPOINTS
from web.server import GRACE_SECONDS

DIRECTORY = Path("deploy/kubernetes")
#: Values of a Helm chart, no manifest.
VALUES = DIRECTORY / "prometheus-adapter.yaml"
MANIFESTS = [
    manifest
    for path in sorted(DIRECTORY.glob("*.yaml"))
    if path != VALUES
    for manifest in yaml.safe_load_all(path.read_text())
]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    found = {**of_kind("Deployment"), **of_kind("Job")}
    return {name: manifest["spec"]["template"]["spec"] for name, manifest in found.items()}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']} {m['metadata']['name']}")
@pytest.mark.parametrize("version", ["1.32", "1.37"])
def test_a_manifest_is_valid(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_selectors_find_their_pods() -> None:
    templates = [m["spec"]["template"]["metadata"]["labels"] for m in of_kind("Deployment").values()]
    wanted = [m["spec"]["selector"] for m in of_kind("Service").values()]
    for kind in ("Deployment", "PodDisruptionBudget"):
        wanted += [m["spec"]["selector"]["matchLabels"] for m in of_kind(kind).values()]

    assert set(of_kind("PodDisruptionBudget")) == set(of_kind("Deployment"))
    for labels in wanted:
        assert sum(labels.items() <= template.items() for template in templates) == 1, labels


def test_the_grace_is_above_the_drain() -> None:
    settings = Settings.load(of_kind("ConfigMap")["lockstep"]["data"], env_file="")
    web, worker = pods()["lockstep-web"], pods()["lockstep-worker"]
    routed = container(web)["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert web["terminationGracePeriodSeconds"] >= routed + settings.web_drain_seconds + GRACE_SECONDS + 5
    assert worker["terminationGracePeriodSeconds"] >= settings.worker_shutdown_timeout + _OVERDUE + 5
    # Nobody is routed there any more before it stops: two failed probes, and a second to tell everybody.
    probe = container(web)["readinessProbe"]
    assert routed >= 2 and probe["periodSeconds"] * probe["failureThreshold"] <= 10


def test_probes_ask_for_what_is_there() -> None:
    web = container(pods()["lockstep-web"])
    paths = {endpoint.path for endpoint in ENDPOINTS}
    assert web["livenessProbe"]["httpGet"]["path"] == web["startupProbe"]["httpGet"]["path"] == "/livez"
    assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"/livez", "/readyz"} <= paths
    for name in ("worker", "scheduler"):
        one = container(pods()[f"lockstep-{name}"])
        assert one["readinessProbe"]["exec"]["command"] == ["lockstep", "health", name]
        assert "livenessProbe" not in one  # it asks Redis, whose outage must restart nothing


def test_commands_are_those_of_the_product() -> None:
    known = {command.name for command in make_app().registered_commands}
    for pod in pods().values():
        program, command = container(pod)["command"]
        assert program == "lockstep"
        assert command in known


def test_settings_are_those_of_the_product() -> None:
    known = {name for name, _, _ in DOCUMENTED}
    given = {*of_kind("ConfigMap")["lockstep"]["data"], *of_kind("Secret")["lockstep"]["stringData"]}
    assert given <= known
    Settings.load(
        {**of_kind("ConfigMap")["lockstep"]["data"], **of_kind("Secret")["lockstep"]["stringData"]},
        env_file="",
    )


def test_pods_may_do_no_more_than_they_need() -> None:
    for pod in pods().values():
        one = container(pod)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(one["resources"])
        assert f"runAsUser: {pod['securityContext']['runAsUser']}" in (DIRECTORY / "web.yaml").read_text()
        assert f"USER {pod['securityContext']['runAsUser']}:" in Path("deploy/Dockerfile").read_text()


def test_workers_are_scaled_by_what_waits() -> None:
    scaler = of_kind("HorizontalPodAutoscaler")["lockstep-worker"]["spec"]
    (rule,) = yaml.safe_load(VALUES.read_text())["rules"]["external"]

    assert scaler["scaleTargetRef"]["name"] in of_kind("Deployment")
    assert "replicas" not in of_kind("Deployment")["lockstep-worker"]["spec"]  # it would undo what was scaled
    assert scaler["metrics"][0]["external"]["metric"]["name"] == rule["name"]["as"]
    assert unknown(rule["metricsQuery"]) == unknown(rule["seriesQuery"]) == []
