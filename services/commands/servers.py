"""Which Kafka and Redis a command talks to: those of the settings, or those of a running `pointsman up`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.adapters.onnx.prepare import home

KAFKA, REDIS, FETCH = "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS", "POINTSMAN_REDIS_URL", "POINTSMAN_KAFKA_FETCH_MAX_WAIT_MS"
PARTITIONS = "POINTSMAN_KAFKA_PARTITIONS"


def _file() -> Path:
    return home().parent / "up.json"


def find_running() -> bool:
    """Point the settings at a running `pointsman up`, unless the environment names servers. Returns whether one was found."""
    if os.environ.get(KAFKA):
        return False
    try:
        state = json.loads(_file().read_text())
        os.kill(state["pid"], 0)
    except (OSError, ValueError, KeyError):
        return False
    for name, value in state["environment"].items():
        os.environ.setdefault(name, value)
    return True


@contextmanager
def announced(environment: dict[str, str]) -> Iterator[None]:
    """Let other commands find these servers while the block runs."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": os.getpid(), "environment": environment}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
