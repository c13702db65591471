"""Reading whole topics from their beginning and on, without a group: how a service learns what it
keeps in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from shared.adapters.kafka.client import reader
from shared.adapters.kafka.fetching import AGAIN_S
from shared.adapters.kafka.positions import position
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import TelemetrySettings, log, where
from shared.contracts.topics import Topic

Positions = dict[str, int]
"""{"topic-partition": the next offset to be read}."""
FETCH_WITHIN_MS = 1000
PAUSE_EVERY = 200
"""Records after which others get their turn."""


class Following:
    """Tells `learn` of every record; `caught_up` is set once all has been told that was there at
    the start."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Iterable[Topic],
        learn: Callable[[Topic, ConsumerRecord], None],
        last: int | None = None,
    ) -> None:
        """`last`: begin about this many records before the end, not at the beginning."""
        self._kafka = kafka
        self._topics = {kafka.name(t): t for t in topics}
        self._learn = learn
        self._last = last
        self._error = ""
        self.caught_up = asyncio.Event()
        self.positions: Positions = {}

    async def run(self, until: Mapping[str, int] | None = None) -> None:
        """Go on for good; or with `until` stop at these offsets, so that what was learnt once can
        be learnt again."""
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
            goals = {
                p: ends[p] if until is None else until.get(_name(p, self._topics), 0) for p in parts
            }
            while True:
                reached = all(self.positions[_name(p, self._topics)] >= goals[p] for p in parts)
                if reached:
                    self.caught_up.set()
                    if until is not None:
                        return
                batches = await self._fetched(consumer, parts)
                for part, records in batches.items():
                    await self._tell(part, records, None if until is None else goals[part])
                self._skip_gaps(consumer, parts, goals if until is not None else None)

    async def _fetched(
        self, consumer: Any, parts: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, list[Any]]:
        """What comes next. Where a fetch fails, a word in the log, and each partition by itself:
        the others go on."""
        try:
            fetched: Mapping[TopicPartition, list[Any]] = await consumer.getmany(
                timeout_ms=FETCH_WITHIN_MS, max_records=2000
            )
        except ConsumerStoppedError:
            raise
        except Exception as error:
            if self._error != type(error).__name__:
                log.error(
                    "records can't be fetched; trying again",
                    topics=sorted(self._topics),
                    error=where(error, TelemetrySettings()),
                )
            self._error = type(error).__name__
            await asyncio.sleep(AGAIN_S)
            return await self._one_by_one(consumer, parts)
        return fetched

    async def _one_by_one(
        self, consumer: Any, parts: Sequence[TopicPartition]
    ) -> dict[TopicPartition, list[Any]]:
        """After a fetch that failed: what it had taken of other partitions is lost, so each begins
        again where it was."""
        found: dict[TopicPartition, list[Any]] = {}
        for part in parts:
            at = self.positions[_name(part, self._topics)]
            consumer.seek(part, at)
            try:
                found |= await consumer.getmany(part, timeout_ms=200, max_records=2000)
            except ConsumerStoppedError:
                raise
            except Exception:
                consumer.seek(part, at)
        return found

    async def _tell(self, part: TopicPartition, records: list[Any], goal: int | None) -> None:
        for count, record in enumerate(records):
            if goal is not None and record.offset >= goal:
                return
            try:
                self._learn(self._topics[record.topic], record)
            except Exception as error:
                # one record that can't be learnt from keeps nobody from the others
                at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
                log.error(
                    "a record was not learnt from", error=where(error, TelemetrySettings()), **at
                )
            self.positions[_name(part, self._topics)] = record.offset + 1
            if count % PAUSE_EVERY == PAUSE_EVERY - 1:
                await asyncio.sleep(0)

    def _skip_gaps(
        self, consumer: Any, parts: list[TopicPartition], goals: Mapping[TopicPartition, int] | None
    ) -> None:
        """Go past offsets that hold no record: what was compacted, and the ends of transactions."""
        for part in parts:
            name = _name(part, self._topics)
            fetched = position(consumer, part)
            if fetched is not None and fetched > self.positions[name]:
                self.positions[name] = (
                    fetched
                    if goals is None
                    else max(self.positions[name], min(fetched, goals[part]))
                )


def _name(part: TopicPartition, topics: Mapping[str, Topic]) -> str:
    return f"{topics[part.topic].name}-{part.partition}"
