"""The outside as the describer uses it: records, its language model, its cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from services.describer.describe import Ask, Foresee, Looked, ModelReply, describe
from services.describer.receive import receive
from services.describer.settings import DescriberSettings
from services.describer.wiring.foresight import foreseeing, loaded_encoder, table_encoder
from services.describer.wiring.library import Library, library_of
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import ModelUnreachable
from shared.adapters.kafka.client import time_of
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import Record
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import Providers, said
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import DESCRIPTIONS, TelemetrySettings, log, where
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
        self._library: Library | None = None

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
                table = await table_encoder(self._kafka)
                encoder = await asyncio.to_thread(loaded_encoder, settings, table)
                if encoder is not None:
                    foresight = foreseeing(settings, self._kafka, *encoder)
                    self._foresee = await stack.enter_async_context(foresight)
            if settings.backend == "library":
                table = await table_encoder(self._kafka)
                self._library = await asyncio.to_thread(library_of, settings, table)
                if self._library is not None:
                    stack.callback(self._library.close)
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
        nearest: Sequence[Looked | None] = [None] * len(batch)
        if self._library is not None:
            try:
                nearest = await self._library.look([message.request_text() for message in batch])
            except Exception as error:  # rules describe what the encoder can't
                log.error("tasks not looked up", error=where(error, TelemetrySettings()))
        described = await asyncio.gather(
            *(
                describe(message, self._settings, ask, cache, self._foresee, task)
                for message, task in zip(batch, nearest, strict=True)
            )
        )
        for message in described:
            DESCRIPTIONS.labels(message.description.origin).inc()
        return described


def effective(settings: DescriberSettings) -> DescriberSettings:
    """The settings with an available backend."""
    if settings.backend != "auto":
        return settings
    return settings.model_copy(update={"backend": "library" if LLMSettings().simulated else "llm"})


@asynccontextmanager
async def asking(settings: DescriberSettings) -> AsyncGenerator[Ask, None]:
    """The language model of these settings, real or simulated, as the describer asks it."""
    llm = LLMSettings().with_room(settings.workers)
    providers = Providers(CurrentCatalog(settings.catalog), llm)
    model, name, price = providers.helper(settings.model)

    async def ask(instruction: str, content: str) -> ModelReply:
        messages = [
            {"role": "system", "content": instruction},
            {"role": "user", "content": content},
        ]
        try:
            got = await model.complete(
                name,
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
        await providers.close()
