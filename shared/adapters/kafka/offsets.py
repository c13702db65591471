"""Committing what is done, and how far each partition is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.adapters.kafka.positions import last, position
from shared.adapters.kafka.progress import Progress
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.standing import Waiting
from shared.adapters.telemetry import log
from shared.contracts.topics import Topic

COMMIT_WITHIN_S = 5.0
"""aiokafka tries for ever to commit a partition that is gone."""


@dataclass(slots=True)
class Offsets:
    """The committed offsets of one topic's partitions."""

    kafka: KafkaSettings
    topic: Topic
    progress: Progress[TopicPartition]
    moved: asyncio.Event
    consumer: Callable[[], Any] = field(default=lambda: None)

    async def commit(self) -> bool:
        """Commit as far as records are done. False where that failed: say it again."""
        offsets = self.progress.uncommitted()
        consumer = self.consumer()
        if not offsets or consumer is None:
            return True
        try:
            async with asyncio.timeout(COMMIT_WITHIN_S):
                await consumer.commit(offsets)
            self.progress.committed(offsets)
        except (KafkaError, TimeoutError) as error:  # a rebalance, or a broker that is unreachable
            log.info("commit postponed", error=type(error).__name__)
            self._leave_behind(consumer)
            return False
        return True

    def _leave_behind(self, consumer: Any) -> None:
        """Let go of partitions that the topic no longer has: one commit with such a partition fails
        for all."""
        there = consumer.partitions_for_topic(self.kafka.name(self.topic))
        gone = [part for part in self.progress if there and part.partition not in there]
        if gone:
            numbers = sorted(part.partition for part in gone)
            log.warning("the topic has fewer partitions now", topic=self.topic.name, gone=numbers)
            self.progress.drop(gone)
            self.moved.set()

    def lag(self) -> int:
        """Records up to the end of our partitions, as the last fetch told it, that are not done."""
        consumer = self.consumer()
        behind = 0
        for part in consumer.assignment() if consumer is not None else ():
            end = last(consumer, part)
            lane = self.progress.get(part)
            done = position(consumer, part) if lane is None or lane.idle else lane.position
            if end is not None and done is not None:
                behind += max(0, end - done)
        return behind

    def waiting(self) -> dict[TopicPartition, Waiting]:
        """How far each of our partitions is committed, and what waits behind that."""
        consumer = self.consumer()
        parts = consumer.assignment() if consumer is not None else ()
        return {part: self._waiting(consumer, part) for part in parts}

    def _waiting(self, consumer: Any, part: TopicPartition) -> Waiting:
        lane = self.progress.get(part)
        end = last(consumer, part)
        if lane is None or (lane.idle and lane.position == lane.committed):
            committed = position(consumer, part)  # all that was fetched is committed
        else:
            committed = lane.committed
        if committed is None and lane is not None and lane.waiting:
            committed = next(iter(lane.waiting))
        behind = None if end is None or committed is None else max(0, end - committed)
        return Waiting(committed, behind)
