"""Prompts through the real services on a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from conftest import Pipeline

from shared.adapters.kafka.client import read_all
from shared.catalog import tasks
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.messages import MAX_PROMPT_BYTES, Decided, read, to_json
from shared.contracts.topics import DEAD_LETTERS, EMBEDDINGS, REPLIES
from shared.contracts.vector import pack

SECRET = "tell-nobody-4711"


async def test_a_foreign_producer_and_consumer_need_none_of_our_code(pipeline: Pipeline) -> None:
    """As in the README: plain aiokafka, no key, no id, none of our headers, and headers that are no
    UTF-8."""
    kafka = pipeline.kafka
    consumer = AIOKafkaConsumer(
        kafka.topic_prefix + "decisions",
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="latest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await consumer.start()
    await producer.start()
    try:
        await consumer.seek_to_end()
        sent = await producer.send_and_wait(
            kafka.topic_prefix + "prompts",
            b'{"prompt": "Translate: where is the station?"}',
            headers=[("x", b"\xff\xfe")],
        )
        wanted = f"{sent.topic}-{sent.partition}-{sent.offset}"
        async with asyncio.timeout(30):
            async for record in consumer:
                decision = json.loads(record.value)
                if decision["request_id"] == wanted:
                    break
    finally:
        await consumer.stop()
        await producer.stop()
    assert decision["decision"]["model"]
    assert record.key == wanted.encode(), (
        "the request id defaults to topic-partition-offset, which a replay repeats"
    )
    assert decision["prompt"] == "Translate: where is the station?"


async def test_a_decision_carries_every_part_and_its_reasons(pipeline: Pipeline) -> None:
    got = await pipeline.one(
        {
            "prompt": "Write a Python function that reverses a list.",
            "profile": "economy",
            "metadata": {"team": "a"},
            "colour": 1,
        }
    )
    message = got.decided
    assert message is not None
    assert message.description.source == "local"
    assert message.embedding.encoder.quantization == "int8"
    assert sum(c.weight for c in message.assignment.clusters) == pytest.approx(1, abs=1e-5)
    assert message.decision.candidates[0].model == message.decision.model
    assert message.decision.runner_up == message.decision.candidates[1].model
    assert message.decision.preferences.cost == pytest.approx(0.6)
    assert message.decision.simulated_rankings
    assert message.decision.model in message.decision.why
    assert message.metadata == {"team": "a"}
    assert message.ignored == ("colour",)


async def test_a_chat_is_routed_by_its_last_request(pipeline: Pipeline) -> None:
    chat = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Fix the bug in this SQL query."},
    ]
    got = await pipeline.one({"messages": chat})
    assert got.decided is not None
    assert got.decided.description.text == "Fix the bug in this SQL query."
    assert got.decided.messages is not None
    assert len(got.decided.messages) == 3


async def test_constraints_are_kept_and_impossible_ones_are_a_decision_that_says_so(
    pipeline: Pipeline,
) -> None:
    only = await pipeline.one(
        {"prompt": "Tell me a story.", "constraints": {"allow": ["gpt-5.6-luna"]}}
    )
    assert only.decided is not None
    assert only.decided.decision.model == "gpt-5.6-luna"
    none = await pipeline.one({"prompt": "Tell me a story.", "constraints": {"max_cost_usd": 0}})
    assert none.decided is not None
    assert none.decided.decision.status == "no_eligible_model"
    assert "expected cost" in none.decided.decision.why


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "not JSON": (f"{SECRET} {{".encode(), "not JSON"),
    "not UTF-8": (b'{"prompt": "' + SECRET.encode() + b'\xff"}', "not JSON in UTF-8"),
    "no object": (f'["{SECRET}"]'.encode(), "object"),
    "no prompt": (b'{"metadata": {}}', "either prompt or messages"),
    "blank": (b'{"prompt": "   "}', "prompt is empty"),
    "over the limit": (json.dumps({"prompt": SECRET + "x" * MAX_PROMPT_BYTES}).encode(), "at most"),
    "unknown version": (json.dumps({"prompt": SECRET, "schema_version": 2}).encode(), "upgrade"),
    "negative weight": (
        json.dumps({"prompt": SECRET, "preferences": {"cost": -1}}).encode(),
        "greater than or equal to 0",
    ),
    "NaN weight": (b'{"prompt": "x", "preferences": {"cost": NaN}}', "finite"),
    "misspelt limit": (
        json.dumps({"prompt": SECRET, "constraints": {"max_cost": 1}}).encode(),
        "no such field",
    ),
    "stray reply": (
        json.dumps(
            {"prompt": SECRET, "reply_to": {"topic": "routing-tables", "partition": 0}}
        ).encode(),
        "nowhere else",
    ),
}


async def test_bad_input_becomes_dead_letters_with_reasons_and_the_partition_goes_on(
    pipeline: Pipeline,
) -> None:
    """All of one key, so of one partition, with good prompts between them; no log and no reason
    quotes a prompt."""
    producer, kafka = pipeline.traffic.out, pipeline.kafka
    good: set[str] = set()
    for value, _ in BAD.values():
        await producer.send_and_wait(kafka.topic_prefix + "prompts", value, key=b"one-partition")
        good.add(request_id := f"good-{uuid.uuid4().hex[:8]}")
        pipeline.traffic.sent[request_id] = 0.0
        pipeline.traffic.waiting.add(request_id)
        await producer.send_and_wait(
            kafka.topic_prefix + "prompts",
            json.dumps({"prompt": "Summarise this.", "request_id": request_id}).encode(),
            key=b"one-partition",
        )
    outcomes = await pipeline.collect(good)
    assert all(o.decided is not None for o in outcomes.values())
    letters = [
        d
        for r in await read_all(kafka, DEAD_LETTERS)
        if (d := DeadLetter.of(r.value, r.key, r.headers)) and d.key == b"one-partition"
    ]
    assert [d.value for d in letters] == [value for value, _ in BAD.values()], (
        "the original bytes, in order, each once"
    )
    for letter, (name, (_, words)) in zip(letters, BAD.items(), strict=True):
        assert words in letter.error, name
        assert SECRET not in letter.error
        assert (letter.topic, letter.service) == ("prompts", "describer")
    assert pipeline.logged("dead letter")
    assert not pipeline.logged(SECRET)
    assert not pipeline.logged("Summarise this")


async def test_vectors_that_are_no_points_of_the_tables_space_are_refused_by_the_assigner(
    pipeline: Pipeline,
) -> None:
    good = (await pipeline.one({"prompt": "Tell me a joke about trains."})).decided
    assert good is not None
    embedded = {
        k: v for k, v in json.loads(to_json(good)).items() if k not in {"assignment", "decision"}
    }
    from base64 import b64encode

    encode = lambda array: b64encode(pack(np.asarray(array, np.float32))).decode()  # noqa: E731
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "nan": ({"vector": encode([np.nan] * 384)}, "NaN"),
        "short": ({"vector": encode([1.0] * 383)}, "383 numbers"),
        "alien": (
            {"encoder": {**embedded["embedding"]["encoder"], "id": "other"}},
            "build a table with this one",
        ),
        "garbage": ({"vector": "###"}, "base64"),
    }
    for name, (change, _) in changes.items():
        value = {
            **embedded,
            "request_id": f"v-{name}",
            "embedding": {**embedded["embedding"], **change},
        }
        pipeline.traffic.sent[f"v-{name}"] = 0.0
        pipeline.traffic.waiting.add(f"v-{name}")
        await pipeline.traffic.out.send_and_wait(
            pipeline.kafka.name(EMBEDDINGS), json.dumps(value).encode(), key=f"v-{name}".encode()
        )
    found = await pipeline.collect({f"v-{name}" for name in changes})
    for name, (_, words) in changes.items():
        dead = found[f"v-{name}"].dead
        assert dead is not None
        assert dead.service == "assigner"
        assert words in dead.error


async def test_a_reply_goes_to_the_askers_partition_and_to_no_other(pipeline: Pipeline) -> None:
    topic = pipeline.kafka.name(REPLIES)
    asked = await pipeline.send(
        {"prompt": "Name a river.", "reply_to": {"topic": topic, "partition": 2}}
    )
    nowhere = await pipeline.send(
        {"prompt": "Name a lake.", "reply_to": {"topic": topic, "partition": 99}}
    )
    found = await pipeline.collect({asked, nowhere})
    assert found[nowhere].decided is not None, (
        "a partition that does not exist loses the copy, not the decision"
    )
    replies = await read_all(pipeline.kafka, REPLIES)
    assert [(r.partition, read(Decided, r.value).request_id) for r in replies] == [(2, asked)]


async def test_trace_context_travels_in_headers(pipeline: Pipeline) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request_id = f"t-{uuid.uuid4().hex[:8]}"
    pipeline.traffic.sent[request_id] = 0.0
    pipeline.traffic.waiting.add(request_id)
    value = json.dumps({"prompt": "Name a tree.", "request_id": request_id}).encode()
    await pipeline.traffic.out.send_and_wait(
        pipeline.kafka.topic_prefix + "prompts",
        value,
        headers=[("traceparent", trace), ("x-own", b"1")],
    )
    await pipeline.collect({request_id})
    from shared.contracts.topics import DECISIONS

    record = next(
        r
        for r in reversed(await read_all(pipeline.kafka, DECISIONS))
        if r.key == request_id.encode()
    )
    assert dict(record.headers) == {"traceparent": trace}


async def test_prompts_of_a_session_keep_their_order(pipeline: Pipeline) -> None:
    """Their producer keys them by session, and so does every stage after it."""
    prompts = [p for t in tasks.methodology() for p in t.test][:40]
    wanted = [
        await pipeline.send({"prompt": p, "session_id": "talk-1"}, f"s-{i:03d}", b"talk-1")
        for i, p in enumerate(prompts)
    ]
    found = await pipeline.collect(set(wanted))
    assert list(found) == wanted


async def test_a_large_prompt_passes_whole(pipeline: Pipeline) -> None:
    prompt = "Summarise this text. " + "ä" * 100_000
    got = await pipeline.one({"prompt": prompt})
    assert got.decided is not None
    assert got.decided.prompt == prompt
