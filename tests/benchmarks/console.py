"""`make bench-console`: first paint with many decisions behind the pages, and frames while
decisions arrive.

The decisions are put into the console's memory directly (a stand-in for the topic): what is
measured are the pages and the browser.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import browser
import numpy as np
import uvicorn
from support import embedded, placed, table

from services.console.app import build
from services.console.wiring.console import Console
from services.selector.decide import decide
from shared.contracts.messages import Decided
from shared.contracts.tables import TablePublished
from shared.contracts.wishes import Profile
from shared.routing.deciding.table import Encoder

PAGES = ("now", "map", "models", "try", "rate", "tables", "evidence")
MODELS = ("claude-haiku-5.5", "claude-sonnet-5.5", "gemini-3.8-flash", "gpt-5.6", "gpt-5.6-luna")
FRAMES = """() => new Promise((done) => {
  const at = []; const begin = performance.now();
  const next = (now) => { at.push(now); if (now - begin < SECONDS * 1000) requestAnimationFrame(next); else done(at); };
  requestAnimationFrame(next); })"""


def messages(count: int) -> list[Decided]:
    """Different decisions on a table of 25 clusters in 384 dimensions."""
    rng = np.random.default_rng(0)
    known = table(25, MODELS, encoder=Encoder("bench", "1", 384, "mean", "none"))
    made = []
    for i in range(count):
        at = int(rng.integers(25))
        vector = known.centroids[at] + 0.3 * rng.normal(size=384)
        message = placed(
            known, embedded(vector=vector / np.linalg.norm(vector), encoder=known.encoder)
        )
        cluster = message.assignment.clusters[0].model_copy(
            update={"id": known.clusters[at].id, "label": known.clusters[at].label}
        )
        message = message.model_copy(
            update={"assignment": message.assignment.model_copy(update={"clusters": (cluster,)})}
        )
        text = f"Task number {i} of many, described in about a dozen words as describers do"
        description = message.description.model_copy(update={"text": text})
        decided = decide(
            message.model_copy(update={"description": description}),
            known,
            {},
            list(Profile)[i % 4],
            10,
        )
        made.append(
            decided.model_copy(update={"request_id": f"b-{i}", "submitted_at": datetime.now(UTC)})
        )
    published = TablePublished(
        epoch=0, sequence=1, digest=known.digest, published_at=datetime.now(UTC), table=""
    )
    TABLE.append((published, known))
    return made


TABLE: list[tuple[TablePublished, Any]] = []


@asynccontextmanager
async def _alone(console: Console) -> AsyncIterator[None]:
    for following in console.following:
        following.caught_up.set()
    yield


async def measure(behind: int, rate: int, seconds: int) -> dict[str, Any]:
    os.environ["POINTSMAN_KEYS_OPEN_ON_LOOPBACK"] = "true"
    made: list[Console] = []
    Console.running = lambda self: (made.append(self), _alone(self))[1]  # type: ignore[method-assign, assignment, func-returns-value]
    door = build()
    server = uvicorn.Server(
        uvicorn.Config(door.application, host="127.0.0.1", port=0, log_level="error", ws="none")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.05)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    memory = made[0].memory
    pool = messages(min(behind, 2000))
    memory.published(*TABLE[0])
    now = time.time()
    for i in range(behind):
        memory.decided(pool[i % len(pool)], now - (behind - i) / 200)
    facts: dict[str, Any] = {"decisions_behind": behind}

    async def arrive() -> None:
        begin, count = time.monotonic(), 0
        while True:
            await asyncio.sleep(0.02)
            due = int((time.monotonic() - begin) * rate)
            for i in range(count, due):
                memory.decided(pool[i % len(pool)], time.time())
            count = due

    async with (
        browser.browser() as chromium,
        browser.page(chromium, viewport={"width": 1200, "height": 900}) as window,
    ):
        page = window.page
        await page.goto(f"{address}/now")
        paints: dict[str, float] = {}
        for name in PAGES:
            found = []
            for _ in range(5):
                await page.goto(f"{address}/{name}")
                await page.wait_for_timeout(150)
                found.append(
                    await page.evaluate(
                        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                    )
                )
            paints[name] = statistics.median(found)
        facts["first_paint_ms"] = paints
        await page.goto(f"{address}/now")
        frames = FRAMES.replace("SECONDS", str(seconds))
        idle = await page.evaluate(frames)
        arriving = asyncio.create_task(arrive())
        await page.wait_for_timeout(1000)
        busy = await page.evaluate(frames)
        arriving.cancel()
        with suppress(asyncio.CancelledError):
            await arriving
        for what, at in (("quiet", idle), ("busy", busy)):
            gaps = np.diff(at)
            facts[f"frames_{what}"] = {
                "per_second": 1000 * len(gaps) / (at[-1] - at[0]),
                "p99_ms": float(np.quantile(gaps, 0.99)),
                "longest_ms": float(gaps.max()),
            }
        facts["rate"] = rate
    door.stopping.set()
    server.should_exit = True
    await serving
    return facts


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--behind", type=int, default=100_000)
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    facts = asyncio.run(measure(given.behind, given.rate, given.seconds))
    if given.json:
        print(json.dumps(facts, indent=2))
        return
    print(f"{facts['decisions_behind']:,} decisions in memory (put there directly, no topic)")
    for name, ms in facts["first_paint_ms"].items():
        print(f"first paint of {name:<9} {ms:6.0f} ms   goal ≤ 300 ms")
    for what, words in (
        ("quiet", "nothing arrives"),
        ("busy", f"{facts['rate']} decisions/s arrive"),
    ):
        found = facts[f"frames_{what}"]
        print(
            f"frames while {words:<24} {found['per_second']:5.1f}/s, p99 {found['p99_ms']:.1f} ms, "
            f"longest {found['longest_ms']:.0f} ms   goal 60/s"
        )


if __name__ == "__main__":
    main()
