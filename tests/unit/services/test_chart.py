"""What the Helm chart renders is valid for Kubernetes, names settings and topics that there are,
and gives nobody more than is needed.

`make chart` renders the examples into deploy/helm/rendered; where helm is installed it is also seen
that they are fresh.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.commands.config import rows
from services.commands.rights import name_of
from services.flows import names
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import TOPICS

FOLDER = Path("deploy/helm")
EXAMPLES = ("default", "strimzi", "managed-kafka")
KUBERNETES = "1.33"
FOREIGN = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
"""Of KEDA and the Prometheus operator, whose schemas are not available here."""


def rendered(name: str) -> list[dict[str, Any]]:
    return [
        doc for doc in yaml.safe_load_all((FOLDER / "rendered" / f"{name}.yaml").read_text()) if doc
    ]


def of_kind(docs: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {doc["metadata"]["name"]: doc for doc in docs if doc["kind"] == kind}


def pods(docs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        n: doc["spec"]["template"]["spec"]
        for kind in ("Deployment", "Job")
        for n, doc in of_kind(docs, kind).items()
    }


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.slow
def test_every_object_is_valid(name: str) -> None:
    docs = rendered(name)
    assert {doc["kind"] for doc in docs} >= {
        "Deployment",
        "Service",
        "Job",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    for doc in docs:
        if doc["kind"] not in FOREIGN:
            kubernetes_validate.validate(doc, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_service_is_there_guarded_and_may_be_moved(name: str) -> None:
    docs = rendered(name)
    expected = {f"pointsman-{service}" for service in names()}
    assert set(of_kind(docs, "Deployment")) == expected
    assert set(of_kind(docs, "NetworkPolicy")) == expected | {"pointsman-topics"}
    assert set(of_kind(docs, "PodDisruptionBudget")) == expected - {"pointsman-reclusterer"}
    assert set(of_kind(docs, "Service")) == {"pointsman-gateway", "pointsman-console"}
    for pod in pods(docs).values():
        container = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        mounted = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == mounted
    for deployment in of_kind(docs, "Deployment").values():
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert {"readinessProbe", "livenessProbe", "startupProbe"} <= set(container)
        assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 10


@pytest.mark.parametrize("name", EXAMPLES)
def test_settings_and_images_are_ones_that_there_are(name: str) -> None:
    known = {row["name"] for row in rows()}
    targets = set(
        re.findall(r"^FROM \S+ AS (\S+)", Path("deploy/Dockerfile").read_text(), re.MULTILINE)
    )
    for pod in pods(rendered(name)).values():
        for variable in environment(pod):
            assert variable.removesuffix("_FILE") in known or variable in known, variable
        image = pod["containers"][0]["image"].rsplit("/", 1)[-1]
        assert image.split(":")[0].removeprefix("pointsman-") in targets


def test_each_service_is_the_user_whose_rights_are_listed() -> None:
    users = {
        doc["metadata"]["name"]
        for doc in yaml.safe_load_all(Path("deploy/security/kafka-users.yaml").read_text())
        if doc
    }
    for name, pod in pods(rendered("strimzi")).items():
        user = environment(pod)["POINTSMAN_KAFKA_USERNAME"]
        assert user == (
            "pointsman-admin"
            if name == "pointsman-topics"
            else name_of(name.removeprefix("pointsman-"))
        )
        assert user in users | {"pointsman-admin"}
        secrets = {
            volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume
        }
        assert {user, "kafka-cluster-ca-cert"} <= secrets
    assert all(
        "password" not in str(environment(pod).values()).lower().replace("/password", "")
        for pod in pods(rendered("strimzi")).values()
    )


@pytest.mark.parametrize("name", ["strimzi", "managed-kafka"])
def test_embedders_follow_the_lag_of_what_they_hear(name: str) -> None:
    docs = rendered(name)
    (scaled,) = of_kind(docs, "ScaledObject").values()
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in of_kind(docs, "Deployment")
    assert trigger["topic"] == "descriptions"
    assert trigger["topic"] in TOPICS
    assert trigger["consumerGroup"] == KafkaSettings().group("embedder")
    assert scaled["spec"]["maxReplicaCount"] <= 12
    assert "replicas" not in of_kind(docs, "Deployment")["pointsman-embedder"]["spec"], (
        "two would fight over it"
    )
    assert scaled["spec"]["triggers"][0]["authenticationRef"]["name"] in of_kind(
        docs, "TriggerAuthentication"
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_rule_opens_all_ports(name: str) -> None:
    for policy in of_kind(rendered(name), "NetworkPolicy").values():
        assert all(rule["ports"] for rule in policy["spec"]["egress"])


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
def test_without_ports_of_its_own_a_rule_is_left_out() -> None:
    made = subprocess.run(
        [
            *("helm", "template", "pointsman", "deploy/helm/pointsman"),
            *("--kube-version", "1.33.0", "--set-json", "networkPolicies.tracePorts=[]"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    policies = of_kind([d for d in yaml.safe_load_all(made) if d], "NetworkPolicy")
    assert all(rule["ports"] for p in policies.values() for rule in p["spec"]["egress"])


def test_only_those_who_ask_language_models_may_go_out() -> None:
    policies = of_kind(rendered("default"), "NetworkPolicy")
    out = {
        name
        for name, doc in policies.items()
        if any("ipBlock" in to for rule in doc["spec"]["egress"] for to in rule.get("to", []))
    }
    assert out == {
        f"pointsman-{service}" for service in ("describer", "dispatcher", "judge", "gateway")
    }


@pytest.mark.skipif(
    shutil.which("helm") is None,
    reason="helm is not installed; what it rendered last is checked all the same",
)
@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_rendered_is_fresh(name: str) -> None:
    values = [] if name == "default" else ["-f", f"deploy/helm/examples/{name}.yaml"]
    command = [
        "helm",
        "template",
        "pointsman",
        "deploy/helm/pointsman",
        "--kube-version",
        "1.33.0",
        *values,
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert made == (FOLDER / "rendered" / f"{name}.yaml").read_text(), "run `make chart`"
