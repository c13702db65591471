"""Wiring of the describer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from faststream import FastStream

from services.describer import FLOW
from services.describer.describe import Ask, Cache, Foresee, describe
from services.describer.receive import receive
from services.describer.settings import DescriberSettings
from services.describer.wiring import _encoder, asking, effective, foreseeing
from shared.adapters.kafka.client import time_of
from shared.adapters.kafka.edge import Record, Stage, connect
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import DESCRIPTIONS as WRITTEN
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import Described, Submitted
from shared.contracts.topics import REPLIES


def build(
    settings: DescriberSettings | None = None, ask: Ask | None = None, cache: Cache | None = None
) -> FastStream:
    """The describer as an application; tests pass their own language model and cache."""
    settings, kafka = effective(settings or DescriberSettings()), KafkaSettings()
    slow = settings.backend == "llm"
    remembered = cache or TextCache(RedisSettings(), RedisKeys.description, settings.cache_ttl_s)
    ports: list[Ask] = [ask] if ask else []
    foresight: list[Foresee] = []

    async def work(batch: Sequence[Submitted]) -> Sequence[Described | Exception]:
        foresee = foresight[0] if foresight else None
        described = await asyncio.gather(
            *(describe(m, settings, ports[0], remembered, foresee) for m in batch)
        )
        for message in described:
            WRITTEN.labels(message.description.origin).inc()
        return described

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            if not ports:
                ports.append(await stack.enter_async_context(asking(settings)))
            if (
                slow
                and settings.foresee
                and (encoder := await asyncio.to_thread(_encoder, settings)) is not None
            ):
                foresight.append(
                    await stack.enter_async_context(foreseeing(settings, kafka, *encoder))
                )
            yield
        if isinstance(remembered, TextCache):
            await remembered.close()

    def received(record: Record) -> Submitted:
        place = f"{record.topic}-{record.partition}-{record.offset}"
        return receive(record.value, place, time_of(record), kafka.name(REPLIES))

    stage = Stage(
        flow=FLOW,
        work=work,
        receive=received,
        batch=1 if slow else 64,
        window_s=0.0 if slow else settings.window_ms / 1000,
        workers=settings.workers if slow else 1,
        patience_s=settings.time_limit_s if slow else 0.0,
        lifespan=lifespan,
    )
    return connect(stage, kafka)
