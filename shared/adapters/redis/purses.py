"""What each key may spend a day: one `DailyBudget` a key, counted again from the topic `spending`
when Redis was wiped."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

from shared.adapters.kafka.client import each
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.budget import DailyBudget
from shared.adapters.redis.client import RedisSettings
from shared.contracts.errors import InvalidMessage
from shared.contracts.flow import RedisKeys
from shared.contracts.messages import read
from shared.contracts.spending import Spent
from shared.contracts.topics import SPENDING

COUNT_HOLDS_S = 2.0
"""Several keys that are counted at the same time are counted in one pass."""


class KeyBudgets:
    """The budget of every key that has one. Use inside `running`."""

    def __init__(self, kafka: KafkaSettings, redis: RedisSettings) -> None:
        self._kafka = kafka
        self._redis = redis
        self._purses: dict[tuple[str, float], DailyBudget] = {}
        self._stack = AsyncExitStack()
        self._counting = asyncio.Lock()
        self._counted: tuple[float, datetime, Counter[str]] | None = None

    @asynccontextmanager
    async def running(self, budgets: Iterable[tuple[str, float]]) -> AsyncGenerator[None, None]:
        """With the budgets of these (name, USD a day) from the start; others follow when
        they are first used."""
        async with self._stack:
            for name, usd in budgets:
                await self.of(name, usd)
            yield

    async def of(self, name: str, usd_per_day: float) -> DailyBudget:
        """The budget of the key `name`."""
        place = name, usd_per_day
        if place not in self._purses:
            self._purses[place] = purse = DailyBudget(
                self._redis,
                f"{RedisKeys.key_budget}:{name}",
                usd_per_day,
                lambda day: self._count(name, day),
            )
            await self._stack.enter_async_context(purse.running())
        return self._purses[place]

    async def _count(self, name: str, day: datetime) -> float:
        async with self._counting:
            if (
                self._counted is None
                or time.monotonic() - self._counted[0] > COUNT_HOLDS_S
                or self._counted[1] != day
            ):
                self._counted = time.monotonic(), day, await self._spent_since(day)
            return self._counted[2][name]

    async def _spent_since(self, day: datetime) -> Counter[str]:
        total: Counter[str] = Counter()
        seen: set[str] = set()
        async for record in each(self._kafka, SPENDING, day):
            try:
                spent = read(Spent, record.value)
            except InvalidMessage:
                continue
            if spent.at >= day and spent.request_id not in seen:
                seen.add(spent.request_id)
                total[spent.spender] += spent.cost_usd  # type: ignore[assignment]  # typeshed counts in whole numbers
        return total
