"""Prompts in, decisions out: what `route`, `demo` and the benchmarks have in common."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.screen import json_text
from shared.adapters.kafka.client import Publisher, publisher, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import Completed, Decided, read
from shared.contracts.topics import COMPLETIONS, DEAD_LETTERS, DECISIONS, PROMPTS


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one prompt: a decision or a dead letter, and the seconds from publishing it to
    having read that."""

    request_id: str
    decided: Decided | None
    """With the completion, where that is what was waited for."""
    dead: DeadLetter | None
    latency_s: float


@dataclass(slots=True)
class Traffic:
    """Publishes prompts and collects the results. Made by `open_traffic`."""

    kafka: KafkaSettings
    out: Publisher
    outcomes: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue)
    sent: dict[str, float] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    repeated: int = 0
    """Outcomes that came more than once: a service was killed between publishing and committing."""

    async def send(self, request_id: str, value: bytes, key: bytes | None = None) -> None:
        """Publish one prompt and wait for its acknowledgement; the clock starts before. The key is
        the request id by default."""
        self.sent[request_id] = time.monotonic()
        self.waiting.add(request_id)
        await self.out.send_and_wait(
            self.kafka.name(PROMPTS), value, key=key or request_id.encode()
        )

    def note(self, request_id: str, decided: Decided | None, dead: DeadLetter | None) -> None:
        if request_id not in self.sent:
            return  # somebody else's
        if request_id not in self.waiting:
            self.repeated += 1
            return
        self.waiting.discard(request_id)
        self.outcomes.put_nowait(
            Outcome(request_id, decided, dead, time.monotonic() - self.sent[request_id])
        )


@asynccontextmanager
async def open_traffic(
    kafka: KafkaSettings, *, completions: bool = False
) -> AsyncGenerator[Traffic, None]:
    """Read decisions (or completions) and dead letters from where they end now, and publish."""
    topic = COMPLETIONS if completions else DECISIONS
    kind: type[Decided] = Completed if completions else Decided
    async with (
        publisher(kafka) as out,
        reader(kafka, (topic, DEAD_LETTERS), from_start=False) as consumer,
    ):
        traffic = Traffic(kafka, out)
        decisions = kafka.name(topic)

        async def collect() -> None:
            async for record in consumer:
                if record.topic == decisions:
                    try:
                        decided = read(kind, record.value)
                    except InvalidMessage:
                        continue
                    traffic.note(decided.request_id, decided, None)
                elif (dead := DeadLetter.of(record.value, record.key, record.headers)) is not None:
                    traffic.note((record.key or b"").decode(errors="replace"), None, dead)

        task = asyncio.create_task(collect())
        try:
            yield traffic
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def as_message(line: str, request_id: str) -> bytes:
    """A line of a file of prompts as a message: JSON objects as they are, with a request id;
    anything else as a prompt.

    What is no message is sent as it is: the services say what is wrong with it.
    """
    if line.lstrip().startswith("{"):
        try:
            return json_text({**json.loads(line), "request_id": request_id}).encode()
        except (ValueError, RecursionError):
            return line.encode("utf-8", "replace")
    return json_text({"prompt": line, "request_id": request_id}).encode()
