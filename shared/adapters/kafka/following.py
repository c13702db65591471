"""Reading whole topics from their beginning and on, without a group: how a service learns what it keeps in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from shared.adapters.kafka.client import reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import TelemetrySettings, log, where
from shared.contracts.topics import Topic

Offsets = dict[str, int]
"""{"topic-partition": the next offset to be read}."""
PAUSE_EVERY = 200
"""Records after which others get their turn."""


class Following:
    """Tells `learn` of every record; `caught_up` is set once all has been told that was there at the start."""

    def __init__(
        self, kafka: KafkaSettings, topics: Iterable[Topic], learn: Callable[[Topic, ConsumerRecord], None], last: int | None = None
    ) -> None:
        """`last`: begin about so many records before the end, not at the beginning."""
        self._kafka, self._topics, self._learn = kafka, {kafka.name(t): t for t in topics}, learn
        self._last = last
        self.caught_up = asyncio.Event()
        self.positions: Offsets = {}

    async def run(self, until: Mapping[str, int] | None = None) -> None:
        """Go on for good; or with `until` stop at these offsets, so that what was learnt once can be learnt again."""
        async with reader(self._kafka, self._topics.values(), from_start=True) as consumer:
            parts: list[TopicPartition] = sorted(consumer.assignment())
            ends: Mapping[TopicPartition, int] = await consumer.end_offsets(parts)
            starts: Mapping[TopicPartition, int] = await consumer.beginning_offsets(parts)
            if self._last is not None:
                each = -(-self._last // max(1, len(parts)))
                starts = {p: max(starts[p], ends[p] - each) for p in parts}
                for part in parts:
                    consumer.seek(part, starts[part])
            self.positions = {_name(p, self._topics): starts[p] for p in parts}
            goals = {p: ends[p] if until is None else until.get(_name(p, self._topics), 0) for p in parts}
            while True:
                reached = all(self.positions[_name(p, self._topics)] >= goals[p] for p in parts)
                if reached:
                    self.caught_up.set()
                    if until is not None:
                        return
                batches: Mapping[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=200 if reached else 1000, max_records=2000)
                for part, records in batches.items():
                    await self._tell(part, records, None if until is None else goals[part])
                if until is not None:
                    await self._skip_gaps(consumer, parts, goals)

    async def _tell(self, part: TopicPartition, records: list[Any], goal: int | None) -> None:
        for count, record in enumerate(records):
            if goal is not None and record.offset >= goal:
                return
            try:
                self._learn(self._topics[record.topic], record)
            except Exception as error:  # one record that can't be learnt from keeps nobody from the others
                at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
                log.error("a record was not learnt from", error=where(error, TelemetrySettings()), **at)
            self.positions[_name(part, self._topics)] = record.offset + 1
            if count % PAUSE_EVERY == PAUSE_EVERY - 1:
                await asyncio.sleep(0)

    async def _skip_gaps(self, consumer: Any, parts: list[TopicPartition], goals: Mapping[TopicPartition, int]) -> None:
        for part in parts:
            if await consumer.position(part) >= goals[part]:
                self.positions[_name(part, self._topics)] = max(goals[part], self.positions[_name(part, self._topics)])


def _name(part: TopicPartition, topics: Mapping[str, Topic]) -> str:
    return f"{topics[part.topic].name}-{part.partition}"
