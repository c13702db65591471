"""Answers that were paid for, so that a repeated request is not billed twice. While Redis is
unreachable nothing is remembered."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import cast

from pydantic import ValidationError
from redis.exceptions import RedisError

from shared.adapters.redis.client import Outage, RedisSettings, client, redis_answering
from shared.contracts.answers import Answer, Conflict, answer_name
from shared.contracts.base import Part
from shared.contracts.flow import RedisKeys


class _Kept(Part):
    asked: str
    answer: Answer


class RedisAnswers:
    """By request id and model. What is kept says what was asked, so that one question never gets
    another's answer."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = client(settings)
        self._prefix = settings.key_prefix
        self._outage = Outage("no Redis; an answer given before may be paid again", "Redis is back")
        self._address = settings.address

    async def get(self, request_id: str, model: str, asked: str) -> Answer | None:
        """The answer to the question with the digest `asked`. Raises `Conflict` if there is one to
        another question."""
        try:
            value = cast(
                "bytes | None",
                await self._redis.get(self._key(RedisKeys.answer, request_id, model)),
            )
        except RedisError as error:
            self._outage.note(error)
            return None
        try:
            remembered = None if value is None else _Kept.model_validate_json(value)
        except ValidationError:
            return None
        if remembered is not None and remembered.asked != asked:
            raise Conflict
        return None if remembered is None else remembered.answer

    async def put(self, request_id: str, answer: Answer, asked: str, keep_s: int) -> None:
        """Keep it instead of what there was."""
        value = _Kept(asked=asked, answer=answer).model_dump_json(exclude_none=True)
        try:
            await self._redis.set(
                self._key(RedisKeys.answer, request_id, answer.model), value, ex=keep_s
            )
        except RedisError as error:
            self._outage.note(error)

    async def claim(self, request_id: str, model: str, for_s: float) -> bool:
        try:
            taken = await self._redis.set(
                self._key(RedisKeys.asking, request_id, model), b"1", nx=True, ex=math.ceil(for_s)
            )
        except RedisError as error:
            self._outage.note(error)
            return True
        self._outage.note(None)
        return bool(taken)

    async def release(self, request_id: str, model: str) -> None:
        try:
            await self._redis.delete(self._key(RedisKeys.asking, request_id, model))
        except RedisError as error:
            self._outage.note(error)

    async def forget(self, request_id: str, models: Sequence[str]) -> int:
        """Delete what is known of the request's answers by these models; returns how many there
        were. Raises `CacheUnreachable`."""
        keys = [
            self._key(kind, request_id, model)
            for kind in (RedisKeys.answer, RedisKeys.asking)
            for model in models
        ]
        if not keys:
            return 0
        with redis_answering(self._address):
            return int(await self._redis.delete(*keys))

    def _key(self, kind: RedisKeys, request_id: str, model: str) -> str:
        named = hashlib.sha256(answer_name(request_id, model).encode()).hexdigest()[:40]
        return f"{self._prefix}{kind}:{named}"

    async def close(self) -> None:
        await self._redis.aclose()
