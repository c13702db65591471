"""Answers that were paid for, so that a repeated request is not billed twice. While Redis is away nothing is remembered."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import cast

from pydantic import ValidationError
from redis.exceptions import RedisError

from shared.adapters.redis.client import RedisSettings, client
from shared.adapters.telemetry import log
from shared.contracts.parts import Answer, answer_name


class RedisAnswers:
    """By request id and model."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis, self._prefix, self._away = client(settings), settings.key_prefix, False

    async def get(self, request_id: str, model: str) -> Answer | None:
        try:
            value = cast("bytes | None", await self._redis.get(self._key("answer", request_id, model)))
        except RedisError as error:
            self._note(error)
            return None
        try:
            return None if value is None else Answer.model_validate_json(value)
        except ValidationError:
            return None

    async def put(self, request_id: str, answer: Answer, keep_s: int) -> None:
        try:
            await self._redis.set(self._key("answer", request_id, answer.model), answer.model_dump_json(exclude_none=True), ex=keep_s)
        except RedisError as error:
            self._note(error)

    async def claim(self, request_id: str, model: str, for_s: float) -> bool:
        try:
            taken = await self._redis.set(self._key("asking", request_id, model), b"1", nx=True, ex=math.ceil(for_s))
        except RedisError as error:
            self._note(error)
            return True
        self._note(None)
        return bool(taken)

    async def release(self, request_id: str, model: str) -> None:
        try:
            await self._redis.delete(self._key("asking", request_id, model))
        except RedisError as error:
            self._note(error)

    async def forget(self, request_id: str, models: Sequence[str]) -> int:
        """Delete what is known of the request's answers by these models; returns how many there were. Raises `RedisError`."""
        keys = [self._key(kind, request_id, model) for kind in ("answer", "asking") for model in models]
        return int(await self._redis.delete(*keys)) if keys else 0

    def _key(self, kind: str, request_id: str, model: str) -> str:
        named = hashlib.sha256(answer_name(request_id, model).encode()).hexdigest()[:40]
        return f"{self._prefix}{kind}:{named}"

    def _note(self, error: RedisError | None) -> None:
        if (error is not None) != self._away:
            self._away = error is not None
            text = "no Redis; an answer given before may be paid again" if error else "Redis is back"
            log.warning(text, error=type(error).__name__ if error else None)

    async def close(self) -> None:
        await self._redis.aclose()
