"""What producers and brokers really do, on a real Kafka: every codec, aborted transactions, odd
headers and times, recreated topics."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
import servers
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer
from conftest import Pipeline, eventually, running_pipeline
from published import build_and_publish

from services.commands.doctor import _standing
from services.workbench.building import TableSource
from shared.adapters.kafka.client import admin, create_topics, read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, DESCRIPTIONS, PROMPTS, Topic


def prompt(request_id: str, **more: Any) -> bytes:
    return json.dumps(
        {"prompt": f"Name a fish, number {request_id}.", "request_id": request_id, **more}
    ).encode()


def produce(
    kafka: KafkaSettings, records: list[dict[str, Any]], *, abort: bool = False, **settings: Any
) -> None:
    """Records by librdkafka, as a foreign producer sends them; in a transaction if it has a
    name."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 50, **settings})
    transactional = "transactional.id" in settings
    if transactional:
        producer.init_transactions(20)
        producer.begin_transaction()
    refused: list[Any] = []
    for record in records:
        producer.produce(
            kafka.name(PROMPTS),
            **record,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    if transactional:
        producer.flush(20)
        (producer.abort_transaction if abort else producer.commit_transaction)(20)
    assert producer.flush(20) == 0
    assert not refused


async def appear(
    pipeline: Pipeline, topic: Topic, wanted: set[str], within_s: float = 30.0
) -> None:
    """Wait until records with all these keys are on `topic`."""
    missing = set(wanted)

    async def there() -> bool:
        missing.difference_update(
            {(r.key or b"").decode() for r in await read_all(pipeline.kafka, topic)}
        )
        return not missing

    try:
        await eventually(there, within_s)
    except TimeoutError:
        raise AssertionError(
            f"never on {topic.name}: {sorted(missing)}; {pipeline.log[-40:]}"
        ) from None


async def decided(pipeline: Pipeline, wanted: set[str]) -> None:
    await appear(pipeline, DECISIONS, wanted)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_of_kafka_is_read(pipeline: Pipeline, codec: str) -> None:
    ids = [f"{codec}-{i}" for i in range(30)]
    produce(
        pipeline.kafka,
        [{"value": prompt(i), "partition": 2} for i in ids],
        **{"compression.type": codec},
    )
    produce(
        pipeline.kafka, [{"value": prompt(f"{codec}-plain-{i}"), "partition": 2} for i in range(3)]
    )
    await decided(pipeline, {*ids, *(f"{codec}-plain-{i}" for i in range(3))})


async def test_what_was_never_committed_is_never_read(pipeline: Pipeline) -> None:
    name = uuid.uuid4().hex
    settings = {"transactional.id": f"t-{name}"}
    produce(
        pipeline.kafka,
        [{"value": prompt(f"aborted-{name}", answer=True), "partition": 1}],
        abort=True,
        **settings,
    )
    produce(pipeline.kafka, [{"value": prompt(f"committed-{name}"), "partition": 1}], **settings)
    produce(pipeline.kafka, [{"value": prompt(f"after-{name}"), "partition": 1}])
    await decided(pipeline, {f"committed-{name}", f"after-{name}"})
    assert f"aborted-{name}" not in {
        (r.key or b"").decode() for r in await read_all(pipeline.kafka, DECISIONS)
    }


async def test_odd_headers_times_and_bytes_stop_nothing(pipeline: Pipeline) -> None:
    odd_headers: list[list[tuple[str, bytes | None]]] = [
        [("traceparent", None)],
        [("tracestate", None)],
        [("traceparent", b"\xff\xfe")],
        [("", b"")],
        [("x" * 300, b"y" * 3000), ("x" * 300, None)],
    ]
    async with admin(
        pipeline.kafka
    ) as client:  # brokers differ in what they let pass; this one lets all
        anything = {"message.timestamp.after.max.ms": str(2**63 - 1)}
        await client.alter_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC, pipeline.kafka.name(PROMPTS), configs=anything
                )
            ]
        )
    records: list[dict[str, Any]] = []
    for i, headers in enumerate(odd_headers):
        records += [
            {"value": prompt(f"header-{i}-{n}"), "headers": headers, "partition": 0}
            for n in range(10)
        ]
    times = [1, 10**15, 2**62, 253402300800000]
    records += [
        {"value": prompt(f"time-{i}"), "timestamp": time, "partition": 0}
        for i, time in enumerate(times)
    ]
    records += [
        {"value": b"\xef\xbb\xbf" + prompt("bom"), "partition": 0},
        {"value": prompt("last"), "partition": 0},
    ]
    produce(pipeline.kafka, records)
    wanted = {f"header-{i}-{n}" for i in range(len(odd_headers)) for n in range(10)}
    await decided(pipeline, wanted | {f"time-{i}" for i in range(len(times))} | {"bom", "last"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x00\x00\x00\x00\x07" + prompt("framed"), b"schema registry"),
        (prompt("u16").decode().encode("utf-16"), b"UTF-16"),
        (b'{"prompt": "hot", "parameters": {"temperature": NaN}}', b"parameters.temperature"),
        (b'{"prompt": "hot", "parameters": {"a": [{"b": 1e999}]}}', b"parameters.a.0.b"),
        (
            b'{"prompt": "when", "submitted_at": "9999-12-31T23:59:59Z", "answer": true}',
            b"submitted_at",
        ),
    ],
)
async def test_what_can_not_be_taken_is_a_dead_letter_that_says_why(
    pipeline: Pipeline, value: bytes, words: bytes
) -> None:
    produce(pipeline.kafka, [{"value": value, "partition": 3}])

    async def there() -> bool:
        letters = [r for r in await read_all(pipeline.kafka, DEAD_LETTERS) if r.value == value]
        return any(words in dict(r.headers)["pointsman-dead-letter-error"] for r in letters)

    await eventually(there)


@pytest.fixture
def own(installation: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    """Topics of one test alone, and a watch that is quick."""
    prefix = f"{installation['POINTSMAN_KAFKA_TOPIC_PREFIX']}{uuid.uuid4().hex[:6]}."
    monkeypatch.setenv("POINTSMAN_KAFKA_TOPIC_PREFIX", prefix)
    monkeypatch.setenv("POINTSMAN_REDIS_KEY_PREFIX", prefix)
    monkeypatch.setenv("POINTSMAN_KAFKA_STALLED_S", "5")
    monkeypatch.setenv("POINTSMAN_KAFKA_METADATA_MAX_AGE_MS", "2000")
    return KafkaSettings()


@pytest.mark.parametrize(("before", "after"), [(6, 6), (6, 2), (2, 6)])
async def test_a_topic_that_is_made_again_is_read_from_its_beginning(
    own: KafkaSettings, before: int, after: int
) -> None:
    await create_topics(own.model_copy(update={"partitions": before}))
    async with running_pipeline(("describer",)) as pipeline:
        produce(
            own,
            [
                {"value": prompt(f"old-{i}"), "partition": i}
                for i in range(before)
                for _ in range(3)
            ],
        )
        await appear(pipeline, DESCRIPTIONS, {f"old-{i}" for i in range(before)}, 20)
        async with admin(own) as client:
            await client.delete_topics([own.name(PROMPTS)])
            await eventually(lambda: _gone(client, own), 20)
        await create_topics(own.model_copy(update={"partitions": after}))
        produce(own, [{"value": prompt(f"new-{i}"), "partition": i} for i in range(after)])
        await appear(pipeline, DESCRIPTIONS, {f"new-{i}" for i in range(after)}, 60)


async def _gone(client: Any, kafka: KafkaSettings) -> bool:
    return kafka.name(PROMPTS) not in set(await client.list_topics())


async def test_a_partition_that_is_stalled_is_named_from_inside_and_outside_and_the_service_is_not_ready(
    own: KafkaSettings,
) -> None:
    """The assigner waits for a first routing table, and nobody makes one."""
    port = servers.free_port()
    await create_topics(own)
    async with (
        running_pipeline(("describer", "embedder")),
        running_pipeline(("assigner",), POINTSMAN_METRICS_PORT=str(port)) as waiting,
    ):
        produce(own, [{"value": prompt("stuck")}])
        await eventually(lambda: waiting.logged("a partition is stalled (topic: embeddings"), 40)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        said = (await reader.read()).decode()
        writer.close()
        assert 'pointsman_ready{service="assigner"} 0.0' in said
        assert 'pointsman_stalled_partitions{service="assigner"} 1.0' in said
        found = await _standing()
        assert (found.ok, found.needed) == (False, True)
        assert "at offset 0, 1 records wait for the assigner" in found.found
        await build_and_publish(TableSource(simulated=True, k="10"), "first")
        await eventually(lambda: waiting.logged("a partition goes on"), 20)
        assert (await _standing()).ok, "a selector that never was is not missed"
    produce(own, [{"value": prompt("nobody")}])
    found = await _standing()
    assert "wait for the describer, and none runs" in found.found
    assert (found.ok, found.needed) == (False, False)


async def test_headers_without_a_value_stop_nothing_where_records_are_traced(
    own: KafkaSettings,
) -> None:
    await create_topics(own)
    nobody = {"POINTSMAN_TRACE_ENDPOINT": f"http://127.0.0.1:{servers.free_port()}"}
    async with running_pipeline(("describer",), **nobody) as pipeline:
        odd: list[list[tuple[str, bytes | None]]] = [
            [("traceparent", None)],
            [("tracestate", None)],
            [("traceparent", b"\xff")],
        ]
        records = [
            {"value": prompt(f"odd-{i}"), "headers": odd[i % 3], "partition": 0} for i in range(60)
        ]
        produce(own, [*records, {"value": prompt("plain"), "partition": 0}])
        await appear(pipeline, DESCRIPTIONS, {*(f"odd-{i}" for i in range(60)), "plain"}, 30)
