"""Wiring of the dispatcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext

from faststream import FastStream

from services.dispatcher import FLOW
from services.dispatcher.dispatch import Answers, Assess, Call, dispatch
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.wiring import calling
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.providers import Providers
from shared.adapters.onnx.assessing import Assessor
from shared.adapters.redis.answers import RedisAnswers
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import CASCADES, log
from shared.adapters.telemetry import COMPLETIONS as GIVEN
from shared.contracts.messages import Completed, Decided


def build(
    settings: DispatcherSettings | None = None,
    call: Call | None = None,
    answers: Answers | None = None,
    assess: Assess | None = None,
) -> FastStream:
    """The dispatcher as an application; tests pass their own models, memory and way to assess
    answers."""
    settings, kafka = settings or DispatcherSettings(), KafkaSettings()
    assessor = None
    if settings.cascade and assess is None:
        assess = assessor = Assessor(
            Tables("dispatcher", kafka, RedisSettings()), settings.encoder_dir, settings.variant
        )
    remembered = answers or RedisAnswers(RedisSettings())
    ports: list[Call] = [call] if call else []

    async def work(batch: Sequence[Decided]) -> Sequence[Completed | tuple[()] | Exception]:
        done = await asyncio.gather(
            *(dispatch(message, settings, ports[0], remembered, assess) for message in batch)
        )
        for result in done:
            if isinstance(result, Completed):
                GIVEN.labels(result.completion.status).inc()
                if result.completion.conflict:
                    log.warning(
                        "a request id came again with another question, which was asked too",
                        request_id=result.request_id,
                    )
                if (told := result.completion.cascade) is not None:
                    CASCADES.labels("escalated" if told.escalated else "accepted").inc()
        return done

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        providers = Providers(CurrentCatalog(settings.catalog))
        if not ports:
            ports.append(calling(providers))
        async with assessor.running() if assessor else nullcontext():
            yield
        await providers.close()
        if isinstance(remembered, RedisAnswers):
            await remembered.close()

    stage: Stage[Decided, Completed] = Stage(
        flow=FLOW,
        work=work,
        batch=1,
        workers=settings.workers,
        patience_s=settings.deadline_s,
        lifespan=lifespan,
    )
    return connect(stage, kafka)
