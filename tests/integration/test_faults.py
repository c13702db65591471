"""Services drain, share and wait; old and foreign tables change nothing. What is killed and cut off
stands in tests/chaos."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
import servers
from conftest import Pipeline, eventually, running_pipeline
from published import build_and_publish
from redis.asyncio import Redis

from services.workbench.building import TableSource, make_table
from shared.adapters.errors import PublishConflict
from shared.adapters.kafka.client import read_all
from shared.adapters.kafka.tables import append, find, versions
from shared.adapters.redis.tables import HotTables
from shared.contracts.messages import Decided, read
from shared.contracts.tables import Origin
from shared.contracts.topics import DEAD_LETTERS, DECISIONS

PROMPT = "Translate a short notice into French, please: closed on Monday, number {}."


async def flow(pipeline: Pipeline, count: int, rate: float, tag: str) -> set[str]:
    """Publish this many prompts at a steady rate."""
    wanted = set()
    for i in range(count):
        wanted.add(await pipeline.send({"prompt": PROMPT.format(i)}, f"{tag}-{i:04d}"))
        await asyncio.sleep(1 / rate)
    return wanted


async def test_sigterm_drains_and_commits_so_that_nothing_is_done_twice(pipeline: Pipeline) -> None:
    repeated = pipeline.traffic.repeated
    sending = asyncio.create_task(flow(pipeline, 120, 60, "term"))
    await asyncio.sleep(0.8)
    os.kill(pipeline.running.pids["selector"], signal.SIGTERM)
    outcomes = await pipeline.collect(await sending)
    assert len(outcomes) == 120
    assert pipeline.logged("drained (unfinished: 0)")
    await asyncio.sleep(1)
    assert pipeline.traffic.repeated == repeated


async def test_a_second_embedder_shares_the_work_and_leaving_loses_nothing(
    pipeline: Pipeline,
) -> None:
    sending = asyncio.create_task(flow(pipeline, 400, 40, "share"))
    async with running_pipeline(("embedder",)) as other:
        await asyncio.sleep(3)
    outcomes = await pipeline.collect(await sending)
    assert len(outcomes) == 400
    assert all(o.decided is not None for o in outcomes.values())
    assert other.logged("taking records (partitions: 2)")


async def test_an_older_version_never_replaces_a_newer_one(pipeline: Pipeline) -> None:
    await build_and_publish(TableSource(simulated=True, k="10", seed=7), "another")
    known = await versions(pipeline.kafka)
    hot = HotTables(pipeline.redis)
    try:
        await hot.put(known[-1])
        assert not await hot.put(known[0])
        assert (await hot.current_version() or ())[:2] == known[-1].ref.version
        stale = known[0].model_copy(update={"note": "written by one who had lost the right to"})
        await pipeline.traffic.out.send_and_wait(
            pipeline.kafka.topic_prefix + "routing-tables",
            stale.model_dump_json().encode(),
            key=stale.key,
        )
        assert [v.ref for v in await versions(pipeline.kafka)] == [v.ref for v in known]
        assert (await find(pipeline.kafka, str(known[0].ref))).note == known[0].note
    finally:
        await hot.close()


async def test_rubbish_on_the_table_topic_is_passed_over(pipeline: Pipeline) -> None:
    before = await versions(pipeline.kafka)
    await pipeline.traffic.out.send_and_wait(
        pipeline.kafka.topic_prefix + "routing-tables", b"rubbish", key=b"x"
    )
    assert [v.ref for v in await versions(pipeline.kafka)] == [v.ref for v in before]
    assert (await pipeline.one({"prompt": "Name a fish."})).decided is not None


async def test_the_hot_path_goes_on_and_starts_without_redis(
    installation: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis of its own that is stopped while prompts pass, and services that start without
    it."""
    monkeypatch.setenv(
        "POINTSMAN_KAFKA_TOPIC_PREFIX", installation["POINTSMAN_KAFKA_TOPIC_PREFIX"] + "noredis."
    )
    monkeypatch.setenv("POINTSMAN_DESCRIBER_BACKEND", "llm")  # its cache is in Redis
    port = servers.free_port()
    monkeypatch.setenv("POINTSMAN_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    async with running_pipeline() as pipeline:
        await build_and_publish(TableSource(simulated=True, k="10"), "no redis yet")
        assert (await pipeline.one({"prompt": PROMPT.format("a")})).decided is not None, (
            "started without Redis"
        )
        with servers.native_redis(port):
            redis: Redis = Redis.from_url(f"redis://127.0.0.1:{port}/0")
            try:
                await eventually(lambda: redis.keys("*current"))
            finally:
                await redis.aclose()
            assert (await pipeline.one({"prompt": PROMPT.format("b")})).decided is not None
        outcomes = await pipeline.collect(await flow(pipeline, 20, 20, "gone"))
        assert len(outcomes) == 20, "Redis was stopped meanwhile"
        assert pipeline.logged("no Redis; going on with the table in memory")


async def test_prompts_wait_for_the_first_table(
    installation: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "POINTSMAN_KAFKA_TOPIC_PREFIX", installation["POINTSMAN_KAFKA_TOPIC_PREFIX"] + "empty."
    )
    monkeypatch.setenv(
        "POINTSMAN_REDIS_KEY_PREFIX", installation["POINTSMAN_REDIS_KEY_PREFIX"] + "empty."
    )
    async with running_pipeline() as pipeline:
        wanted = await flow(pipeline, 5, 50, "early")
        await eventually(lambda: pipeline.logged("waiting for the first routing table"))
        table = await make_table(TableSource(simulated=True, k="10"))
        newest = await versions(pipeline.kafka)
        after = newest[-1].ref.version if newest else (0, 0)
        late = (after[0], after[1] - 1)
        with pytest.raises(PublishConflict, match="meanwhile"):
            await append(pipeline.kafka, table, "made of an older one", Origin.learnt, after=late)
        await append(pipeline.kafka, table, "at last, and Redis is not told", Origin.brought)
        assert len(await pipeline.collect(wanted)) == 5


async def test_at_the_end_there_is_no_dead_letter_and_no_decision_without_its_table(
    pipeline: Pipeline,
) -> None:
    """The ledger of this whole module: faults made repetitions at most, and no losses."""
    assert await read_all(pipeline.kafka, DEAD_LETTERS) == []
    decisions = [read(Decided, r.value) for r in await read_all(pipeline.kafka, DECISIONS)]
    assert len(decisions) >= 120 + 400
    published = {version.ref for version in await versions(pipeline.kafka)}
    assert {decided.decision.table for decided in decisions} <= published
    assert not pipeline.traffic.waiting
