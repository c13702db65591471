"""What was sent under known request ids, what came out of it, and when."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from shared.adapters.errors import AdapterError
from shared.adapters.kafka.client import read_all, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.figures import percentile
from shared.contracts.topics import (
    ASSIGNMENTS,
    COMPLETIONS,
    DEAD_LETTERS,
    DECISIONS,
    DESCRIPTIONS,
    EMBEDDINGS,
    EVALUATIONS,
    Topic,
)

WATCHED = (DESCRIPTIONS, EMBEDDINGS, ASSIGNMENTS, DECISIONS, COMPLETIONS, EVALUATIONS, DEAD_LETTERS)


@dataclass(slots=True)
class Ledger:
    """Times are of `time.monotonic`. Made by `watching`; `account` reads the topics again, from
    their beginning to their end."""

    kafka: KafkaSettings
    due: dict[str, float] = field(default_factory=dict)
    """When each request was to be sent."""
    accepted: set[str] = field(default_factory=set)
    """Requests that the broker has acknowledged. One that it has not may still be there."""
    answers: set[str] = field(default_factory=set)
    """Requests that asked for an answer."""
    first: dict[Topic, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """When each request was first seen on a topic."""
    arrivals: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When decisions came, by partition."""
    repeats: list[tuple[float, Topic, str]] = field(default_factory=list)
    """Records that say again what another had said: (when, topic, name)."""
    _seen: dict[Topic, set[str]] = field(default_factory=lambda: defaultdict(set))

    def note(self, topic: Topic, record: ConsumerRecord) -> None:
        """Take note of a record that has just come."""
        now = time.monotonic()
        request, name = _names(topic, record)
        if request not in self.due:
            return
        if name in self._seen[topic]:
            self.repeats.append((now, topic, name))
            return
        self._seen[topic].add(name)
        self.first[topic].setdefault(request, now)
        if topic is DECISIONS:
            self.arrivals[record.partition].append(now)

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for a condition; whether it came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not condition():
                    await asyncio.sleep(0.02)
            return True
        return False

    async def recovered_s(self, topic: Topic, since: float, within_s: float) -> float:
        """Seconds from `since` until something sent after it comes out on `topic`; infinite if
        nothing does in time."""

        def first() -> float:
            return min(
                (at for request, at in self.first[topic].items() if self.due[request] > since),
                default=0.0,
            )

        return first() - since if await self.until(lambda: first() > 0, within_s) else float("inf")

    async def settled(self, within_s: float = 90.0) -> bool:
        """Wait until everything accepted has come out, as far as it was to; whether it has."""
        return await self.until(lambda: not self.missing(), within_s)

    def missing(self) -> set[str]:
        """Accepted requests of which nothing has come out: no decision, no answer where one was
        asked for, no dead letter."""
        dead = self.first[DEAD_LETTERS].keys()
        undecided = self.accepted - self.first[DECISIONS].keys() - dead
        return undecided | {
            r
            for r in self.answers & self.accepted
            if r not in self.first[COMPLETIONS] and r not in dead
        }

    def latency_s(self, requests: Iterable[str], share: float) -> float:
        """A percentile of the time from when a prompt was due to its decision."""
        took = [
            self.first[DECISIONS][r] - self.due[r] for r in requests if r in self.first[DECISIONS]
        ]
        return percentile(took, share)

    def idle_s(self, since: float, until: float) -> float:
        """The longest time that a partition went without a decision, over the partitions that had
        any."""
        gaps = []
        for times in self.arrivals.values():
            inside = [since, *(t for t in times if since <= t <= until), until]
            gaps.append(max(b - a for a, b in pairwise(inside)))
        return max(gaps, default=float("inf"))

    async def account(self) -> Counted:
        """Count from the topics themselves, not from what was seen passing."""
        decided, completed, evaluated, dead = (
            Counter[str](),
            Counter[str](),
            Counter[str](),
            Counter[str](),
        )
        for topic, into in (
            (DECISIONS, decided),
            (COMPLETIONS, completed),
            (EVALUATIONS, evaluated),
            (DEAD_LETTERS, dead),
        ):
            for record in await read_all(self.kafka, topic):
                request, name = _names(topic, record)
                if request in self.due:
                    into[name] += 1
        there = decided.keys() | dead.keys()
        unanswered = {
            r for r in self.answers & self.accepted if r not in completed and r not in dead
        }
        return Counted(
            sent=len(self.due),
            accepted=len(self.accepted),
            lost=len((self.accepted - there) | unanswered),
            repeated=sum(
                n - 1 for counts in (decided, completed, evaluated) for n in counts.values()
            ),
            evaluations=len(evaluated),
            dead=len(dead),
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """The sums of a ledger."""

    sent: int
    accepted: int
    lost: int
    """Accepted, and neither decided (and answered, if asked for) nor among the dead letters."""
    repeated: int
    """Records that repeat another; a reader that checks request and evaluation ids takes each
    once."""
    evaluations: int
    """By id."""
    dead: int
    """Requests with a dead letter."""


def _names(topic: Topic, record: ConsumerRecord) -> tuple[str, str]:
    """(request id, what names the record's effect)."""
    if topic is DEAD_LETTERS:
        letter = DeadLetter.of(record.value, record.key, record.headers)
        return (record.key or b"").decode(errors="replace"), (record.key or b"").decode(
            errors="replace"
        ) if letter else ""
    try:
        value = json.loads(record.value)
        request = value["request_id"]
    except (ValueError, TypeError, KeyError):
        return "", ""
    if topic is EVALUATIONS:
        return request, "\0".join(
            (
                request,
                value["first"],
                value["second"],
                value["rater"]["kind"],
                value["rater"]["name"],
            )
        )
    return request, request


@asynccontextmanager
async def watching(
    kafka: KafkaSettings, topics: tuple[Topic, ...] = WATCHED
) -> AsyncGenerator[Ledger, None]:
    """A ledger that follows the topics, also across a broker that goes away."""
    ledger = Ledger(kafka)
    by_name = {kafka.name(topic): topic for topic in topics}
    started = asyncio.Event()

    async def follow() -> None:
        positions: dict[object, int] = {}
        while True:
            try:
                async with reader(kafka, topics, from_start=False) as consumer:
                    for part, offset in positions.items():
                        consumer.seek(part, offset)
                    started.set()
                    async for record in consumer:
                        ledger.note(by_name[record.topic], record)
                        for part in consumer.assignment():
                            if (part.topic, part.partition) == (record.topic, record.partition):
                                positions[part] = record.offset + 1
            except (KafkaError, AdapterError, OSError):
                await asyncio.sleep(0.5)

    task = asyncio.create_task(follow())
    try:
        await started.wait()
        yield ledger
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
