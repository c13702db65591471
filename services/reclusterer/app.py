"""Wiring of the re-clusterer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from faststream import FastStream

from services.reclusterer import FLOW
from services.reclusterer.settings import ReclustererSettings
from services.reclusterer.wiring import Learner
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.writing import Leadership, connect_writer
from shared.adapters.redis.client import RedisSettings


def build(settings: ReclustererSettings | None = None) -> FastStream:
    """The re-clusterer as an application."""
    settings = settings or ReclustererSettings()
    kafka = KafkaSettings()

    @asynccontextmanager
    async def running(turn: Leadership) -> AsyncGenerator[None, None]:
        learner = Learner(settings, kafka, RedisSettings(), turn)
        tasks = [asyncio.create_task(learner.follow()), asyncio.create_task(learner.write())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task

    return connect_writer(FLOW, running, kafka)
