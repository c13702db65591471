"""Where Redis is, and one client for it."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["RedisError", "RedisSettings", "client"]


class RedisSettings(BaseSettings):
    """POINTSMAN_REDIS_*"""

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_REDIS_", frozen=True, use_attribute_docstrings=True, extra="ignore")

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """redis://user:password@host:port/db, rediss:// with TLS, unix:///path."""
    key_prefix: str = "pointsman:"
    """Put before every key, so that installations can share a server."""
    timeout_s: float = 2.0
    """How long one command may take before the hot path goes on without it."""

    @property
    def address(self) -> str:
        """The URL without user and password, for people."""
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def client(settings: RedisSettings) -> Redis:
    """A client that connects when first used. redis-py 8 cuts blocking reads by default, so timeouts are set here."""
    made: Redis = Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), retries=1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        client_name="pointsman",
        max_connections=1000,  # redis-py 8 stops at 100, and the dispatcher asks many models at once
    )
    return made
