"""The judges' budget on a real Redis: never exceeded by any spender, and counted again when Redis
was wiped."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import datetime

import pytest
from conftest import eventually
from redis.asyncio import Redis

import shared.adapters.redis.budget
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.budget import DailyBudget
from shared.adapters.redis.client import RedisSettings
from tests.unit.adapters.test_topics_read import read_from_midnight


class Till:
    """What has really been spent, and what the topic knows of it."""

    def __init__(self) -> None:
        self.spent = self.under_way = self.most = 0.0

    async def count(self, begin: datetime) -> float:
        return self.spent

    async def buy(self, budget: DailyBudget, rng: random.Random) -> bool:
        bound = rng.uniform(0.02, 0.05)
        reserved = await budget.reserve(bound)
        if reserved is None:
            return False
        self.under_way += bound
        self.most = max(self.most, self.spent + self.under_way)
        await asyncio.sleep(rng.uniform(0, 0.02))
        real = bound * rng.uniform(0.3, 1.0)
        self.under_way -= bound
        self.spent += real
        await reserved.settle(real)
        return True


@pytest.mark.parametrize("wipe", [False, True])
async def test_eight_judges_never_pass_the_cap(installation: dict[str, str], wipe: bool) -> None:
    settings, till, cap = RedisSettings(), Till(), 6.0
    async with AsyncExitStack() as stack:
        budgets = [DailyBudget(settings, f"budget:test-{wipe}", cap, till.count) for _ in range(8)]
        for budget in budgets:
            await stack.enter_async_context(budget.running())

        async def judge(i: int) -> int:
            rng, bought = random.Random(i), 0
            for _ in range(60):
                bought += await till.buy(budgets[i % 8], rng)
            return bought

        working = [asyncio.create_task(judge(i)) for i in range(24)]
        if wipe:
            redis = Redis.from_url(settings.url.get_secret_value())
            for _ in range(2):
                await asyncio.sleep(3.5)
                async for key in redis.scan_iter(
                    match=f"{settings.key_prefix}budget:test-{wipe}:*"
                ):
                    await redis.delete(key)
            await redis.aclose()
        bought = sum(await asyncio.gather(*working))
        assert bought > 100
        assert till.most <= cap + 1e-9
        assert till.spent > 0.9 * cap - 0.1

        async def counted() -> bool:
            known = await budgets[0].spent()
            return known is not None and known >= till.spent - 1e-6

        await eventually(counted)


async def test_what_was_reserved_yesterday_is_not_given_back_today(
    installation: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = ["2026-01-01"]
    monkeypatch.setattr(shared.adapters.redis.budget, "_today", lambda: days[-1])

    async def nothing(_: datetime) -> float:
        return 0.0

    budget = DailyBudget(RedisSettings(), "budget:midnight", 6.0, nothing)
    async with budget.running():
        old = await budget.reserve(1.0)
        days.append("2026-01-02")
        new = await budget.reserve(1.0)
        free = await budget.reserve(0.0)
        assert old is not None
        assert new is not None
        assert free is not None
        await old.settle(0.0)
        assert await budget.spent() == 1.0, "the other day's money"
        await new.settle(0.25)
        assert await budget.spent() == 0.25
        days.append("2026-01-03")
        await free.settle(0.0)


async def test_without_redis_nothing_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_REDIS_URL", "redis://127.0.0.1:1/0")
    budget = DailyBudget(RedisSettings(), "budget:nowhere", 5.0, Till().count)
    assert not await budget.reserve(0.01)


async def test_spending_is_counted_from_midnight_alone(installation: dict[str, str]) -> None:
    kafka = KafkaSettings()
    await create_topics(kafka)
    assert await read_from_midnight(kafka) == ["0 0", "0 1"]
