"""Prompts at a steady rate, open loop, from a producer with bounded memory that waits for a broker
that is unreachable."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError
from ledger import Ledger
from support import THINGS

from shared.adapters.errors import AdapterError
from shared.adapters.kafka.client import Publisher, producer
from shared.contracts.topics import PROMPTS

MOST_WAITING = 5_000
"""Prompts sent and not acknowledged, at most; beyond that the load waits, and what it then sends
was due earlier."""
TASKS = (
    "Translate this sentence about {thing} into French",
    "Write a Python function that sorts {thing}",
    "Summarise this newspaper article about {thing} in two sentences",
    "How much does each pay if four friends share the price of {thing}?",
    "Name three facts about {thing}",
)


def prompt(number: int) -> str:
    """One of 50; the caches of descriptions see them all soon, as they would in life."""
    return TASKS[number % len(TASKS)].format(thing=THINGS[number // len(TASKS) % len(THINGS)]) + "."


class Load:
    """Publishes under known ids and notes what it did."""

    def __init__(self, ledger: Ledger, tag: str = "") -> None:
        self.ledger, self._tag = ledger, tag or uuid.uuid4().hex[:6]
        self._numbers = itertools.count()
        self._room = asyncio.Semaphore(MOST_WAITING)
        self._out: Publisher | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.stop = asyncio.Event()

    async def send(
        self,
        fields: dict[str, Any] | None = None,
        *,
        value: bytes | None = None,
        due: float | None = None,
    ) -> str:
        """One prompt; returns its id at once. `value`: these bytes instead of a message."""
        number = next(self._numbers)
        request = f"{self._tag}-{number:06d}"
        self.ledger.due[request] = time.monotonic() if due is None else due
        fields = {"prompt": prompt(number), "request_id": request, **(fields or {})}
        if fields.get("answer"):
            self.ledger.answers.add(request)
        body = json.dumps(fields).encode() if value is None else value
        await self._room.acquire()
        task = asyncio.create_task(self._publish(request, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return request

    async def _publish(self, request: str, body: bytes) -> None:
        try:
            while True:
                try:
                    if self._out is None:
                        self._out = await producer(self.ledger.kafka)
                    await self._out.send_and_wait(
                        self.ledger.kafka.name(PROMPTS), body, key=request.encode()
                    )
                    self.ledger.accepted.add(request)
                    return
                except (KafkaError, AdapterError, OSError):
                    await asyncio.sleep(0.5)
        finally:
            self._room.release()

    async def steady(self, rate: float, seconds: float, every_answer: int = 0) -> list[str]:
        """`rate` prompts a second for so long, or until `stop`; each `every_answer`th asks for an
        answer."""
        begin, sent = time.monotonic(), list[str]()
        for i in range(int(rate * seconds)):
            due = begin + i / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self.stop.is_set():
                break
            wants = bool(every_answer) and i % every_answer == 0
            sent.append(
                await self.send({"answer": True, "profile": "quality"} if wants else None, due=due)
            )
        return sent

    async def close(self) -> None:
        """Wait for what is still to be acknowledged."""
        await asyncio.gather(*self._tasks)
        if self._out is not None:
            await self._out.stop()


@asynccontextmanager
async def loading(ledger: Ledger, tag: str = "") -> AsyncGenerator[Load, None]:
    load = Load(ledger, tag)
    load._out = await producer(ledger.kafka)
    try:
        yield load
    finally:
        await load.close()
