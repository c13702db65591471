"""`make bench-protocols`: what another protocol costs beside Chat Completions.

CPU a streamed token, in this process; the first token through a gateway, the three protocols in
turns; and 500 streams at once in each, every one checked by what it says. The provider is the
tests' own and answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import servers
from gateway import post
from provider import Provider, provider

from services.gateway.forms import Form
from services.gateway.forms.chat import CHAT
from services.gateway.forms.messages import MESSAGES
from services.gateway.forms.responses import RESPONSES
from services.gateway.requests import RequestWishes
from services.gateway.understanding import understand
from services.local import supervise
from services.local.supervise import Supervisor, process_name
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import new, write
from shared.catalog import models
from shared.contracts.figures import percentile
from shared.contracts.scopes import Scope

MODEL = "gpt-5.6-luna"
FORMS: dict[str, tuple[Form, str]] = {
    "chat": (CHAT, "/v1/chat/completions"),
    "messages": (MESSAGES, "/v1/messages"),
    "responses": (RESPONSES, "/v1/responses"),
}
GOALS = {
    "added_us_a_token": 2.0,
    "added_p99_ms": 1.0,
    "rss_most_mb": 500.0,
}
TOKENS = 20_000


def asked(name: str, text: str, *, stream: bool = True) -> dict[str, Any]:
    """A request of one turn in a protocol's words."""
    if name == "responses":
        return {"model": MODEL, "input": text, "stream": stream, "store": False}
    turns = [{"role": "user", "content": text}]
    limit = {"max_tokens": 1000} if name == "messages" else {}
    return {"model": MODEL, "messages": turns, "stream": stream} | limit


def said(name: str, text: str) -> str:
    """The words of a streamed answer."""
    events = (json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {"))
    if name == "chat":
        return "".join(
            e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]
        )
    if name == "messages":
        return "".join(
            e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta"
        )
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


def cpu_of(name: str) -> float:
    """Microseconds of CPU that it takes to say one token, once the stream has begun."""
    form, _ = FORMS[name]
    wanted = understand(
        form.read(json.dumps(asked(name, "hello")).encode(), {}),
        RequestWishes(),
        "id_1",
        "k",
        models.load(),
        frozenset(),
        10,
    )
    events = form.streamed(wanted, MODEL)
    common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chunks = [
        common | {"choices": [{"index": 0, "delta": {"content": f"w{i} "}, "finish_reason": None}]}
        for i in range(TOKENS)
    ]
    for chunk in chunks[:100]:
        for _ in events.events(chunk):
            pass
    began = time.process_time()
    for chunk in chunks[100:]:
        for _ in events.events(chunk):
            pass
    return 1e6 * (time.process_time() - began) / (TOKENS - 100)


async def first_tokens(address: str, key: str, count: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(count):
        for name, (_, path) in FORMS.items():
            found[name].append((await post(address, path, asked(name, "hello"), key))[0])
    return found


async def many_streams(
    name: str, address: str, key: str, upstream: Provider, count: int
) -> dict[str, Any]:
    upstream.slow_s, upstream.words = 0.1, 60
    process = next(
        p for p in psutil.process_iter(["name"]) if p.info["name"] == process_name("gateway")
    )
    most = open_at_once = 0

    async def one(i: int) -> bool:
        words = f"stream {i} of {uuid.uuid4().hex}"
        text = (await post(address, FORMS[name][1], asked(name, words), key))[2]
        return said(name, text).split() == ["echo", *words.split(), *(f"w{k}" for k in range(60))]

    running = [asyncio.create_task(one(i)) for i in range(count)]
    while not all(task.done() for task in running):
        await asyncio.sleep(0.2)
        most = max(most, process.memory_info().rss)
        open_at_once = max(open_at_once, upstream.open)
    upstream.slow_s, upstream.words = 0.0, 5
    return {
        "streams": count,
        "open_at_once": open_at_once,
        "right": sum(task.result() for task in running),
        "rss_most_mb": most / 2**20,
    }


async def measure(count: int, streams: int) -> dict[str, dict[str, float]]:
    clear, key = new("bench", frozenset(Scope), None, None)
    # in turns, since the machine is shared
    cpu = {name: min(cpu_of(name) for _ in range(5)) for name in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.yaml"
        write(file, (key,))
        await create_topics(KafkaSettings())
        async with provider() as upstream:
            environment = {
                "POINTSMAN_LLM_BASE_URL": upstream.base_url,
                "POINTSMAN_LLM_API_KEY": "bench",
                "POINTSMAN_KEYS_FILE": str(file),
                "POINTSMAN_GATEWAY_PORT": "0",
            }
            async with Supervisor(("gateway",), environment, lambda *_: None) as running:
                await running.ready(60)
                address = running.addresses["gateway"]
                await first_tokens(address, clear, 30)
                first = await first_tokens(address, clear, count)
                found: dict[str, dict[str, float]] = {}
                for name in FORMS:
                    p50, p99 = percentile(first[name], 0.5), percentile(first[name], 0.99)
                    found[name] = {
                        "us_a_token": cpu[name],
                        "added_us_a_token": cpu[name] - cpu["chat"],
                        "first_token_p50_ms": 1000 * p50,
                        "added_p50_ms": 1000 * (p50 - percentile(first["chat"], 0.5)),
                        "added_p99_ms": 1000 * (p99 - percentile(first["chat"], 0.99)),
                        **await many_streams(name, address, clear, upstream, streams),
                    }
                return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400)
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
        found = asyncio.run(measure(given.count, given.streams))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, values in found.items():
        print(name)
        for what, value in values.items():
            goal = GOALS.get(what)
            print(f"  {what:<20} {value:10.2f}{f'   goal: at most {goal:g}' if goal else ''}")


if __name__ == "__main__":
    main()
