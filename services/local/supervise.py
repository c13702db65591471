"""Services as processes of their own: started, watched, started again, and stopped together.

They are forked from one server process (multiprocessing's forkserver). It has imported what they
share: importing takes a service two seconds, forking takes none.
Little is imported here, so that the server can start before anything else does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

from shared.adapters.errors import ServiceFailed

STOP_WITHIN_S = 15.0
RESTART_AFTER_S = 0.5
SHORT_LIFE_S = 5.0
SERVED_S = 0.5
"""Seconds a service must take records to count as started."""
FALSE_STARTS = 3
"""How often a service may end before its first record; then it is not started again."""
Say = Callable[[str, str, str], None]
"""Called with service, level and text for what people should see of a service's log."""

_fork = multiprocessing.get_context("forkserver")


def warm() -> None:
    """Start the server process and its imports in the background. Costs nothing if it runs
    already."""
    _fork.set_forkserver_preload(
        [
            "services.local.run",
            "services.describer.app",
            "services.assigner.app",
            "services.selector.app",
        ]
    )
    forkserver.ensure_running()


def process_name(service: str) -> str:
    """What `ps` and `top` call a service's process, at most 15 letters."""
    return f"pm-{service}"[:15]


def _serve(name: str, environment: dict[str, str], log: connection.Connection) -> None:
    """In the child: become the service."""
    os.setsid()  # Ctrl-C is for the supervisor, which asks the services to drain
    os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    with suppress(OSError):  # where there is no /proc
        Path("/proc/self/comm").write_text(process_name(name))
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    from services.local.run import run

    code = run(name, supervised=True)
    os._exit(code)


def _follow(parent: int) -> None:
    """When the supervisor is gone, however it went, drain and go too; also if the broker is gone as
    well, and nothing can be drained."""
    connection.wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_WITHIN_S)
    os._exit(1)


@dataclass(slots=True)
class _Child:
    name: str
    process: ForkServerProcess | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It has taken records once, or has been given up."""
    was_ready: bool = False
    ready_at: float = 0.0
    restarts: int = 0
    last_words: str = ""
    address: str = ""
    """Where it is served, if it is an HTTP service."""
    watch: asyncio.Task[None] | None = None


def pause_s(lived_s: float, in_vain: int) -> float:
    """How long to wait before a service is started again, after `in_vain` starts in a row in which
    it took no record.

    One that took records and was killed comes back at once; one that can't get so far is tried less
    and less often."""
    return 0.0 if lived_s >= SHORT_LIFE_S else RESTART_AFTER_S * min(max(1, in_vain), 10)


class Supervisor:
    """Use as an async context manager; a child that ends by itself is started again."""

    def __init__(self, names: tuple[str, ...], environment: Mapping[str, str], say: Say) -> None:
        self._children = [_Child(name) for name in names]
        for_children = {
            "POINTSMAN_KAFKA_INSTANCE": f"supervised-{uuid.uuid4().hex[:12]}",
            "POINTSMAN_LOG_FORMAT": "json",
        }
        self._environment = {**os.environ, **environment, **for_children}
        level = logging.getLevelNamesMapping().get(
            self._environment.get("POINTSMAN_LOG_LEVEL", "INFO"), 0
        )
        self._least = level if level > logging.INFO else 0
        if self._least:  # services report readiness at INFO, and the supervisor needs it
            self._environment["POINTSMAN_LOG_LEVEL"] = "INFO"
        self._say = say
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        warm()
        for child in self._children:
            child.watch = asyncio.create_task(self._keep(child))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask all to drain at once; kill what has not by the deadline."""
        self._stopping.set()
        for child in self._children:
            if child.process is not None and child.process.is_alive():
                child.process.terminate()
        watches = [child.watch for child in self._children if child.watch is not None]
        _done, late = await asyncio.wait(watches, timeout=STOP_WITHIN_S)
        for child in self._children:
            if child.watch in late and child.process is not None:
                child.process.kill()
        for watch in late:
            watch.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the services that run now."""
        return {
            c.name: c.process.pid
            for c in self._children
            if c.process is not None and c.process.pid is not None
        }

    @property
    def addresses(self) -> dict[str, str]:
        """Where those services are served that are HTTP services."""
        return {c.name: c.address for c in self._children if c.address}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each service had to be started again."""
        return {c.name: c.restarts for c in self._children}

    async def ready(self, within_s: float, tell: Callable[[str], object] = lambda _: None) -> None:
        """Wait until every service takes records. Raises `ServiceFailed` when one can't, or does
        not in time."""

        async def one(child: _Child) -> None:
            await child.settled.wait()
            if not child.was_ready:
                said = child.last_words or "nothing"
                raise ServiceFailed(
                    f"the {child.name} ended {child.restarts} times before it took a record; its "
                    f"last message: {said}"
                )
            await child.ready.wait()
            tell(child.name)

        waits = [asyncio.create_task(one(child)) for child in self._children]
        done, late = await asyncio.wait(
            waits, timeout=within_s, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in done:
            task.result()
        if late:
            slow = [child.name for child in self._children if not child.ready.is_set()]
            raise ServiceFailed(
                f"no record taken within {within_s:.0f} s by: {', '.join(slow)}; run `pointsman "
                "doctor`"
            )

    async def _keep(self, child: _Child) -> None:
        in_vain = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            reader, writer = _fork.Pipe(duplex=False)
            child.process = _fork.Process(
                target=_serve, args=(child.name, self._environment, writer), name=child.name
            )
            await asyncio.to_thread(child.process.start)
            writer.close()
            await self._read_log(child, reader)
            await asyncio.to_thread(child.process.join)
            served = child.ready.is_set() and time.monotonic() - child.ready_at >= SERVED_S
            in_vain = 0 if served else in_vain + 1
            child.ready.clear()
            if self._stopping.is_set():
                return
            code = child.process.exitcode or 0
            child.restarts += 1
            if not child.was_ready and child.restarts >= FALSE_STARTS:
                child.settled.set()
                return
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._say(child.name, "warning", f"ended with {how}; starting it again")
            await asyncio.sleep(pause_s(time.monotonic() - began, in_vain))

    async def _read_log(self, child: _Child, log: connection.Connection) -> None:
        """Until the child closes its standard error: that is its end."""
        stream = asyncio.StreamReader(limit=2**20)
        pipe = os.fdopen(os.dup(log.fileno()), "rb", buffering=0)
        log.close()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), pipe
        )
        while line := await stream.readline():
            self._tell(child, line)
        transport.close()

    def _tell(self, child: _Child, line: bytes) -> None:
        try:
            entry = json.loads(line)
            level = entry.pop("level")
            text = entry.pop("event")
        except (ValueError, KeyError, TypeError, AttributeError):
            child.last_words = line.decode(errors="replace").rstrip()
            self._say(child.name, "plain", child.last_words)
            return
        if entry.pop("ready", False) is True:
            child.was_ready = True
            child.ready_at = time.monotonic()
            child.address = str(entry.get("address", ""))
            child.ready.set()
            child.settled.set()
        detail = ", ".join(
            f"{key}: {value}" for key, value in entry.items() if key not in {"timestamp", "service"}
        )
        text = f"{text} ({detail})" if detail else text
        if level in {"error", "critical"}:
            child.last_words = text
        if logging.getLevelNamesMapping().get(level.upper(), logging.CRITICAL) >= self._least:
            self._say(child.name, level, text)
