"""Taking single requests out of topics, as far as Kafka lets anybody: by copying a topic without
them, or by deleting up to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from aiokafka import TopicPartition as Part
from aiokafka.admin.records_to_delete import RecordsToDelete

from shared.adapters.kafka.client import admin, publisher, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import Topic

__all__ = ["Part", "copy_without", "delete_before", "not_passed", "part_of", "scan"]


def part_of(record: Any) -> Part:
    """The partition that a record lies in."""
    return Part(record.topic, record.partition)


async def scan(kafka: KafkaSettings, topic: Topic) -> AsyncGenerator[Any, None]:
    """Every record of a topic up to where it ends now, a partition's in their order; one batch is
    held in memory at a time."""
    async with reader(kafka, [topic], from_start=True) as consumer:
        parts = list(consumer.assignment())
        ends: Mapping[Part, int] = await consumer.end_offsets(parts)
        left = {part for part in parts if await consumer.position(part) < ends[part]}
        while left:
            for part, batch in (
                await consumer.getmany(*left, timeout_ms=200, max_records=500)
            ).items():
                for record in batch:
                    if record.offset < ends[part]:
                        yield record
            left = {part for part in left if await consumer.position(part) < ends[part]}


async def copy_without(
    kafka: KafkaSettings, topic: Topic, unwanted: Callable[[Any], bool]
) -> tuple[int, int]:
    """Publish again all records of a topic except the unwanted, with their times, then delete what
    was there before.

    For topics whose records may come twice without harm. Returns how many were copied and how many
    left out. What is published meanwhile stays as it is. If it is broken off, records are there
    twice, and none is lost."""
    copied = left_out = 0
    ends: dict[Part, int] = {}
    async with publisher(kafka) as out:
        async for record in scan(kafka, topic):
            part = part_of(record)
            ends[part] = record.offset + 1
            if unwanted(record):
                left_out += 1
                continue
            copied += 1
            await out.send_and_wait(
                record.topic,
                record.value,
                key=record.key,
                headers=list(record.headers),
                partition=record.partition,
                timestamp_ms=record.timestamp,
            )
    await delete_before(kafka, ends)
    return copied, left_out


async def delete_before(kafka: KafkaSettings, offsets: Mapping[Part, int]) -> None:
    """Delete all records of these partitions before these offsets, for good."""
    if offsets:
        async with admin(kafka) as client:
            await client.delete_records(
                {part: RecordsToDelete(offset) for part, offset in offsets.items()}
            )


async def not_passed(kafka: KafkaSettings, group: str, offsets: Mapping[Part, int]) -> list[Part]:
    """Which of these partitions a consumer group has not read up to these offsets. A group that
    never was has nothing to read."""
    async with admin(kafka) as client:
        committed = await client.list_consumer_group_offsets(kafka.group(group))
    if not committed:
        return []
    return [
        part
        for part, offset in offsets.items()
        if part not in committed or committed[part].offset < offset
    ]
