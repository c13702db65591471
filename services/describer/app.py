"""Wiring of the describer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from faststream import FastStream

from services.describer.describe import Answer, Ask, Cache, Unavailable, describe
from services.describer.settings import DescriberSettings
from shared.adapters.errors import ModelUnreachable
from shared.adapters.kafka.edge import Stage, connect, receive_submitted
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.simulated import chat
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import DESCRIPTIONS as WRITTEN
from shared.contracts.messages import Described, Submitted
from shared.contracts.topics import DESCRIPTIONS, PROMPTS


def build(settings: DescriberSettings | None = None, ask: Ask | None = None, cache: Cache | None = None) -> FastStream:
    """The describer as an application; tests pass their own language model and cache."""
    settings, kafka = settings or DescriberSettings(), KafkaSettings()
    remembered = cache or TextCache(RedisSettings(), "description", settings.cache_ttl_s)
    ports: list[Ask] = [ask] if ask else []

    async def work(batch: Sequence[Submitted]) -> Sequence[Described | Exception]:
        described = await asyncio.gather(*(describe(m, settings, ports[0], remembered) for m in batch))
        for message in described:
            WRITTEN.labels(message.description.source).inc()
        return described

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            if not ports:
                ports.append(await stack.enter_async_context(asking(settings)))
            yield
        if isinstance(remembered, TextCache):
            await remembered.close()

    slow = settings.backend == "llm"
    stage = Stage(
        service="describer",
        about="Distils each prompt into one short task description",
        consumes=PROMPTS,
        publishes=DESCRIPTIONS,
        work=work,
        receive=lambda record: receive_submitted(record, kafka),
        batch=1 if slow else 64,
        window_s=0.0 if slow else settings.window_ms / 1000,
        workers=settings.workers if slow else 1,
        replies=True,
        lifespan=lifespan,
    )
    return connect(stage, kafka)


@asynccontextmanager
async def asking(settings: DescriberSettings) -> AsyncGenerator[Ask, None]:
    """The language model of these settings, real or simulated, as the describer asks it."""
    model = chat(LLMSettings())

    async def ask(instruction: str, content: str) -> Answer:
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": content}]
        try:
            return await model.complete(settings.model, messages, max_tokens=settings.max_tokens, within_s=settings.time_limit_s)
        except ModelUnreachable as error:
            raise Unavailable(str(error)) from None

    try:
        yield ask
    finally:
        await model.close()
