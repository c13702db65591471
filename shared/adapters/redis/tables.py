"""The hot copy of the routing tables: the current version, the last few by digest, and a word when
one is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from shared.adapters.redis.client import RedisSettings, client, redis_answering
from shared.contracts.errors import InvalidMessage
from shared.contracts.flow import RedisKeys
from shared.contracts.tables import TablePublished, read_version

OLD_TABLES_LIVE_S = 24 * 3600

# Sets the current version only if it is newer, so that writers may race and a late one does no
# harm.
SET_IF_NEWER = """
local current = redis.call('GET', KEYS[1])
if current then
  local epoch, sequence, digest = string.match(current, '^(%d+)%.(%d+)%.(%x+)$')
  epoch, sequence = tonumber(epoch), tonumber(sequence)
  local e, s = tonumber(ARGV[1]), tonumber(ARGV[2])
  if epoch and (e < epoch or (e == epoch and s < sequence)) then return 0 end
  if e == epoch and s == sequence and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
  if epoch and digest ~= ARGV[3] then redis.call('EXPIRE', KEYS[3] .. digest, ARGV[5]) end
end
redis.call('SET', KEYS[2], ARGV[4])
redis.call('SET', KEYS[1], ARGV[1] .. '.' .. ARGV[2] .. '.' .. ARGV[3])
redis.call('PUBLISH', KEYS[4], ARGV[1] .. '.' .. ARGV[2])
return 1
"""


@dataclass(slots=True)
class News:
    """Says when there may be a new version. Use as an async context manager."""

    _subscription: PubSub
    _address: str

    async def wait(self, within_s: float) -> None:
        """Return at the news, or after that time. Raises `CacheUnreachable`."""
        with redis_answering(self._address):
            await self._subscription.get_message(timeout=within_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._subscription.aclose()  # type: ignore[no-untyped-call]


class HotTables:
    """Versions of the routing table in Redis. Every method raises `CacheUnreachable`
    when Redis is unreachable."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis: Redis = client(settings)
        self._address = settings.address
        base = f"{settings.key_prefix}{RedisKeys.tables}:"
        self._current = base + "current"
        self._by_digest = base + "by-digest:"
        self._channel = base + "news"
        self._set_if_newer: Any = self._redis.register_script(SET_IF_NEWER)

    async def put(self, version: TablePublished) -> bool:
        """Make `version` the current one and tell everybody, unless a newer one is there. Returns
        whether it was taken."""
        keys = [self._current, self._by_digest + version.digest, self._by_digest, self._channel]
        arguments = [
            version.epoch,
            version.sequence,
            version.digest,
            version.model_dump_json(),
            OLD_TABLES_LIVE_S,
        ]
        with redis_answering(self._address):
            return bool(await self._set_if_newer(keys=keys, args=arguments))

    async def current_version(self) -> tuple[int, int, str] | None:
        """(epoch, sequence, digest) of the current version: a few bytes, cheap to ask for often."""
        with redis_answering(self._address):
            value = cast("bytes | None", await self._redis.get(self._current))
        if value is None:
            return None
        epoch, sequence, digest = value.decode().split(".")
        return int(epoch), int(sequence), digest

    async def by_digest(self, digest: str) -> TablePublished | None:
        """The version with this table; None if it is not, or no longer, there."""
        with redis_answering(self._address):
            value = cast("bytes | None", await self._redis.get(self._by_digest + digest))
        try:
            return None if value is None else read_version(value)
        except InvalidMessage:
            return None

    async def listen(self) -> News:
        """A subscription to the news of a new version."""
        subscription = self._redis.pubsub(ignore_subscribe_messages=True)
        with redis_answering(self._address):
            await subscription.subscribe(self._channel)
        return News(subscription, self._address)

    async def close(self) -> None:
        await self._redis.aclose()
