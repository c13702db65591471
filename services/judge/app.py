"""Wiring of the judge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from faststream import FastStream

from services.judge import FLOW
from services.judge.attendance import Attendance
from services.judge.judge import AskJudge, AskModel, chosen_once, judge
from services.judge.sample import Sampler
from services.judge.settings import JudgeSettings
from services.judge.wiring import (
    REMEMBER_S,
    CatalogPrices,
    asking,
    attend,
    challengers,
    spent_since,
)
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.simulated import JUDGE
from shared.adapters.redis.budget import DailyBudget
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import JUDGED, VOTES
from shared.contracts.evaluations import Evaluated
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import Completed
from shared.contracts.parts import Votes

PATIENT_CALLS = 6
"""Calls one after another in one comparison, at most: two shadow answers, and twice two rounds of
votes."""


def build(settings: JudgeSettings | None = None) -> FastStream:
    """The judge as an application."""
    settings, kafka, redis, llm = (
        settings or JudgeSettings(),
        KafkaSettings(),
        RedisSettings(),
        LLMSettings(),
    )
    if llm.simulated:
        settings = settings.model_copy(
            update={"models": tuple(f"{JUDGE}-{i + 1}" for i in range(len(settings.models)))}
        )
    catalog = CurrentCatalog(settings.catalog)
    catalog().profile(settings.profile)  # a profile that is not there is said at the start
    sampler = Sampler(settings)
    tables, budget = (
        Tables("judge", kafka, redis),
        DailyBudget(
            redis,
            RedisKeys.judge_budget,
            settings.budget_usd_per_day,
            lambda day: spent_since(kafka, day),
        ),
    )
    kept, attendance = TextCache(redis, RedisKeys.judged, REMEMBER_S), Attendance(settings.rest_s)
    ports: list[tuple[AskModel, AskJudge]] = []

    async def one(message: Completed) -> list[Evaluated]:
        _, table = await tables.current()
        costs = challengers(catalog(), settings.profile)
        chosen = await chosen_once(message, lambda: sampler.choose(message, table, costs), kept)
        if not chosen:
            return []
        found = await judge(
            message, chosen, settings, *ports[0], budget, CatalogPrices(catalog()), kept, attendance
        )
        JUDGED.labels("judged").inc(len(found))
        JUDGED.labels("left out").inc(max(0, len(chosen) - len(found)))
        for evaluation in found:
            for kind in Votes.model_fields:
                VOTES.labels(evaluation.rater.name, kind).inc(getattr(evaluation.votes, kind))
            attend(evaluation, attendance)
        return found

    async def work(batch: Sequence[Completed]) -> Sequence[list[Evaluated] | Exception]:
        return await asyncio.gather(*(one(message) for message in batch))

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tables.running())
            await stack.enter_async_context(budget.running())
            ports.append(await stack.enter_async_context(asking(settings, catalog, llm, redis)))
            stack.push_async_callback(kept.close)
            yield

    stage: Stage[Completed, Evaluated] = Stage(
        flow=FLOW,
        work=work,
        batch=1,
        workers=settings.workers,
        patience_s=PATIENT_CALLS * settings.call_s,
        lifespan=lifespan,
    )
    return connect(stage, kafka)
