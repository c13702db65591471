"""Which Kafka and Redis a command talks to: those of the settings, or those of a running `pointsman
up`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.adapters.onnx.prepare import home

KAFKA, REDIS, FETCH = (
    "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS",
    "POINTSMAN_REDIS_URL",
    "POINTSMAN_KAFKA_FETCH_MAX_WAIT_MS",
)
DOORBELL = "POINTSMAN_KAFKA_DOORBELL"
PARTITIONS = "POINTSMAN_KAFKA_PARTITIONS"


def _file() -> Path:
    return home().parent / "up.json"


def find_running() -> bool:
    """Point the settings at a running `pointsman up`, unless the environment names servers. Returns
    whether one was found."""
    if os.environ.get(KAFKA):
        return False
    if (state := _announced()) is None:
        return False
    for name, value in state["environment"].items():
        os.environ.setdefault(name, value)
    return True


def _announced() -> dict[str, Any] | None:
    """What a `pointsman up` that still runs has said of its servers."""
    try:
        state: dict[str, Any] = json.loads(_file().read_text())
        os.kill(state["pid"], 0)
        return state if "environment" in state else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def announced(environment: dict[str, str]) -> Iterator[None]:
    """Let other commands find these servers while the block runs; if others are announced already,
    those stay the ones that are found."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    if _announced() is None:
        # an address may have a password
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump({"pid": os.getpid(), "environment": environment}, file)
    try:
        yield
    finally:
        if (state := _announced()) is not None and state["pid"] == os.getpid():
            path.unlink(missing_ok=True)
