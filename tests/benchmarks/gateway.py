"""What the gateway costs: over the decision's own latency, over the provider's first token, and
with many streams open.

Everything in one run on this machine, beside what it is compared with: decisions asked for over
Kafka directly, and the provider asked directly. The provider is the tests' own and answers at once,
so what is seen is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import servers
from provider import Provider, provider
from published import build_and_publish

from services.commands.traffic import open_traffic
from services.flows import hot_path
from services.local import supervise
from services.local.supervise import Supervisor, process_name
from services.workbench.building import TableSource
from shared.adapters.kafka.client import create_topics, publisher, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import new, write
from shared.catalog import tasks
from shared.contracts.figures import percentile
from shared.contracts.messages import Decided, Submitted, read, to_json
from shared.contracts.scopes import Scope
from shared.contracts.topics import PROMPTS

MODEL = "gpt-5.6-luna"
GOALS = {
    ("first_token", "added_p50_ms"): "10",
    ("decision", "added_p99_ms"): "15",
    ("decision, STAND-IN hot path", "added_p99_ms"): "15",
    ("streams", "rss_most_mb"): "400",
}


async def post(address: str, path: str, body: dict[str, Any], key: str) -> tuple[float, float, str]:
    """Seconds until the first event (or the whole body), seconds until the end, and the body: one
    connection, no client library."""
    where = urlsplit(address)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**20)
    value = json.dumps(body).encode()
    head = (
        f"POST {where.path}{path} HTTP/1.1\r\nhost: {where.netloc}\r\nauthorization: Bearer "
        f"{key}\r\n"
    )
    head += (
        f"content-type: application/json\r\ncontent-length: {len(value)}\r\nconnection: "
        "close\r\n\r\n"
    )
    writer.write(head.encode() + value)
    first, lines = 0.0, []
    try:
        async for line in reader:
            if not first and line.startswith((b"data: {", b"{")):
                first = time.perf_counter() - began
            lines.append(line)
    finally:
        writer.close()
    text = b"".join(lines).decode()
    if not text.startswith("HTTP/1.1 200"):
        raise AssertionError(text[:300])
    return first, time.perf_counter() - began, text


def content(text: str) -> str:
    chunks = (json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {"))
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def paced(rate: float, count: int, one: Any) -> list[Any]:
    """`one(i)` begun `rate` times a second; what each returned."""
    begin, running = time.perf_counter(), []
    for i in range(count):
        await asyncio.sleep(max(0.0, begin + i / rate - time.perf_counter()))
        running.append(asyncio.create_task(one(i)))
    return list(await asyncio.gather(*running))


@asynccontextmanager
async def stand_in(decided: Decided, takes_s: float) -> AsyncIterator[None]:
    """A STAND-IN for the hot path: it gives every prompt the same decision after `takes_s`. The
    real one and a broker fill two cores."""
    kafka = KafkaSettings()
    async with publisher(kafka) as out, reader(kafka, (PROMPTS,), from_start=False) as prompts:

        async def answer(message: Submitted) -> None:
            await asyncio.sleep(takes_s)
            assert message.reply_to is not None
            value = to_json(decided.model_copy(update={"request_id": message.request_id}))
            await out.send(
                message.reply_to.topic,
                value,
                key=message.request_id.encode(),
                partition=message.reply_to.partition,
            )

        async def listen() -> None:
            answering = set()
            async for record in prompts:
                task = asyncio.create_task(answer(read(Submitted, record.value)))
                answering.add(task)
                task.add_done_callback(answering.discard)

        listening = asyncio.create_task(listen())
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def over_the_decision(
    address: str, key: str, prompts: list[str], rate: float, seconds: float
) -> dict[str, Any]:
    """At `rate` a second: what a request takes beyond the decision itself, which the answer's
    Server-Timing header tells."""

    async def ask(i: int) -> tuple[float, float]:
        _, took, text = await post(address, "/v1/route", {"prompt": prompts[i % len(prompts)]}, key)
        said = next(line for line in text.splitlines() if line.lower().startswith("server-timing"))
        return float(said.split("dur=")[1]) / 1000, took

    got = (await paced(rate, int(rate * seconds), ask))[int(rate) :]
    decision, added = [d for d, _ in got], [took - d for d, took in got]
    return {
        "requests_per_s": rate,
        "decision_p50_ms": 1000 * percentile(decision, 0.5),
        "decision_p99_ms": 1000 * percentile(decision, 0.99),
        "added_p50_ms": 1000 * percentile(added, 0.5),
        "added_p99_ms": 1000 * percentile(added, 0.99),
    }


async def over_the_first_token(
    address: str, key: str, upstream: Provider, count: int
) -> dict[str, Any]:
    """The first token of a named model, through the gateway and from the provider directly, in
    turns."""
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    through, direct = [], []
    for _ in range(count):
        through.append((await post(address, "/v1/chat/completions", body, key))[0])
        direct.append((await post(upstream.base_url, "/chat/completions", body, "x"))[0])
    return {
        "provider_p50_ms": 1000 * percentile(direct, 0.5),
        "gateway_p50_ms": 1000 * percentile(through, 0.5),
        "added_p50_ms": 1000 * (percentile(through, 0.5) - percentile(direct, 0.5)),
        "added_p99_ms": 1000 * (percentile(through, 0.99) - percentile(direct, 0.99)),
    }


async def many_streams(address: str, key: str, upstream: Provider, count: int) -> dict[str, Any]:
    """`count` streams open at once, each checked by what it says."""
    upstream.slow_s, upstream.words = 0.1, 60
    gateway = next(
        p for p in psutil.process_iter(["name"]) if p.info["name"] == process_name("gateway")
    )
    before, most, open_at_once = gateway.memory_info().rss, 0, 0
    began = time.perf_counter()

    async def one(i: int) -> bool:
        said = f"stream {i} of {uuid.uuid4().hex}"
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": said}]}
        text = (await post(address, "/v1/chat/completions", body, key))[2]
        return (
            content(text).split() == ["echo", *said.split(), *(f"w{k}" for k in range(60))]
            and "data: [DONE]" in text
        )

    running = [asyncio.create_task(one(i)) for i in range(count)]
    while not all(task.done() for task in running):
        await asyncio.sleep(0.2)
        most, open_at_once = max(most, gateway.memory_info().rss), max(open_at_once, upstream.open)
    right = sum(task.result() for task in running)
    upstream.slow_s, upstream.words = 0.0, 5
    return {
        "streams": count,
        "open_at_once": open_at_once,
        "right": right,
        "chunks_per_s": count * 67 / (time.perf_counter() - began),
        "rss_before_mb": before / 2**20,
        "rss_most_mb": most / 2**20,
    }


async def measure(seconds: float, streams: int) -> dict[str, Any]:
    clear, key = new("bench", frozenset(Scope), None, None)
    prompts = [prompt for task in tasks.methodology() for prompt in task.train]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.yaml"
        write(file, (key,))
        async with provider() as upstream:
            environment = {
                "POINTSMAN_LLM_BASE_URL": upstream.base_url,
                "POINTSMAN_LLM_API_KEY": "bench",
                "POINTSMAN_KEYS_FILE": str(file),
                "POINTSMAN_GATEWAY_PORT": "0",
                "POINTSMAN_GATEWAY_DEADLINE_S": "5",
                "POINTSMAN_DESCRIBER_BACKEND": "local",
            }
            os.environ["POINTSMAN_DESCRIBER_BACKEND"] = "local"
            await create_topics(KafkaSettings())
            async with Supervisor(
                (*hot_path(), "gateway"), environment, lambda *_: None
            ) as running:
                await running.ready(60)
                await build_and_publish(TableSource(simulated=True, k="25"), "bench")
                address = running.addresses["gateway"]
                await paced(
                    50, 200, lambda i: post(address, "/v1/route", {"prompt": prompts[i]}, clear)
                )
                found = {
                    "first_token": await over_the_first_token(address, clear, upstream, 200),
                    "decision": await over_the_decision(address, clear, prompts, 30.0, seconds),
                    "streams": await many_streams(address, clear, upstream, streams),
                }
                async with open_traffic(KafkaSettings()) as traffic:
                    await traffic.send(
                        "one", json.dumps({"prompt": prompts[0], "request_id": "one"}).encode()
                    )
                    decided = (await traffic.outcomes.get()).decided
            async with (
                Supervisor(("gateway",), environment, lambda *_: None) as running,
                stand_in(decided, 0.025),
            ):
                await running.ready(60)
                found["decision, STAND-IN hot path"] = await over_the_decision(
                    running.addresses["gateway"], clear, prompts, 100.0, seconds
                )
                return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    supervise.warm()
    with servers.kafka() as kafka, servers.redis() as redis:
        os.environ |= {
            "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "POINTSMAN_REDIS_URL": redis,
            "POINTSMAN_KAFKA_PARTITIONS": "4",
        }
        found = asyncio.run(measure(given.seconds, given.streams))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for part, values in found.items():
        print(part)
        for name, value in values.items():
            goal = GOALS.get((part, name))
            print(f"  {name:<16} {value:10.1f}{f'   goal: at most {goal}' if goal else ''}")


if __name__ == "__main__":
    main()
