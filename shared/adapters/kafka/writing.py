"""The one writer of the routing table: the owner of the single partition of `routing-tables` in the
group of the re-clusterers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from faststream import FastStream

from shared.adapters.kafka.client import LOOK_EVERY_S, require_topics
from shared.adapters.kafka.doorbell import attend
from shared.adapters.kafka.faststream import leave, subscribe
from shared.adapters.kafka.fetching import Fetching
from shared.adapters.kafka.liveness import WATCH_EVERY_S, Contact
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import ALIVE_AT, READY, TelemetrySettings, log, settle
from shared.contracts.flow import Flow


class Leadership(ConsumerRebalanceListener):
    """Whose turn it is to write. `mine` is set while it is ours; `terms` counts how often it
    came."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.mine = asyncio.Event()
        self.terms = 0
        self.joined = False
        """Whether it is a member of its group."""
        self.newest = -1
        """Offset of the newest record of the topic that was read, by any writer."""

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            self.mine.clear()
            log.info("standing by")

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        READY.labels(self._service).set(1)
        self.joined = True
        settle()
        if assigned:
            self.terms += 1
            self.mine.set()
        log.info("taking records", ready=True, writer=bool(assigned))


def connect_writer(
    flow: Flow,
    running: Callable[[Leadership], AbstractAsyncContextManager[None]],
    kafka: KafkaSettings | None = None,
) -> FastStream:
    """An application that is in the writers' group while it runs `running`."""
    kafka = kafka or KafkaSettings()
    service = flow.name
    written = flow.single_writer
    if written is None:
        raise ValueError(f"the {service} is not the single writer of a topic")
    turn = Leadership(service)

    async def take(record: Any) -> None:
        """Note that something was written; `shared.adapters.kafka.tables` reads it."""
        turn.newest = max(turn.newest, record.offset)

    fetching = Fetching(service, written.name, TelemetrySettings())
    broker, consumer = subscribe(service, written, kafka, fetching, turn, take, from_start=False)

    async def watch() -> None:
        """Be ready, for good, only while a broker is there."""
        contact = Contact(kafka)
        while True:
            ALIVE_AT.labels(service).set_to_current_time()
            await asyncio.sleep(WATCH_EVERY_S)
            if (here := consumer()) is not None and turn.joined:
                READY.labels(service).set(int(contact.look(here)))

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            await require_topics(kafka, flow.topics)
            resting = asyncio.create_task(attend(consumer, kafka.doorbell, LOOK_EVERY_S))
            stack.callback(resting.cancel)
            watching = asyncio.create_task(watch())
            stack.callback(watching.cancel)
            await stack.enter_async_context(running(turn))
            yield

    async def drain() -> None:
        leave(consumer())

    return FastStream(broker, logger=None, lifespan=lifespan, on_shutdown=[drain])
