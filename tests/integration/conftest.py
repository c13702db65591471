"""A real Apache Kafka and a real Redis for the whole session, and the services as processes of
their own.

No available broker is a failure that says what to install: nothing here skips.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import servers
from published import build_and_publish

from services.commands.traffic import Outcome, Traffic, open_traffic
from services.flows import hot_path
from services.local import supervise
from services.local.supervise import Supervisor
from services.workbench.building import TableSource
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.redis.client import RedisSettings

WAIT_S = 60.0


@pytest.fixture(scope="session")
def _servers() -> Iterator[None]:
    supervise.warm()
    with pytest.MonkeyPatch.context() as patch, servers.kafka() as kafka, servers.redis() as redis:
        patch.setenv("POINTSMAN_KAFKA_BOOTSTRAP_SERVERS", kafka)
        patch.setenv("POINTSMAN_REDIS_URL", redis)
        patch.setenv("POINTSMAN_KAFKA_PARTITIONS", "4")
        patch.setenv("POINTSMAN_KAFKA_SESSION_TIMEOUT_MS", "6000")
        yield


@pytest.fixture(scope="module")
def installation(_servers: None) -> Iterator[dict[str, str]]:
    """Topics, groups and keys of this module alone."""
    prefix = f"t{uuid.uuid4().hex[:6]}."
    environment = {
        "POINTSMAN_KAFKA_TOPIC_PREFIX": prefix,
        "POINTSMAN_REDIS_KEY_PREFIX": prefix,
        "POINTSMAN_DESCRIBER_BACKEND": "local",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@dataclass
class Pipeline:
    """The running services of a module, what they logged, and prompts through them."""

    running: Supervisor
    traffic: Traffic
    log: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings()

    @property
    def redis(self) -> RedisSettings:
        return RedisSettings()

    async def send(
        self, value: bytes | dict[str, Any], request_id: str | None = None, key: bytes | None = None
    ) -> str:
        request_id = request_id or f"q-{uuid.uuid4().hex[:10]}"
        if isinstance(value, dict):
            value = json.dumps({"request_id": request_id, **value}).encode()
        await self.traffic.send(request_id, value, key)
        return request_id

    async def one(self, value: bytes | dict[str, Any]) -> Outcome:
        """One prompt, and its results."""
        request_id = await self.send(value)
        return (await self.collect({request_id}))[request_id]

    async def collect(self, wanted: set[str], within_s: float = WAIT_S) -> dict[str, Outcome]:
        """Wait until all of them have a result."""
        found: dict[str, Outcome] = {}
        async with asyncio.timeout(within_s):
            while wanted - found.keys():
                outcome = await self.traffic.outcomes.get()
                found[outcome.request_id] = outcome
        return found

    def logged(self, words: str) -> bool:
        return any(words in text for _service, _level, text in self.log)


@asynccontextmanager
async def running_pipeline(
    services: tuple[str, ...] | None = None, **environment: str
) -> AsyncIterator[Pipeline]:
    log: list[tuple[str, str, str]] = []
    await create_topics(KafkaSettings())
    async with Supervisor(
        services or hot_path(), environment, lambda *entry: log.append(entry)
    ) as running:
        try:
            await running.ready(WAIT_S)
        except TimeoutError:
            raise AssertionError(f"the services did not start: {log}") from None
        async with open_traffic(KafkaSettings()) as traffic:
            yield Pipeline(running, traffic, log)


@pytest.fixture(scope="module")
async def pipeline(installation: dict[str, str]) -> AsyncIterator[Pipeline]:
    """All services with a first table of simulated outcomes."""
    async with running_pipeline() as made:
        await build_and_publish(TableSource(simulated=True, k="25"), "first")
        yield made


async def eventually(condition: Any, within_s: float = 20.0) -> None:
    """Wait until `condition()`, which may be a coroutine function, is true."""
    async with asyncio.timeout(within_s):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            await asyncio.sleep(0.1)


def without_settings() -> dict[str, str]:
    """This environment without Pointsman's settings, so that commands start embedded servers. The
    encoders that are prepared already are found."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("POINTSMAN_")}
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return {**keep, "COLUMNS": "200", "XDG_CACHE_HOME": cache}


@asynccontextmanager
async def running_up(environment: dict[str, str]) -> AsyncIterator[tuple[Process, str]]:
    """`pointsman up`, once it is ready, and what it has printed until then. It is stopped at the
    end, also after a failure: it would keep its ports from the tests that follow."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "up"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(120):
            while "ready." not in said:
                line = await process.stdout.readline()
                assert line, said
                said += line.decode()
        draining = asyncio.create_task(process.stdout.read())
        yield process, said
        draining.cancel()
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)
