"""Taking records: from FastStream's consumer into a queue, and from there in batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.adapters import tracing
from shared.adapters.kafka.progress import Progress
from shared.adapters.kafka.stage import In, Record, Stage, Taken
from shared.adapters.telemetry import TelemetrySettings, log, where

NEWEST_GAP_WEIGHT = 0.1
"""What the newest gap between records counts in their mean."""


@dataclass(slots=True)
class Intake(Generic[In]):
    """Records that were taken and wait to be worked on, never more than there is room for."""

    stage: Stage[In, Any]
    telemetry: TelemetrySettings
    progress: Progress[TopicPartition]
    moved: asyncio.Event
    """Set whenever there may be room again."""
    consumer: Callable[[], Any] = field(default=lambda: None)
    """FastStream makes the consumer when it starts; None before."""
    draining: bool = False
    queue: deque[Taken[In]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    mean_gap_s: float = 1.0
    """Between the latest records."""
    last_at: float = 0.0

    @property
    def capacity(self) -> int:
        return 2 * self.stage.batch * self.stage.workers

    async def take(self, record: Record) -> None:
        """Called for a record, and takes with it what else was fetched; returns as soon as there is
        room for it."""
        partition = TopicPartition(record.topic, record.partition)
        lane = self.progress.lane(partition)
        await self._room()
        if lane is self.progress.get(partition):  # else it is another's, who gets the record too
            self.put(record)
            await self._take_what_was_fetched(record, partition)

    async def _take_what_was_fetched(self, record: Record, partition: TopicPartition) -> None:
        """Take what was fetched behind this record, of its partition only.

        Where one partition can't be read, aiokafka forgets what it took of others in the same call.
        """
        consumer = self.consumer()
        room = self.capacity - self.progress.in_flight
        if consumer is None or self.draining or room <= 0:
            return
        try:
            fetched = await consumer.getmany(partition, timeout_ms=0, max_records=room)
        except Exception:
            # told again to each caller; those before must not be passed over
            with suppress(KafkaError):
                consumer.seek(partition, record.offset + 1)
        else:
            for more in fetched.get(partition, ()):
                self.put(more)

    async def _room(self) -> None:
        while self.progress.in_flight >= self.capacity and not self.draining:
            self.moved.clear()
            await self.moved.wait()

    def put(self, record: Record) -> None:
        """Queue one record."""
        if self.draining:
            return  # not committed, so the partition's next owner gets it again
        lane = self.progress.lane(TopicPartition(record.topic, record.partition))
        lane.take(record.offset)
        now = time.monotonic()
        self.mean_gap_s += NEWEST_GAP_WEIGHT * (min(now - self.last_at, 1.0) - self.mean_gap_s)
        self.last_at = now
        self.queue.append(Taken(record, lane, now, span=self._span(record)))
        self.arrived.set()

    def _span(self, record: Record) -> tracing.Work | None:
        """The record's span. A record is worked on with or without one."""
        if (live := tracing.live()) is None:
            return None
        topic = self.stage.consumes.name
        try:
            return live.taken(record.headers, topic, record.partition, record.offset)
        except Exception as error:
            log.warning("a record is not traced", error=where(error, self.telemetry))
            return None

    async def next(self) -> list[Taken[In]]:
        """The next batch, as soon as anything waits."""
        while not self.queue:
            self.arrived.clear()
            await self.arrived.wait()
        if len(self.queue) == 1 and self.mean_gap_s < self.stage.window_s:
            await asyncio.sleep(self.stage.window_s)
        return [self.queue.popleft() for _ in range(min(len(self.queue), self.stage.batch))]
