"""The faults. Each breaks something under load, repairs it, and says what the ledger counted.

A fault is a coroutine that takes a scene and the size of the trial and returns `Findings`; `FAULTS`
lists them all.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ledger import Counted, Ledger, watching
from load import Load, loading
from redis.asyncio import Redis
from scene import Scene, says

from services.flows import hot_path, workers
from services.workbench.building import TableSource, make_table
from shared.adapters.errors import PublishConflict
from shared.adapters.kafka.client import read_all
from shared.adapters.kafka.tables import find, versions
from shared.adapters.redis.tables import HotTables
from shared.adapters.tables import publish
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, Decided, read
from shared.contracts.tables import TablePublished
from shared.contracts.topics import COMPLETIONS, DECISIONS, EVALUATIONS
from shared.routing.deciding.table import RoutingTable

RECOVER_WITHIN_S = 15.0
IDLE_AT_MOST_S = 20.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large a trial is: `FULL` for `make chaos`, `SHORT` for `make test`."""

    rate: float
    """Prompts a second."""
    every_answer: int
    """One prompt in this many asks for an answer, which is then judged."""
    kills: int
    stops: int
    outage_s: float
    redis_away_s: float
    rebalances: int
    good: int
    poison: int
    answers: int
    swaps: int
    session_s: float


FULL = Size(100, 20, 20, 5, 30, 60, 10, 19_000, 1_000, 600, 100, 10)
SHORT = Size(40, 10, 1, 1, 8, 5, 1, 540, 60, 60, 6, 6)


@dataclass(slots=True)
class Findings:
    """The results of one fault. `wrong` says what should not have been; nothing: all is well."""

    fault: str
    counted: Counted
    times: int
    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def require(self, claim: bool, otherwise: str) -> None:
        if not claim:
            self.wrong.append(otherwise)


@asynccontextmanager
async def trial(
    scene: Scene, fault: str, size: Size, *, rate: float | None = None, named: bool = True
) -> AsyncGenerator[tuple[Ledger, Load, Findings], None]:
    """Load while the block runs; then everything accepted must come out, and nothing twice.
    `named`: every call must have a name."""
    findings = Findings(fault, Counted(0, 0, 0, 0, 0, 0), 0)
    rate = size.rate if rate is None else rate
    billed = scene.models.billed.copy()
    async with watching(scene.kafka) as ledger:
        async with loading(ledger) as load:
            steady = (
                asyncio.create_task(load.steady(rate, 24 * 3600, size.every_answer))
                if rate
                else None
            )
            try:
                yield ledger, load, findings
            finally:
                load.stop.set()
                if steady is not None:
                    await steady
        settled = await ledger.settled()
        findings.counted = counted = await ledger.account()
    twice = {name: n for name, n in (scene.models.billed - billed).items() if name and n > 1}
    findings.figures["billed twice"] = len(twice)
    findings.require(settled and counted.lost == 0, f"{counted.lost} of {counted.accepted} lost")
    findings.require(not twice, f"{len(twice)} calls billed twice")
    findings.require(
        not named or billed[""] == scene.models.billed[""], "a call without a name was billed"
    )


async def killed(scene: Scene, size: Size, service: str) -> Findings:
    """SIGKILL, again and again; a supervisor starts it again."""
    async with trial(scene, f"SIGKILL {service}", size) as (ledger, _, findings):
        findings.times, times = size.kills, list[float]()
        await _flowing(ledger, service)
        for _ in range(size.kills):
            pid, began = scene.running.pids[service], time.monotonic()
            os.kill(pid, signal.SIGKILL)
            times.append(await _recovered(scene, ledger, service, began))
            await asyncio.sleep(random.uniform(0.5, 1.5))
        findings.figures["recovered after, s"] = _spread(times)
        findings.require(max(times) <= RECOVER_WITHIN_S, f"took {max(times):.1f} s to recover")
    return findings


async def _flowing(ledger: Ledger, service: str) -> None:
    said = says().get(service)
    if said is not None and math.isinf(await ledger.recovered_s(said, time.monotonic(), 60)):
        raise AssertionError(f"nothing came out of the {service} before anything was broken")


async def _recovered(scene: Scene, ledger: Ledger, service: str, since: float) -> float:
    if (said := says().get(service)) is not None:
        return await ledger.recovered_s(said, since, 60)
    await ledger.until(lambda: bool(scene.logged("taking records", service, since)), 60)
    return min(scene.logged("taking records", service, since), default=float("inf")) - since


async def stopped(scene: Scene, size: Size, service: str) -> Findings:
    """SIGSTOP until others have its partitions, then SIGCONT: it must not write what is theirs by
    then."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(scene.more(service))
        async with trial(scene, f"SIGSTOP {service}", size) as (ledger, _, findings):
            findings.times, late = size.stops, 0
            await _flowing(ledger, service)
            first = time.monotonic()
            for _ in range(size.stops):
                pid, began = scene.running.pids[service], time.monotonic()
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(max(0.0, began + size.session_s + 4 - time.monotonic()))
                os.kill(pid, signal.SIGCONT)
                woke = time.monotonic()
                ended = await ledger.until(
                    lambda woke=woke: bool(scene.logged("ended with", service, woke)), 20
                )
                findings.require(
                    ended or service == "reclusterer",
                    "the paused one went on as if nothing had been",
                )
                said = says().get(service)
                late += sum(1 for at, topic, _ in ledger.repeats if at > woke and topic is said)
                await scene.running.ready(
                    60
                    # itself, not the other instance: one that is stopped while it starts has
                    # nothing to lose
                )
                await asyncio.sleep(1)
            findings.figures["records of a zombie"] = late
            if service in hot_path():
                findings.figures["longest pause of a partition, s"] = round(
                    ledger.idle_s(first, time.monotonic()), 1
                )
            findings.require(
                late == 0,
                f"{late} records that another had written were written again after waking",
            )
    return findings


async def broker_away(scene: Scene, size: Size, how: str) -> Findings:
    """The broker ends, by SIGTERM or SIGKILL, and comes back with what it had."""
    number = signal.SIGTERM if how == "stopped" else signal.SIGKILL
    async with trial(scene, f"broker {how}", size) as (ledger, _, findings):
        findings.times = 1
        await _flowing(ledger, "selector")
        before = scene.memory_mb()
        await asyncio.to_thread(scene.broker.stop, number)
        await asyncio.sleep(size.outage_s if how == "stopped" else 1.0)
        grown = {n: round(mb - before.get(n, mb), 1) for n, mb in scene.memory_mb().items()}
        await asyncio.to_thread(scene.broker.start)
        back = time.monotonic()
        took = await ledger.recovered_s(DECISIONS, back, 90)
        findings.figures |= {
            "decisions again after, s": round(took, 1),
            "memory grown, MB": max(grown.values()),
        }
        findings.require(took <= 60, f"no decision until {took:.0f} s after the broker was back")
        findings.require(
            max(grown.values()) <= 100,
            f"a service grew by {max(grown.values())} MB while it waited",
        )
    return findings


async def redis_away(scene: Scene, size: Size, how: str) -> Findings:
    """Redis is wiped, or stopped for a while, or replaced by an empty one (ours keeps nothing on
    disk)."""
    current = await find(scene.kafka, "current")
    async with trial(scene, f"Redis {how}", size) as (ledger, _, findings):
        findings.times = 1
        await _flowing(ledger, "judge" if size is FULL else "selector")
        began = time.monotonic()
        if how == "wiped":
            redis: Redis = Redis.from_url(scene.redis.url.get_secret_value())
            await redis.flushall()
            await redis.aclose()
        else:
            await asyncio.to_thread(scene.redis_server.stop, signal.SIGKILL)
            await asyncio.sleep(size.redis_away_s if how == "stopped" else 0.5)
            await asyncio.to_thread(scene.redis_server.start)
        took = await ledger.recovered_s(DECISIONS, began, 60)
        gap = ledger.idle_s(began, time.monotonic())
        filled, newest = await _filled(scene)
        back = time.monotonic()
        findings.figures |= {
            "first decision after, s": round(took, 2),
            "longest pause of a partition, s": round(gap, 1),
        }
        findings.figures["digest as before"] = filled[1] == newest.digest[:12]
        findings.require(
            filled[1] == newest.digest[:12],
            f"Redis has {filled}, the topic {newest.ref} {newest.digest[:12]}",
        )
        findings.require(took <= 5, f"the hot path waited {took:.1f} s")
        findings.require(newest.ref.version >= current.ref.version, "an older table came back")
        judged = await ledger.until(
            lambda: any(at > back for at in ledger.first[EVALUATIONS].values()), 60
        )
        findings.require(judged, "the judge did not go on, so its budget was not counted again")
    spent, known = await _budget(scene), await _spent(scene)
    findings.figures |= {
        "judges' budget in Redis, USD": round(spent, 4),
        "by the topic": round(known, 4),
    }
    findings.require(spent >= known - 1e-6, "the budget in Redis forgot what was spent")
    return findings


async def _filled(scene: Scene) -> tuple[tuple[str, str], TablePublished]:
    """The version and digest that Redis has, and the newest of the topic, once both are the same.

    The re-clusterer may publish at any moment, so one look at each is not enough."""
    hot = HotTables(scene.redis)
    there = "none", ""
    try:
        for _ in range(300):
            newest = await find(scene.kafka, "current")
            version = await hot.current_version()
            if version is not None and await hot.by_digest(version[2]) is not None:
                there = f"{version[0]}.{version[1]}", version[2][:12]
                if version[2] == newest.digest:
                    break
            await asyncio.sleep(0.1)
        return there, newest
    finally:
        await hot.close()


async def _budget(scene: Scene) -> float:
    redis: Redis = Redis.from_url(scene.redis.url.get_secret_value())
    try:
        keys = [
            key async for key in redis.scan_iter(match=f"{scene.redis.key_prefix}budget:judge:*")
        ]
        return sum([float(await redis.hget(key, "spent") or 0) for key in keys])  # type: ignore[misc]
    finally:
        await redis.aclose()


async def _spent(scene: Scene) -> float:
    seen: dict[str, float] = {}
    for record in await read_all(scene.kafka, EVALUATIONS):
        evaluation = read(Evaluated, record.value)
        seen[evaluation.evaluation_id] = evaluation.cost_usd
    return sum(seen.values())


async def rebalanced(scene: Scene, size: Size) -> Findings:
    """Embedders from one to three and back."""
    async with trial(scene, "embedders 1→3→1", size) as (ledger, _, findings):
        findings.times = size.rebalances
        await _flowing(ledger, "embedder")
        began = time.monotonic()
        for _ in range(size.rebalances):
            async with scene.more("embedder"), scene.more("embedder"):
                await asyncio.sleep(4)
            await asyncio.sleep(4)
        idle = ledger.idle_s(began, time.monotonic())
        findings.figures["longest pause of a partition, s"] = round(idle, 1)
        findings.require(idle <= IDLE_AT_MOST_S, f"a partition was idle for {idle:.1f} s")
    findings.figures["repeated records"] = findings.counted.repeated
    return findings


POISON: dict[str, Callable[[str], bytes]] = {
    "empty": lambda _: b"",
    "no JSON": lambda _: b"please translate this",
    "no UTF-8": lambda r: b'{"prompt": "\xff\xfe", "request_id": "' + r.encode() + b'"}',
    "JSON cut short": lambda r: b'{"prompt": "a", "request_id": "' + r.encode(),
    "a list": lambda r: b'[{"prompt": "a"}]',
    "no prompt": lambda r: b'{"request_id": "' + r.encode() + b'"}',
    "an empty prompt": lambda r: b'{"prompt": "  ", "request_id": "' + r.encode() + b'"}',
    "a prompt that is a number": lambda r: b'{"prompt": 7, "request_id": "' + r.encode() + b'"}',
    "prompt and messages": lambda r: (
        b'{"prompt": "a", "messages": [{"role": "user", "content": "b"}], "request_id": "'
        + r.encode()
        + b'"}'
    ),
    "a profile that is none": lambda r: (
        b'{"prompt": "a", "profile": "fastest", "request_id": "' + r.encode() + b'"}'
    ),
    "a prompt of 300 KiB": lambda r: (
        b'{"prompt": "' + b"a" * 300 * 1024 + b'", "request_id": "' + r.encode() + b'"}'
    ),
    "a version to come": lambda r: (
        b'{"schema_version": 99, "prompt": "a", "request_id": "' + r.encode() + b'"}'
    ),
}


async def poisoned(scene: Scene, size: Size) -> Findings:
    """Messages that can't be taken among those that can; then they are corrected and sent again."""
    from services.commands import dead_letters

    async with trial(scene, f"{len(POISON)} kinds of poison", size, rate=0) as (
        ledger,
        load,
        findings,
    ):
        clean_s = max(100, size.good // 10) / size.rate
        cold = (
            await load.steady(size.rate, clean_s) if size is FULL else []
        )  # the broker's JVM compiles what is hot; that counts for nothing
        clean = await load.steady(size.rate, clean_s)
        await ledger.settled()
        order = [*([""] * size.good), *(list(POISON)[i % len(POISON)] for i in range(size.poison))]
        random.Random(0).shuffle(order)
        begin, good, bad = time.monotonic(), list[str](), dict[str, str]()
        for i, kind in enumerate(order):
            due = begin + i / size.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            request = await load.send(
                value=POISON[kind](f"{load._tag}-{len(cold) + len(clean) + i:06d}")
                if kind
                else None,
                due=due,
            )
            if kind:
                bad[request] = kind
            else:
                good.append(request)
        await ledger.settled()
        letters = {(d.key or b"").decode(): d for d in await dead_letters.letters()}
        dead = {request: letters[request] for request in bad if request in letters}
        before, beside = ledger.latency_s(clean, 0.99), ledger.latency_s(good, 0.99)
        if size is FULL:  # and what is still warming up must not excuse the poison
            warm = await load.steady(size.rate, clean_s)
            await ledger.settled()
            before = min(before, ledger.latency_s(warm, 0.99))
        findings.times = size.poison
        findings.figures |= {
            "dead letters": len(dead),
            "p99 without, ms": round(1000 * before, 1),
            "p99 beside, ms": round(1000 * beside, 1),
        }
        findings.require(
            set(dead) == set(bad), f"{len(bad)} were poison, {len(dead)} are dead letters"
        )
        findings.require(not set(letters) & set(good), "good messages became dead letters")
        reasons = {kind: {dead[r].error for r in dead if bad[r] == kind} for kind in POISON}
        findings.figures["reasons"] = {
            kind: "; ".join(sorted(found)) for kind, found in reasons.items()
        }
        findings.require(all(reasons.values()), "a kind of poison without a reason")
        if size is FULL:  # a test does not time, and few messages make no 99th percentile
            findings.require(
                beside < 2 * before,
                f"good ones' p99 went from {1000 * before:.0f} to {1000 * beside:.0f} ms",
            )
        corrected = {
            dead[r].id: {"prompt": "Name three facts about corrected messages.", "request_id": r}
            for r in dead
        }
        sent = await dead_letters.replay_corrected(corrected)
        back = await ledger.until(lambda: set(bad) <= ledger.first[DECISIONS].keys(), 90)
        findings.figures["corrected and replayed"] = len(sent)
        findings.require(
            back,
            f"{len(set(bad) - ledger.first[DECISIONS].keys())} corrected messages came to nothing",
        )
    decided = [read(Decided, r.value).request_id for r in await read_all(scene.kafka, DECISIONS)]
    once = sum(decided.count(r) == 1 for r in list(bad)[:200])
    findings.require(once == min(200, len(bad)), "a corrected message had more effects than one")
    return findings


async def bad_providers(scene: Scene, size: Size) -> Findings:
    """429, 5xx, silence and streams that end in the middle."""
    deadline_s = 30.0
    async with trial(scene, "failing providers", size, rate=0) as (ledger, load, findings):
        models = scene.models
        tried = models.tries.copy()
        models.too_many, models.broken, models.silent, models.cut = 0.30, 0.10, 0.05, 0.05
        wanted = []
        for _ in range(size.answers):
            wanted.append(
                await load.send({"answer": True, "profile": "quality", "deadline_s": deadline_s})
            )
            await asyncio.sleep(0.1)
        await ledger.settled(deadline_s + 60)
        models.calm()
        took = [
            ledger.first[COMPLETIONS][r] - ledger.due[r]
            for r in wanted
            if r in ledger.first[COMPLETIONS]
        ]
        most = max((models.tries - tried).values(), default=0)
        found = {
            m.request_id: m
            for m in [read(Completed, r.value) for r in await read_all(scene.kafka, COMPLETIONS)]
        }
        answered = sum(1 for r in wanted if r in found and found[r].completion.status == "answered")
        calls = [len(found[r].completion.failed) + 1 for r in wanted if r in found]
        findings.times = size.answers
        findings.figures |= {
            "answered": f"{answered / size.answers:.1%}",
            "most attempts at a call": most,
            "models asked for an answer": _spread([float(n) for n in calls]),
            "slowest, s": round(max(took, default=math.inf), 1),
        }
        # all that may be asked failed by chance alone: 0.5% of many, up to two of a few
        unanswered = max(2, round(0.005 * size.answers))
        enough = answered >= size.answers - unanswered
        findings.require(enough, f"{answered} of {size.answers} answered")
        findings.require(most <= 3, f"a call was made {most} times")
        findings.require(
            max(took, default=math.inf) <= deadline_s + 2,
            f"an answer took {max(took, default=math.inf):.0f} s",
        )
    return findings


async def _published(scene: Scene, table: RoutingTable, note: str) -> TablePublished:
    """As a person does it whom the error tells to publish again: the re-clusterer may have
    published at the same moment."""
    for _ in range(4):
        with suppress(PublishConflict):
            return await publish(scene.kafka, scene.redis, table, note, pinned=True)
    return await publish(scene.kafka, scene.redis, table, note, pinned=True)


async def tables_swapped(scene: Scene, size: Size) -> Findings:
    """Another table and the first again, over and over, under load."""
    first = await find(scene.kafka, "current")
    other = await make_table(TableSource(simulated=True, k="10", seed=7))
    async with trial(scene, "tables swapped and rolled back", size) as (ledger, _, findings):
        findings.times = size.swaps
        await _flowing(ledger, "selector")
        known = await _clusters(
            scene
        )  # what is learnt before the first is pinned is dropped from the topic after fifty more
        for _ in range(size.swaps):
            for table, note in (
                (other, "another"),
                (first.read_table(), f"rolled back to {first.ref}"),
            ):
                version = await _published(scene, table, note)
                if version.ref.sequence < 20:
                    known |= await _clusters(scene)
                await asyncio.sleep(0.3)
    known |= await _clusters(scene)
    mixed, named = 0, set()
    for record in await read_all(scene.kafka, DECISIONS):
        message = read(Decided, record.value)
        if message.request_id in ledger.due:
            digest = message.decision.table.digest
            named.add(digest)
            placed = {c.id for c in message.assignment.clusters}
            mixed += message.assignment.table != message.decision.table or not placed <= known.get(
                digest, set()
            )
    findings.figures |= {"tables named": len(named), "decisions that mix two": mixed}
    findings.require(mixed == 0, f"{mixed} decisions mix two tables")
    findings.require({first.digest, other.digest} <= named, "a table was never used")
    return findings


async def _clusters(scene: Scene) -> dict[str, set[str]]:
    """The clusters of each table that the topic still has, by digest."""
    return {v.digest: {c.id for c in v.read_table().clusters} for v in await versions(scene.kafka)}


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.1f}, at most {ordered[-1]:.1f}"


Fault = Callable[[Scene, Size], Awaitable[Findings]]


def _of(fault: Callable[[Scene, Size, str], Awaitable[Findings]], what: str) -> Fault:
    async def run(scene: Scene, size: Size) -> Findings:
        return await fault(scene, size, what)

    return run


SERVICES = workers()
FAULTS: dict[str, Fault] = (
    {f"kill-{service}": _of(killed, service) for service in SERVICES}
    | {f"stop-{service}": _of(stopped, service) for service in SERVICES}
    | {f"broker-{how}": _of(broker_away, how) for how in ("stopped", "killed")}
    | {f"redis-{how}": _of(redis_away, how) for how in ("wiped", "stopped", "replaced")}
    | {
        "rebalance": rebalanced,
        "poison": poisoned,
        "providers": bad_providers,
        "tables": tables_swapped,
    }
)
