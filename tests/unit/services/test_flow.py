"""Who hears and says what is written once, in each service's `FLOW`: all else agrees with it."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from blocks import files
from support import placed, table, wish

import services
from services.commands import flow as command
from services.commands.rights import rights
from services.flows import flows, hot_path, names, workers
from services.local.run import build
from services.selector.decide import decide
from services.workbench.erasure import searched
from shared.adapters.embedded import embedded_kafka
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import Decided, to_json
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, PROMPTS, REPLIES

ROOT = Path(__file__).parents[3]


def test_services_stand_in_the_order_that_prompts_pass_them() -> None:
    assert hot_path() == ("describer", "embedder", "assigner", "selector")
    assert workers() == (*hot_path(), "dispatcher", "judge", "reclusterer")
    assert names() == (*workers(), "gateway", "console")


def test_each_service_names_itself_as_its_folder_and_keeps_its_topics() -> None:
    for flow in flows():
        assert (ROOT / "services" / flow.name / "app.py").exists()
        assert not flow.hears or DEAD_LETTERS in flow.written, "a record must have where to go"
        assert (REPLIES in flow.written) == flow.replies
        assert len(flow.about) < 80


def test_a_service_waits_for_no_topic_that_its_work_can_begin_without() -> None:
    """Nor for one that the version before did not need: its topics may be made by hand."""
    needed = {flow.name: {topic.name for topic in flow.needed} for flow in flows()}
    assert needed["assigner"] == {"embeddings", "assignments", "dead-letters"}
    assert needed["selector"] == {"assignments", "decisions", "dead-letters"}
    assert needed["console"] == {
        topic.name for flow in flows() for topic in flow.topics if flow.name == "console"
    }


def test_compose_starts_them_all_on_their_ports() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    started = {name for name, s in compose.items() if s.get("command", [""])[0] == "run"}
    assert started - {"embedder-gpu"} == set(names())
    for flow in flows():
        assert compose[flow.name]["command"] == ["run", flow.name]
        ports = compose[flow.name].get("ports", [])
        assert ports == ([f"127.0.0.1:{flow.port}:{flow.port}"] if flow.port else [])


def test_compose_builds_each_image_once() -> None:
    """Where several services build one image, each `up` makes another of it and replaces them
    all."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    builders = Counter(s["image"] for s in compose.values() if "build" in s)
    ours = {s["image"] for s in compose.values() if "pointsman-" in s["image"]}
    assert builders == dict.fromkeys(ours, 1)
    for name, service in compose.items():
        if service["image"] in ours and "build" not in service:
            assert service["pull_policy"] == "${IMAGE_PULL:-never}", name


def test_compose_keeps_every_container_within_limits() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, service in compose.items():
        assert service["logging"]["options"]["max-size"], name
        assert service["mem_limit"], name
    assert compose["kafka"]["init"] is True


def test_the_chart_has_values_for_them_all() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/pointsman/values.yaml").read_text())
    assert list(values["services"]) == list(names())


def test_prometheus_looks_at_them_all() -> None:
    config = yaml.safe_load((ROOT / "deploy/observability/prometheus.yml").read_text())
    (targets,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert targets["names"] == list(names())


def test_the_import_contracts_keep_them_apart() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    apart = next(c for c in contracts["contracts"] if c["type"] == "independence")
    assert apart["modules"] == [f"services.{name}" for name in names()]


def test_what_is_erased_is_looked_for_wherever_a_prompt_passes() -> None:
    heard = {topic.name: services for topic, services in searched().items()}
    assert list(heard) == [
        *("prompts", "descriptions", "embeddings", "assignments", "decisions", "completions"),
        *("replies", "dead-letters"),
    ]
    assert heard["decisions"] == ["dispatcher"]
    assert heard["replies"] == []


def test_the_architecture_page_shows_the_flow_as_it_is() -> None:
    """If this fails: make flow."""
    page = ROOT / "docs/architecture.md"
    assert command.rewritten(page.read_text(), page.name) == page.read_text()


def test_a_page_without_marks_is_named() -> None:
    with pytest.raises(InvalidMessage, match=r"x\.md has no lines"):
        command.rewritten("nothing", "x.md")


@pytest.mark.slow
async def test_a_service_is_a_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONTRIBUTING.md's example is found, has its rights, is drawn, and runs on the embedded
    broker."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    folder = tmp_path / "greeter"
    folder.mkdir()
    for path, text in files(page):
        if path.startswith("services/greeter/"):
            (folder / Path(path).name).write_text(text)
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(services, "__path__", [*services.__path__, str(tmp_path)])
    try:
        assert names()[4:6] == ("dispatcher", "greeter")
        assert [topic.name for topic in rights()["greeter"].writes] == ["greetings", "dead-letters"]
        assert rights()["greeter"].group
        assert searched()[DECISIONS] == ["dispatcher", "greeter"]
        assert "decisions ──►   greeter    ──► greetings" in command.drawing(flows())
        with embedded_kafka(KafkaSettings()) as address:
            monkeypatch.setenv("POINTSMAN_KAFKA_BOOTSTRAP_SERVERS", address)
            assert await _greeted(address) == {"greeting": "hello"}
    finally:
        for name in [name for name in sys.modules if name.startswith("services.greeter")]:
            del sys.modules[name]


def _decided() -> Decided:
    routing_table = table()
    return decide(placed(routing_table), routing_table, {}, wish())


async def _greeted(address: str) -> dict[str, str]:
    """Run the service in this process, and send it one decision."""
    consumer = AIOKafkaConsumer(
        "greetings", bootstrap_servers=address, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await consumer.start()
    await producer.start()
    application = build("greeter")
    running = asyncio.create_task(application.run())  # type: ignore[union-attr]
    try:
        await producer.send_and_wait(DECISIONS.name, to_json(_decided()), key=b"k")
        record = await asyncio.wait_for(consumer.getone(), 20)
        metadata: dict[str, str] = json.loads(record.value)["metadata"]
        return metadata
    finally:
        application.exit()  # type: ignore[union-attr]
        await asyncio.wait_for(running, 20)
        await producer.stop()
        await consumer.stop()


def test_prompts_are_written_by_those_that_ask_alone() -> None:
    assert [user for user, may in rights().items() if PROMPTS in may.writes] == [
        *("gateway", "console", "sender")
    ]
