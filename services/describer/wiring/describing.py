"""The outside as the describer uses it: records, its language model, its cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from services.describer.describe import Ask, Foresee, ModelReply, describe
from services.describer.receive import receive
from services.describer.settings import DescriberSettings
from services.describer.wiring.foresight import foreseeing, loaded_encoder
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import ModelUnreachable
from shared.adapters.kafka.client import time_of
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import Record
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.client import open_chat
from shared.adapters.llm.providers import said
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import DESCRIPTIONS
from shared.contracts.errors import ModelUnavailable
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import Described, Submitted
from shared.contracts.remembered import Texts
from shared.contracts.topics import REPLIES


class Describing:
    """Describes batches. What is not given is made when it starts."""

    def __init__(self, settings: DescriberSettings, ask: Ask | None, cache: Texts | None) -> None:
        self._settings = settings
        self._ask = ask
        self._cache = cache
        self._kafka = KafkaSettings()
        self._foresee: Foresee | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With a language model and a cache, and with foresight where it is wanted."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            if self._cache is None:
                ttl_s = settings.cache_ttl_s
                remembered = TextCache(RedisSettings(), RedisKeys.description, ttl_s)
                stack.push_async_callback(remembered.close)
                self._cache = remembered
            if self._ask is None:
                self._ask = await stack.enter_async_context(asking(settings))
            if settings.backend == "llm" and settings.foresee:
                encoder = await asyncio.to_thread(loaded_encoder, settings)
                if encoder is not None:
                    foresight = foreseeing(settings, self._kafka, *encoder)
                    self._foresee = await stack.enter_async_context(foresight)
            yield

    def receive(self, record: Record) -> Submitted:
        """A producer's record as a message. Raises `InvalidMessage`."""
        place = f"{record.topic}-{record.partition}-{record.offset}"
        return receive(record.value, place, time_of(record), self._kafka.name(REPLIES))

    async def work(self, batch: Sequence[Submitted]) -> Sequence[Described | Exception]:
        """Describe a batch, and count where the descriptions came from."""
        ask = self._ask
        cache = self._cache
        assert ask is not None, "use it inside running()"
        assert cache is not None, "use it inside running()"
        described = await asyncio.gather(
            *(describe(message, self._settings, ask, cache, self._foresee) for message in batch)
        )
        for message in described:
            DESCRIPTIONS.labels(message.description.origin).inc()
        return described


def effective(settings: DescriberSettings) -> DescriberSettings:
    """The settings with a backend that can be had."""
    if settings.backend != "auto":
        return settings
    return settings.model_copy(update={"backend": "local" if LLMSettings().simulated else "llm"})


@asynccontextmanager
async def asking(settings: DescriberSettings) -> AsyncGenerator[Ask, None]:
    """The language model of these settings, real or simulated, as the describer asks it."""
    model = open_chat(LLMSettings())
    price = next(
        (m.price for m in CurrentCatalog(None)().models.values() if m.openrouter == settings.model),
        None,
    )

    async def ask(instruction: str, content: str) -> ModelReply:
        messages = [
            {"role": "system", "content": instruction},
            {"role": "user", "content": content},
        ]
        try:
            got = await model.complete(
                settings.model,
                messages,
                max_tokens=settings.max_tokens,
                within_s=settings.time_limit_s,
            )
        except ModelUnreachable as error:
            raise ModelUnavailable(str(error)) from None
        return said(got, price)

    try:
        yield ask
    finally:
        await model.close()
