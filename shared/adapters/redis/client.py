"""Where Redis is, and one client for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.adapters.errors import CacheUnreachable
from shared.adapters.secrets import SecretSettings
from shared.adapters.telemetry import log

__all__ = ["RedisError", "RedisSettings", "client"]


class RedisSettings(SecretSettings):
    """POINTSMAN_REDIS_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_REDIS_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """redis://user:password@host:port/db, rediss:// with TLS, unix:///path.
    POINTSMAN_REDIS_URL_FILE names a file that holds it."""
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the server's certificate, with rediss://.
    None: those of this machine."""
    cert_file: Path | None = None
    """PEM file of this client's own certificate, where the server asks for one."""
    key_file: Path | None = None
    """PEM file of that certificate's key."""
    key_prefix: str = "pointsman:"
    """Prefix of every key, so that installations can share a server."""
    timeout_s: float = 2.0
    """How long one command may take before the hot path goes on without it."""

    @property
    def address(self) -> str:
        """The URL without user and password, for people."""
        parts = urlsplit(self.url.get_secret_value())
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


@contextmanager
def redis_answering(address: str) -> Iterator[None]:
    """Redis's errors go on as ours. `address` is the one for people."""
    try:
        yield
    except RedisError as error:
        text = f"no Redis answers at {address} ({type(error).__name__})"
        raise CacheUnreachable(text) from None


@dataclass(slots=True)
class Outage:
    """A word in the log when Redis goes, for what goes on without it, and one when it is back."""

    gone: str
    back: str
    lasts: bool = False

    def note(self, error: RedisError | None) -> None:
        """What a command came to; None: it succeeded."""
        if (error is not None) == self.lasts:
            return
        self.lasts = error is not None
        if error is None:
            log.info(self.back)
        else:
            log.warning(self.gone, error=type(error).__name__)


async def server_version(settings: RedisSettings) -> str:
    """The server's version, once a key could be read. Raises `CacheUnreachable`."""
    redis = client(settings)
    try:
        with redis_answering(settings.address):
            await redis.get("pointsman:doctor")
            about: dict[str, Any] = await redis.info("server")
    finally:
        await redis.aclose()
    return str(about["redis_version"])


def client(settings: RedisSettings) -> Redis:
    """A client that connects when first used. redis-py 8 cuts blocking reads by default, so
    timeouts are set here."""
    url = settings.url.get_secret_value()
    files = {
        "ssl_ca_certs": settings.ca_file,
        "ssl_certfile": settings.cert_file,
        "ssl_keyfile": settings.key_file,
    }
    tls: dict[str, Any] = {
        name: str(path) for name, path in files.items() if path and url.startswith("rediss://")
    }
    redis: Redis = Redis.from_url(
        url,
        **tls,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), retries=1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        client_name="pointsman",
        # redis-py 8 stops at 100, and the dispatcher asks many models at once
        max_connections=1000,
    )
    return redis
