"""How many records each consumer group has yet to process; `pointsman doctor` asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.adapters.errors import BrokerUnreachable
from shared.adapters.kafka.client import admin, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import Topic

LOOK_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Left:
    """A partition in which records wait for a service."""

    service: str
    topic: str
    """Without the installation's prefix."""
    partition: int
    offset: int
    """The next to be committed."""
    records: int
    begun: bool
    """Whether the service has ever committed anything on the topic."""
    unread: str | None = None
    """What reading there fails with."""


async def left(kafka: KafkaSettings, heard: Mapping[str, Topic]) -> list[Left]:
    """Where records wait, by service and the topic it hears. A group that never committed
    waits at the beginning.

    Raises `BrokerUnreachable`.
    """
    try:
        return await _left(kafka, heard)
    except KafkaError as error:
        raise _untold(error) from None


def _untold(error: KafkaError) -> BrokerUnreachable:
    return BrokerUnreachable(
        f"the broker does not tell how far groups are ({type(error).__name__})"
    )


async def _left(kafka: KafkaSettings, heard: Mapping[str, Topic]) -> list[Left]:
    waiting: list[Left] = []
    async with (
        admin(kafka) as client,
        reader(kafka, set(heard.values()), from_start=True) as consumer,
    ):
        parts = sorted(consumer.assignment())
        starts = await consumer.beginning_offsets(parts)
        ends = await consumer.end_offsets(parts)
        for service, topic in heard.items():
            heard_parts = [
                part for part in parts if part.topic == kafka.name(topic)
            ]  # the embedded broker has no list of its own
            committed = await client.list_consumer_group_offsets(
                kafka.group(service), partitions=heard_parts
            )
            begun = any(commit.offset >= 0 for commit in committed.values())
            for part in heard_parts:
                commit = committed.get(part)
                offset = max(
                    starts[part], commit.offset if commit is not None and commit.offset >= 0 else 0
                )
                if offset >= ends[part]:
                    continue
                some, unread = await _readable(consumer, part, offset)
                if some or unread:  # else only ends of transactions lie there
                    waiting.append(
                        Left(
                            service,
                            topic.name,
                            part.partition,
                            offset,
                            ends[part] - offset,
                            begun,
                            unread,
                        )
                    )
    return waiting


async def _readable(
    consumer: AIOKafkaConsumer, part: TopicPartition, offset: int
) -> tuple[bool, str | None]:
    consumer.seek(part, offset)
    try:
        async with asyncio.timeout(LOOK_WITHIN_S):
            return bool(await consumer.getmany(part, timeout_ms=1000, max_records=1)), None
    except TimeoutError:
        return True, None
    except Exception as error:
        return False, type(error).__name__


async def members(kafka: KafkaSettings, services: tuple[str, ...]) -> dict[str, int]:
    """How many processes each service's group has. Raises `BrokerUnreachable`."""
    counts = dict.fromkeys(services, 0)
    groups = {kafka.group(service): service for service in services}
    try:
        async with admin(kafka) as client:
            there = {
                name for name, *_ in await client.list_consumer_groups()
            }  # aiokafka can't read what Kafka 4 says of others
            for response in await client.describe_consumer_groups(
                [name for name in groups if name in there]
            ):
                for group in response.groups:
                    counts[groups[group[1]]] = len(group[5])
    except KafkaError as error:
        raise _untold(error) from None
    return counts
