"""A day's money, shared by all who spend it: reserved before it is spent, and never more than the
cap.

The counter lives in Redis. When Redis has been wiped the first to notice counts again what the day
has cost, from a topic; then the counter stays shut for some seconds, in which everybody who has
money reserved adds it. Who can't reach Redis may not spend.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from redis.exceptions import RedisError

from shared.adapters.redis.client import RedisSettings, client
from shared.adapters.telemetry import log

LOOK_EVERY_S = 0.5
SHUT_S = 3.0
"""After a new count; several times `LOOK_EVERY_S`, so that everybody has joined before anybody
spends."""
DAY_AND_MORE_S = 2 * 24 * 3600

# KEYS: the day's hash. ARGV: amount, cap, now, generation that the caller has joined.
# Returns 1 or 0; -1: count or join first; -2: still shut.
RESERVE = """
local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation or generation ~= ARGV[4] then return -1 end
if tonumber(redis.call('HGET', KEYS[1], 'opens_at')) > tonumber(ARGV[3]) then return -2 end
local spent = tonumber(redis.call('HGET', KEYS[1], 'spent'))
if spent + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('HINCRBYFLOAT', KEYS[1], 'spent', ARGV[1])
return 1
"""
SETTLE = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[2] then return -1 end
redis.call('HINCRBYFLOAT', KEYS[1], 'spent', ARGV[1])
return 1
"""
BEGIN = """
if redis.call('HEXISTS', KEYS[1], 'generation') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'spent', ARGV[1], 'generation', ARGV[2], 'opens_at', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money that may be spent, of the UTC day that it was reserved on."""

    budget: DailyBudget
    usd: float
    day: str

    async def settle(self, spent: float) -> None:
        """Give back what was not spent. What can't be given back counts as spent."""
        await self.budget.settle(self, spent)


class DailyBudget:
    """USD of a UTC day, in Redis under `keys`. `count` tells what the day has cost so far, from
    records that outlive Redis."""

    def __init__(
        self,
        settings: RedisSettings,
        keys: str,
        cap_usd: float,
        count: Callable[[datetime], Awaitable[float]],
    ) -> None:
        self._redis = client(settings)
        self._prefix = f"{settings.key_prefix}{keys}:"
        self._cap = cap_usd
        self._count = count
        self._joined: dict[str, str] = {}
        self._held: dict[str, float] = {}
        self._reserve: Any = self._redis.register_script(RESERVE)
        self._settle: Any = self._redis.register_script(SETTLE)
        self._begin: Any = self._redis.register_script(BEGIN)
        self._joining = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Keep looking whether somebody has begun a new count, while the block runs."""
        task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self._redis.aclose()

    async def reserve(self, usd: float) -> Reservation | None:
        """`usd` to spend now. None if that is too much, and while Redis is unreachable: then it is
        unknown what others spend."""
        if usd > self._cap:
            return None
        day = _today()
        try:
            for _ in range(6):
                got = int(
                    await self._reserve(
                        keys=[self._prefix + day],
                        args=[usd, self._cap, time.time(), self._joined.get(day, "")],
                    )
                )
                if got == 0:
                    return None
                if got > 0:
                    self._held[day] = self._held.get(day, 0.0) + usd
                    return Reservation(self, usd, day)
                await (self._join(day) if got == -1 else asyncio.sleep(SHUT_S / 4))
        except RedisError as error:
            log.warning(
                "no Redis, so the budget is not known and nothing is spent",
                error=type(error).__name__,
            )
        return None

    async def settle(self, reserved: Reservation, spent: float) -> None:
        """As `Reservation.settle`."""
        day = _today()
        if reserved.day != day:
            self._held.pop(reserved.day, None)
            return  # yesterday's money is nobody's any more
        try:
            for _ in range(3):
                if (
                    int(
                        await self._settle(
                            keys=[self._prefix + day],
                            args=[spent - reserved.usd, self._joined.get(day, "")],
                        )
                    )
                    == 1
                ):
                    break
                await self._join(day)
        except RedisError as error:
            log.warning(
                "no Redis; what was reserved and not spent counts as spent",
                error=type(error).__name__,
            )
        self._held[day] = max(0.0, self._held.get(day, 0.0) - reserved.usd)

    async def spent(self) -> float | None:
        """USD spent or reserved today; None if nobody has counted yet."""
        value = cast("bytes | None", await self._redis.hget(self._prefix + _today(), "spent"))
        return None if value is None else float(value)

    async def _join(self, day: str) -> None:
        """Take part in the current count, and begin one if there is none."""
        async with self._joining:
            key = self._prefix + day
            generation = cast("bytes | None", await self._redis.hget(key, "generation"))
            if generation is None:
                counted = await self._count(datetime.fromisoformat(day).replace(tzinfo=UTC))
                await self._begin(
                    keys=[key],
                    args=[counted, uuid.uuid4().hex, time.time() + SHUT_S, DAY_AND_MORE_S],
                )
                generation = cast("bytes | None", await self._redis.hget(key, "generation"))
            name = (generation or b"").decode()
            if name and name != self._joined.get(day):
                self._joined = {day: name}
                if held := self._held.get(day, 0.0):
                    await self._redis.hincrbyfloat(key, "spent", held)

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(RedisError, Exception):
                await self._join(_today())
            await asyncio.sleep(LOOK_EVERY_S)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
