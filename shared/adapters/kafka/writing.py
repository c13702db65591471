"""The one writer of the routing table: whoever owns the single partition of `routing-tables` in the
group of the re-clusterers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from faststream import AckPolicy, FastStream
from faststream.kafka import Topic as FastStreamTopic
from faststream.specification import AsyncAPI

from shared.adapters.kafka.client import require_topics
from shared.adapters.kafka.edge import consuming, decode_record, leave, parse_record
from shared.adapters.kafka.fetching import Fetching
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import READY, TelemetrySettings, log
from shared.contracts.topics import ROUTING_TABLES, Topic


class Turn(ConsumerRebalanceListener):
    """Whose turn it is to write. `mine` is set while it is ours; `terms` counts how often it
    came."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.mine, self.terms = asyncio.Event(), 0

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            self.mine.clear()
            log.info("standing by")

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        READY.labels(self._service).set(1)
        if assigned:
            self.terms += 1
            self.mine.set()
        log.info("taking records", writer=bool(assigned))


def connect_writer(
    service: str,
    about: str,
    topics: tuple[Topic, ...],
    running: Callable[[Turn], AbstractAsyncContextManager[None]],
    kafka: KafkaSettings | None = None,
) -> FastStream:
    """An application that is in the writers' group while it runs `running`; `topics` are those it
    reads besides."""
    kafka = kafka or KafkaSettings()
    turn = Turn(service)
    broker = consuming(service, kafka)
    subscriber = broker.subscriber(
        FastStreamTopic(kafka.name(ROUTING_TABLES), declare=False),
        **kafka.membership(service),
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="latest",
        fetch_max_wait_ms=kafka.fetch_max_wait_ms,
        max_partition_fetch_bytes=ROUTING_TABLES.max_bytes * 2,
        listener=turn,
        no_reply=True,
        parser=parse_record,
        decoder=decode_record,
        title=f"{service}.hears.{ROUTING_TABLES.name}",
        description=f"{ROUTING_TABLES.about}. {about}",
    )

    async def handler(message: Any) -> None:
        """Being in the group is all that counts; tables are read by
        `shared.adapters.kafka.tables`."""

    handler.__annotations__["message"] = ROUTING_TABLES.message
    handler.__name__ = service
    subscriber(handler)
    subscriber.get_msg = Fetching(service, ROUTING_TABLES.name, TelemetrySettings()).record
    broker.publisher(
        FastStreamTopic(kafka.name(ROUTING_TABLES), declare=False),
        title=f"{service}.says.{ROUTING_TABLES.name}",
        description=ROUTING_TABLES.about,
        schema=ROUTING_TABLES.message,
    )

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            await require_topics(kafka, (ROUTING_TABLES, *topics))
            await stack.enter_async_context(running(turn))
            yield

    async def drain() -> None:
        leave(subscriber.consumer)

    specification = AsyncAPI(
        title=f"Pointsman {service}", version=version("pointsman"), description=about
    )
    return FastStream(
        broker, logger=None, lifespan=lifespan, on_shutdown=[drain], specification=specification
    )
