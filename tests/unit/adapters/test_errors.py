"""What the outside does to us goes on as one of our errors, and the tree of them is complete."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Iterator

import aiokafka.errors
import pytest
import redis.exceptions
from support import table

import shared.adapters
from shared.adapters import errors
from shared.adapters.errors import AdapterError, BrokerUnreachable, CacheUnreachable, RecordTooLarge
from shared.adapters.kafka import client as kafka_client
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis import client as redis_client
from shared.adapters.redis.answers import RedisAnswers
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.redis.tables import HotTables
from shared.contracts.flow import RedisKeys
from shared.contracts.tables import TablePublished


def descendants(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_the_tree_that_is_drawn_is_the_tree_that_is() -> None:
    for module in pkgutil.walk_packages(shared.adapters.__path__, "shared.adapters."):
        if not module.name.endswith((".bert", ".prepare")):  # they need what only tools have
            importlib.import_module(module.name)
    drawn = set(re.findall(r"─ (\w+)", errors.__doc__ or ""))
    ours = {e.__name__ for e in descendants(AdapterError) if e.__module__.startswith("shared")}
    assert ours == drawn


def test_a_record_too_large_is_an_error_of_its_own_since_the_broker_can_be_used() -> None:
    with (
        pytest.raises(RecordTooLarge, match=r"max\.message\.bytes"),
        kafka_client.kafka_answering(KafkaSettings()),
    ):
        raise aiokafka.errors.MessageSizeTooLargeError


@pytest.mark.parametrize(
    "kind",
    sorted(
        set(descendants(aiokafka.errors.KafkaError)) - {aiokafka.errors.MessageSizeTooLargeError},
        key=str,
    ),
)
def test_whatever_kafka_says_is_a_broker_that_can_not_be_used(kind: type[Exception]) -> None:
    with (
        pytest.raises(BrokerUnreachable, match=kind.__name__),
        kafka_client.kafka_answering(KafkaSettings()),
    ):
        raise kind


@pytest.mark.parametrize("kind", sorted(descendants(redis.exceptions.RedisError), key=str))
def test_whatever_redis_says_is_a_cache_that_can_not_be_used(kind: type[Exception]) -> None:
    with pytest.raises(CacheUnreachable, match=kind.__name__), redis_client.redis_answering("here"):
        raise kind.__new__(kind)


async def _with_tables(use: Callable[[HotTables], Awaitable[object]]) -> None:
    hot = HotTables(RedisSettings(url="unix:///nowhere/redis.sock", timeout_s=0.2))
    try:
        await use(hot)
    finally:
        await hot.close()


async def test_no_redis_gets_our_own_message_from_whatever_can_not_go_on_without() -> None:
    settings = RedisSettings(url="unix:///nowhere/redis.sock", timeout_s=0.2)
    version = TablePublished.model_construct(
        epoch=1, sequence=1, digest=table().digest, published_at=None, table=""
    )
    answers, texts = RedisAnswers(settings), TextCache(settings, RedisKeys.judged, 1)
    for use in (
        lambda hot: hot.put(version),
        lambda hot: hot.current_version(),
        lambda hot: hot.by_digest("x"),
        lambda hot: hot.listen(),
    ):
        with pytest.raises(CacheUnreachable, match="no Redis answers"):
            await _with_tables(use)
    for forgetting in (answers.forget("r", ["m"]), texts.forget(["k"])):
        with pytest.raises(CacheUnreachable):
            await forgetting
    with pytest.raises(CacheUnreachable):
        await redis_client.server_version(settings)
    assert await texts.get("k") is None, "a cache forgets rather than fails"
    await answers.close()
    await texts.close()
