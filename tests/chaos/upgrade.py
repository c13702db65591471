"""Upgrading under load: services of an earlier commit, with its messages and its table, are
replaced by this one's, one by one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from faults import RECOVER_WITHIN_S, Findings, Size, _spread, trial
from scene import Log, Scene, installation, noting

from services.flows import workers
from services.local.supervise import Supervisor
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.onnx.prepare import variant_for
from shared.contracts.topics import DECISIONS

FROM = os.environ.get("CHAOS_UPGRADE_FROM", "HEAD~1")
"""The commit to upgrade from."""
ROOT = Path(__file__).parents[2]


@contextmanager
def earlier() -> Iterator[tuple[Path, str]]:
    """A work tree of that commit, and its short name."""
    name = subprocess.run(
        ["git", "rev-parse", "--short", FROM], cwd=ROOT, capture_output=True, text=True
    )
    if name.returncode:
        raise SystemExit(
            f"there is no commit {FROM} here ({name.stderr.strip()}); name another with "
            "CHAOS_UPGRADE_FROM"
        )
    with tempfile.TemporaryDirectory(prefix="pointsman-earlier-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--detach", str(tree), FROM],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        try:
            yield tree, name.stdout.strip()
        finally:
            subprocess.run(
                ["git", "worktree", "remove", "--force", str(tree)],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )


def of_earlier(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "POINTSMAN_LOG_LEVEL": "ERROR"}


@asynccontextmanager
async def old_services(
    tree: Path, names: tuple[str, ...]
) -> AsyncGenerator[dict[str, asyncio.subprocess.Process], None]:
    """`pointsman run` of the earlier commit, for each."""
    running = {
        name: await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "run", name, cwd=tree, env=of_earlier(tree)
        )
        for name in names
    }
    try:
        yield running
    finally:
        for process in running.values():
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in running.values()))


async def upgraded(size: Size) -> Findings:
    """Each service is started new beside its old one, which is then told to end, under load."""
    with earlier() as (tree, name), installation(size.session_s) as (broker, redis, models):
        await create_topics(KafkaSettings())
        build = [sys.executable, "-m", "services", "table", "build", "--simulated", "--k", "25"]
        await asyncio.to_thread(
            subprocess.run, build, cwd=tree, env=of_earlier(tree), check=True, capture_output=True
        )
        table = (await versions(KafkaSettings()))[-1].read_table()
        # what docs/operations.md says: an embedder of the table's own space, until there is another
        # table
        variant = variant_for(table.encoder, None, "int8")
        log: Log = []
        async with old_services(tree, workers()) as old, AsyncExitStack() as new:
            there = Scene(broker, redis, models, Supervisor((), {}, noting(log)), log)
            async with trial(there, f"upgrade from {name}", size) as (ledger, _, findings):
                assert await ledger.recovered_s(DECISIONS, time.monotonic(), 90) < 90
                pauses = []
                for service in workers():
                    fresh = await new.enter_async_context(
                        Supervisor((service,), {"POINTSMAN_ENCODER_VARIANT": variant}, noting(log))
                    )
                    await fresh.ready(60)
                    old[service].terminate()
                    began = time.monotonic()
                    pauses.append(await ledger.recovered_s(DECISIONS, began, 60))
                    findings.require(
                        await asyncio.wait_for(old[service].wait(), 30) == 0,
                        f"the old {service} did not end by itself",
                    )
                    await asyncio.sleep(2)
                findings.times = len(pauses)
                findings.figures["next decision after, s"] = _spread(pauses)
                findings.require(
                    max(pauses) <= RECOVER_WITHIN_S, f"decisions paused for {max(pauses):.1f} s"
                )
            findings.require(not findings.counted.dead, f"{findings.counted.dead} dead letters")
    return findings
