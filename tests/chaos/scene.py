"""A whole installation that may be broken: a broker, a Redis, SIMULATED models, and every service
as a process of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import psutil
import pytest
import servers
from models import FaultyModels, serving
from published import build_and_publish
from support import forget_settings

from services.flows import flows, workers
from services.local.supervise import Say, Supervisor
from services.workbench.building import TableSource
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings
from shared.contracts.topics import Topic

PARTITIONS = 4
READY_WITHIN_S = 90.0
Log = list[tuple[float, str, str, str]]
"""(time.monotonic, service, level, text)"""


def says() -> dict[str, Topic]:
    """What each service's recovery is seen by. The re-clusterer says little; it is seen by its
    taking records again."""
    return {flow.name: flow.says[0] for flow in flows() if flow.hears is not None}


def noting(log: Log) -> Say:
    """What a supervisor tells of its services goes into `log`."""
    return lambda service, level, text: log.append((time.monotonic(), service, level, text))


@dataclass
class Scene:
    """Where a fault happens."""

    broker: servers.Server
    redis_server: servers.Server
    models: FaultyModels
    running: Supervisor
    log: Log = field(default_factory=list)

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings()

    @property
    def redis(self) -> RedisSettings:
        return RedisSettings()

    def logged(self, words: str, service: str = "", since: float = 0.0) -> list[float]:
        """When a service said that."""
        return [
            at
            for at, who, _, text in self.log
            if at >= since and words in text and service in ("", who)
        ]

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each service."""
        return {
            name: round(psutil.Process(pid).memory_info().rss / 2**20, 1)
            for name, pid in self.running.pids.items()
        }

    @asynccontextmanager
    async def more(self, service: str, **environment: str) -> AsyncGenerator[Supervisor, None]:
        """One more instance of a service."""
        async with Supervisor((service,), environment, noting(self.log)) as another:
            await another.ready(READY_WITHIN_S)
            yield another


@contextmanager
def installation(
    session_timeout_s: float, kafka: AbstractContextManager[servers.Server] | None = None
) -> Iterator[tuple[servers.Server, servers.Server, FaultyModels]]:
    """A broker, a Redis and models of its own; the environment names them while the block runs."""
    with (
        kafka or servers.own_kafka() as broker,
        servers.own_redis() as redis,
        serving(FaultyModels()) as models,
        pytest.MonkeyPatch.context() as patch,
    ):
        environment = {
            "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS": broker.address,
            "POINTSMAN_KAFKA_PARTITIONS": str(PARTITIONS),
            "POINTSMAN_KAFKA_SESSION_TIMEOUT_MS": str(int(1000 * session_timeout_s)),
            "POINTSMAN_REDIS_URL": f"redis://{redis.address}/0",
            "POINTSMAN_LLM_BASE_URL": models.base_url,
            "POINTSMAN_LLM_API_KEY": "simulated",
            "POINTSMAN_DESCRIBER_BACKEND": "local",
            "POINTSMAN_DISPATCHER_CALL_S": "5",
            "POINTSMAN_JUDGE_RATE": "1",
            "POINTSMAN_JUDGE_MODELS": '["simulated-judge-1","simulated-judge-2"]',
            "POINTSMAN_JUDGE_BUDGET_USD_PER_DAY": "10000",
            "POINTSMAN_RECLUSTERER_EVERY_S": "2",
        }
        forget_settings(patch)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield broker, redis, models


@asynccontextmanager
async def scene(
    made: tuple[servers.Server, servers.Server, FaultyModels],
    services: tuple[str, ...] | None = None,
    **environment: str,
) -> AsyncGenerator[Scene, None]:
    """The services on an installation, with a first table."""
    broker, redis, models = made
    models.calm()
    await create_topics(KafkaSettings())
    log: Log = []
    async with Supervisor(services or workers(), environment, noting(log)) as running:
        await build_and_publish(TableSource(simulated=True, k="25"), "first")
        await running.ready(READY_WITHIN_S)
        yield Scene(broker, redis, models, running, log)
