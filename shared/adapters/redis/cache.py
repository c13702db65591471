"""An exact cache of texts. While Redis is unreachable it forgets, and says so once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from redis.exceptions import RedisError

from shared.adapters.redis.client import Outage, RedisSettings, client, redis_answering
from shared.contracts.flow import RedisKeys


class TextCache:
    """Texts by key, for a time."""

    def __init__(self, settings: RedisSettings, keys: RedisKeys, ttl_s: int) -> None:
        self._redis = client(settings)
        self._prefix = f"{settings.key_prefix}{keys}:"
        self._ttl_s = ttl_s
        self._outage = Outage("going on without the cache", "the cache is back")
        self._address = settings.address

    async def get(self, key: str) -> str | None:
        try:
            value = cast("bytes | None", await self._redis.get(self._prefix + key))
        except RedisError as error:
            self._outage.note(error)
            return None
        self._outage.note(None)
        return None if value is None else value.decode()

    async def put(self, key: str, text: str) -> None:
        try:
            await self._redis.set(self._prefix + key, text, ex=self._ttl_s)
        except RedisError as error:
            self._outage.note(error)

    async def forget(self, keys: Sequence[str]) -> int:
        """Delete these texts; returns how many there were. Raises `CacheUnreachable`."""
        if not keys:
            return 0
        with redis_answering(self._address):
            return int(await self._redis.delete(*(self._prefix + key for key in keys)))

    async def close(self) -> None:
        await self._redis.aclose()
