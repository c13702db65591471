"""Faults that need an installation of their own kind: a small disk, a clock that can be moved,
gateway and console."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import servers
from faults import FULL, RECOVER_WITHIN_S, Findings, Size, _spread, trial
from published import build_and_publish
from scene import Log, Scene, installation, scene
from upgrade import upgraded

from services.flows import hot_path
from services.local.supervise import Supervisor
from services.workbench.building import TableSource
from shared.adapters.kafka.client import create_topics, read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.keys import new, write
from shared.contracts.messages import Completed, read
from shared.contracts.scopes import Scope
from shared.contracts.topics import COMPLETIONS, DECISIONS, PROMPTS

DISK_MB = 96
CLOCK_JUMPS = ("+1h", "-1h", "+0")


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of its own that can be filled."""
    with tempfile.TemporaryDirectory(prefix="pointsman-disk-") as place:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", place],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise servers.NoServer(
                f"a small disk could not be mounted ({done.stderr.strip()}); this fault needs root"
            )
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "-l", place], check=True)


async def disk_full(size: Size) -> Findings:
    """The broker's disk fills up under load; then there is room again, and the broker is started
    again if it ended."""
    size = replace(
        size, every_answer=0
    )  # there is no dispatcher: only the hot path and the broker are looked at
    with small_disk() as disk:
        small = {
            "log.dirs": str(disk / "data"),
            "log.segment.bytes": "1048576",
            "log.index.size.max.bytes": "65536",
        }
        with installation(size.session_s, servers.native_kafka(properties=small)) as made:
            async with (
                scene(made, hot_path()) as there,
                trial(there, "the broker's disk full", size, rate=min(50, size.rate)) as (
                    ledger,
                    _,
                    findings,
                ),
            ):
                findings.times = 1
                assert await ledger.recovered_s(DECISIONS, time.monotonic(), 60) < 60
                began = time.monotonic()
                ballast = disk / "ballast"
                await asyncio.to_thread(_fill, ballast)
                broker = there.broker
                assert isinstance(broker, servers.NativeKafka)
                assert broker.process is not None
                ended = await ledger.until(
                    lambda: broker.process is None or broker.process.poll() is not None, 30
                )
                full_s = 5.0 if size is not FULL else 20.0
                await asyncio.sleep(full_s)
                said = {
                    text.split(" (")[0]
                    for at, _, level, text in there.log
                    if at > began and level in ("warning", "error")
                }
                ballast.unlink()
                if ended:
                    await asyncio.to_thread(broker.start)
                took = await ledger.recovered_s(DECISIONS, time.monotonic(), 90)
                findings.figures |= {
                    "the broker": "ended" if ended else "went on",
                    "decisions again after, s": round(took, 1),
                    "services said": ", ".join(sorted(said)) or "nothing",
                }
                findings.require(took <= 60, f"no decision until {took:.0f} s after there was room")
                findings.require(bool(said), "no service said that it could not publish")
                kept = {
                    (record.key or b"").decode()
                    for record in await read_all(KafkaSettings(), PROMPTS)
                }
                findings.figures["accepted prompts that the broker no longer has"] = len(
                    ledger.accepted - kept
                )
    return findings


def _fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as out:
        while out.write(bytes(65536)):
            pass


def _faketime() -> str | None:
    return next(
        (str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None
    )


@asynccontextmanager
async def with_own_clock(
    names: tuple[str, ...], clock: Path, log: Log
) -> AsyncGenerator[None, None]:
    """Services whose wall clock is what `clock` says: libfaketime before a process of `pointsman
    run`."""
    library = _faketime() or (servers.installed("faketime", "faketime") and _faketime())
    if not library:
        raise servers.NoServer(
            "libfaketime is missing; install it (Debian: apt-get install faketime)"
        )
    clock.write_text("+0")
    own = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "POINTSMAN_LOG_FORMAT": "json",
    }

    async def follow(name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            log.append((time.monotonic(), name, "plain", line.decode(errors="replace")))

    processes = {
        name: await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services",
            "run",
            name,
            env={**os.environ, **own},
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
        )
        for name in names
    }
    following = [asyncio.create_task(follow(name, process)) for name, process in processes.items()]
    try:
        yield
        for name, process in processes.items():
            assert process.returncode is None, f"the {name} ended"
    finally:
        for process in processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*(process.wait() for process in processes.values()), *following)


async def clock_jumps(size: Size) -> Findings:
    """The clocks of the services jump by an hour, forth and back, while the producers' and the
    broker's do not."""
    with (
        installation(size.session_s) as (broker, redis, models),
        tempfile.TemporaryDirectory() as folder,
    ):
        await create_topics(KafkaSettings())
        await build_and_publish(TableSource(simulated=True, k="25"), "first")
        clock, log = Path(folder) / "clock", Log()
        async with with_own_clock((*hot_path(), "dispatcher"), clock, log):
            there = Scene(broker, redis, models, Supervisor((), {}, lambda *_: None), log)
            async with trial(there, "clocks jump by an hour", size, rate=min(50, size.rate)) as (
                ledger,
                _,
                findings,
            ):
                assert await ledger.recovered_s(DECISIONS, time.monotonic(), 90) < 90
                findings.times, pauses = len(CLOCK_JUMPS), list[float]()
                for jump in CLOCK_JUMPS:
                    clock.write_text(jump)
                    began = time.monotonic()
                    pauses.append(await ledger.recovered_s(DECISIONS, began, 30))
                    await asyncio.sleep(6)
                findings.figures["next decision after, s"] = _spread(pauses)
                findings.require(
                    max(pauses) <= RECOVER_WITHIN_S, f"decisions paused for {max(pauses):.1f} s"
                )
        told = [
            read(Completed, r.value).completion
            for r in await read_all(KafkaSettings(), COMPLETIONS)
        ]
        late = [c for c in told if c.status == "failed"]
        reasons = {failed.error for c in late for failed in c.failed}
        findings.figures |= {
            "answered": len(told) - len(late),
            "not answered": len(late),
            "because": ", ".join(sorted(reasons)) or "-",
        }
        findings.require(all(c.failed for c in late), "an answer that failed without a reason")
    return findings


def doors_killed(name: str) -> Callable[[Size], Awaitable[Findings]]:
    """SIGKILL gateway or console under requests; its clients ask again when the connection
    breaks."""

    async def run(size: Size) -> Findings:
        with installation(size.session_s) as made, tempfile.TemporaryDirectory() as folder:
            file, port = Path(folder) / "keys.yaml", servers.free_port()
            clear, key = new(
                "chaos", frozenset({Scope.admin, Scope.complete, Scope.route}), None, None
            )
            write(file, (key,))
            environment = {
                f"POINTSMAN_{name.upper()}_PORT": str(port),
                "POINTSMAN_KEYS_FILE": str(file),
            }
            async with AsyncExitStack() as stack:
                there = await stack.enter_async_context(scene(made, hot_path()))
                door = await stack.enter_async_context(
                    Supervisor((name,), environment, lambda *_: None)
                )
                await door.ready(60)
                findings = await _knock(there, size, door, name, f"http://127.0.0.1:{port}", clear)
        return findings

    return run


async def _knock(
    there: Scene, size: Size, door: Supervisor, name: str, address: str, key: str
) -> Findings:
    sent, answered, took = 0, 0, list[float]()
    stop = asyncio.Event()

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        nonlocal answered
        body = {
            "model": "auto",
            "messages": [
                {"role": "user", "content": f"Name three facts about the number {number}."}
            ],
        }
        for _ in range(100):
            with suppress(httpx.TransportError):
                answer = await (
                    http.post("/v1/chat/completions", json=body)
                    if name == "gateway"
                    else http.get("/login")
                )
                if answer.status_code < 500:
                    answer.raise_for_status()
                    answered += 1
                    return
            await asyncio.sleep(0.2)

    async with trial(there, f"SIGKILL {name}", size, rate=0, named=False) as (_, _, findings):
        async with (
            httpx.AsyncClient(
                base_url=address, headers={"authorization": f"Bearer {key}"}, timeout=20
            ) as http,
            asyncio.TaskGroup() as group,
        ):

            async def knock() -> None:
                nonlocal sent
                while not stop.is_set():
                    sent += 1
                    group.create_task(ask(http, sent))
                    await asyncio.sleep(0.1)

            group.create_task(knock())
            for _ in range(size.kills):
                await asyncio.sleep(2)
                began, before = time.monotonic(), answered
                os.kill(door.pids[name], signal.SIGKILL)
                await asyncio.sleep(0.05)
                before = answered
                while answered == before and time.monotonic() - began < 60:
                    await asyncio.sleep(0.02)
                took.append(time.monotonic() - began)
            stop.set()
        findings.times = size.kills
        findings.figures |= {
            "requests": sent,
            "answered": answered,
            "recovered after, s": _spread(took),
        }
        findings.require(
            answered == sent, f"{sent - answered} of {sent} requests were never answered"
        )
        findings.require(max(took) <= RECOVER_WITHIN_S, f"took {max(took):.1f} s to recover")
    return findings


OWN: dict[str, Callable[[Size], Awaitable[Findings]]] = {
    "disk-full": disk_full,
    "clock": clock_jumps,
    "kill-gateway": doors_killed("gateway"),
    "kill-console": doors_killed("console"),
    "upgrade": upgraded,
}
