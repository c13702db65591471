"""How often somebody may ask: a bucket of tokens in Redis, shared by all instances. Without Redis
each counts for itself."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import RedisError

from shared.adapters.redis.client import RedisSettings, client
from shared.adapters.telemetry import log
from shared.contracts.flow import RedisKeys

# KEYS: the bucket. ARGV: tokens a second, most tokens, now. Returns the milliseconds to wait, 0 if
# one was taken.
TAKE = """
local rate, most, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local got = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(got[1]) or most, tonumber(got[2]) or now
tokens = math.min(most, tokens + math.max(0, now - at) * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil(1000 * (1 - tokens) / rate) end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', math.max(now, at))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * most / rate) + 1000)
return wait
"""


class RateLimits:
    """Buckets that hold a minute's tokens."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = client(settings)
        self._prefix = f"{settings.key_prefix}{RedisKeys.rate}:"
        self._take: Any = self._redis.register_script(TAKE)
        self._own: dict[str, tuple[float, float]] = {}

    async def take(self, name: str, per_minute: int) -> float:
        """Seconds to wait until `name` may ask again; 0: it may now."""
        now = time.time()
        try:
            return (
                float(
                    await self._take(
                        keys=[self._prefix + name], args=[per_minute / 60, per_minute, now]
                    )
                )
                / 1000
            )
        except RedisError as error:
            log.warning(
                "no Redis; rates are counted by each instance for itself",
                error=type(error).__name__,
            )
        tokens, at = self._own.get(name, (float(per_minute), now))
        tokens = min(per_minute, tokens + (now - at) * per_minute / 60)
        self._own[name] = (max(0.0, tokens - 1) if tokens >= 1 else tokens, now)
        return 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute

    async def close(self) -> None:
        await self._redis.aclose()
