"""Servers to run on: real ones where they are named, embedded ones elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.text import Text

from services.local import servers
from services.local.settings import unknown
from services.local.supervise import Say
from services.screen import err
from shared.adapters.embedded import (
    EMBEDDED_PARTITIONS,
    FETCH_WAIT_MS,
    doorbell,
    embedded_kafka,
    embedded_redis,
)
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.redis.client import RedisSettings

READY_WITHIN_S = 90.0
STYLES = {"warning": "yellow", "error": "red", "critical": "red", "plain": "dim"}


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the services find Kafka and Redis, as environment variables, and as people read it."""

    environment: dict[str, str]
    kafka: str
    redis: str
    embedded: bool


@contextmanager
def started_servers(kafka: str | None = None, redis: str | None = None) -> Iterator[Servers]:
    """Real servers where they are named, embedded ones elsewhere; the environment points at them
    while the block runs."""
    for stranger in unknown(os.environ):
        err.print(f"[yellow]warning:[/] {stranger.text}", soft_wrap=True)
    kafka = kafka or os.environ.get(servers.KAFKA)
    redis = redis or os.environ.get(servers.REDIS)
    with ExitStack() as stack:
        environment: dict[str, str] = {}
        if kafka is None:
            environment[servers.KAFKA] = stack.enter_context(embedded_kafka(KafkaSettings()))
            environment[servers.FETCH] = str(FETCH_WAIT_MS)
            environment[servers.DOORBELL] = stack.enter_context(doorbell())
            environment[servers.PARTITIONS] = str(EMBEDDED_PARTITIONS)
        else:
            environment[servers.KAFKA] = kafka
        environment[servers.REDIS] = redis or stack.enter_context(embedded_redis())
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield Servers(
                environment,
                kafka=f"{environment[servers.KAFKA]} "
                f"({'real' if kafka else 'embedded, keeps nothing'})",
                redis=f"{RedisSettings().address} "
                f"({'real' if redis else 'embedded, keeps nothing'})",
                embedded=kafka is None,
            )
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def llm_line() -> str:
    """What language models are, in a line: simulated, or whose."""
    return LLMSettings().who


def teller(verbose: bool = False) -> Say:
    """Shows what people should see of the services' logs."""

    def say(service: str, level: str, text: str) -> None:
        if verbose or level in STYLES:
            err.print(Text.assemble((f"{service:>10} ", "bold"), (text, STYLES.get(level, ""))))

    return say
