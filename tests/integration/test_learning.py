"""The learning half on a real Kafka and a real Redis, against simulated models whose truth is
known."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from conftest import Pipeline, eventually, running_pipeline
from redis.asyncio import Redis
from relearning import relearn
from support import THINGS

from services.commands.simulate import application
from services.flows import workers
from services.reclusterer.settings import ReclustererSettings
from shared.adapters.kafka.client import read_all
from shared.adapters.kafka.tables import versions
from shared.adapters.llm.simulated import World
from shared.catalog.models import DEFAULT
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, read
from shared.contracts.topics import COMPLETIONS, EVALUATIONS

POOL = ("claude-2", "gpt-3.5-turbo", "gpt-4", "code-llama-34b", "llama-2-70b-chat")
KNOWN = ("Translate text", "Write code", "Summarise an article", "Solve a maths problem")
NEW = "Convert a recipe"
KINDS = {
    "Translate text": "Translate this sentence about {thing} into {other}",
    "Write code": "Write a Python function that takes a list of {thing} and returns those that "
    "concern {other}",
    "Summarise an article": "Summarise this newspaper article about {thing} and {other} in two "
    "sentences",
    "Solve a maths problem": "How much does each pay if friends share the price of {thing} and "
    "{other}? Show your steps",
    NEW: "Convert this recipe for {thing} with {other} from cups to grams",
}
OTHERS = (
    "Portuguese",
    "Swedish",
    "Turkish",
    "Greek",
    "Japanese",
    "Polish",
    "Hindi",
    "Arabic",
    "Dutch",
    "Finnish",
)
SETTINGS: dict[str, Any] = {
    "profile": "study-2023",
    "every_s": 1.0,
    "clusters": 8,
    "min_size": 12,
    "grown": 3.0,
}


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalogue") / "models.yaml"
    path.write_bytes(DEFAULT.read_bytes())
    return path


@pytest.fixture(scope="module")
async def learning(
    installation: dict[str, str], world: World, catalogue: Path
) -> AsyncIterator[Pipeline]:
    server = uvicorn.Server(uvicorn.Config(application(world), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        await asyncio.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    environment = {
        "POINTSMAN_LLM_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "POINTSMAN_LLM_API_KEY": "simulated",
        "POINTSMAN_JUDGE_RATE": "1",
        "POINTSMAN_JUDGE_PAIRS": "4",
        "POINTSMAN_JUDGE_MODELS": '["simulated-judge-1","simulated-judge-2"]',
        "POINTSMAN_JUDGE_PROFILE": "study-2023",
        "POINTSMAN_JUDGE_BUDGET_USD_PER_DAY": "500",
    } | {
        f"POINTSMAN_{service}_CATALOG": str(catalogue)
        for service in ("SELECTOR", "DISPATCHER", "JUDGE", "RECLUSTERER")
    }
    environment |= {
        f"POINTSMAN_RECLUSTERER_{name.upper()}": str(value) for name, value in SETTINGS.items()
    }
    async with running_pipeline(workers(), **environment) as made:
        yield made
    server.should_exit = True
    thread.join(5)


def prompts(task: str, count: int, start: int = 0) -> list[str]:
    """Prompts of one task, no two alike."""
    pairs = [(thing, other) for thing in THINGS for other in OTHERS]
    return [
        KINDS[task].format(thing=pairs[i % 100][0], other=pairs[i % 100][1])
        + " " * (i // 100)
        + "."
        for i in range(7 * start, 7 * (start + count), 7)
    ]


async def traffic(
    learning: Pipeline, task: str, count: int, tag: str, start: int = 0
) -> dict[str, str]:
    """This many prompts of a task, answered and judged; the model each went to, by request id."""
    wanted = set()
    for i, prompt in enumerate(prompts(task, count, start)):
        wanted.add(
            await learning.send(
                {"prompt": prompt, "answer": True, "profile": "quality"}, f"{tag}-{i:03d}"
            )
        )
        await asyncio.sleep(0.01)
    outcomes = await learning.collect(wanted)
    chosen = {
        r: o.decided.decision.model
        for r, o in outcomes.items()
        if o.decided is not None and o.decided.decision.model
    }
    assert len(chosen) == count

    async def judged() -> bool:
        found = {e.request_id for e in await evaluations(learning)}
        return wanted <= found

    await eventually(judged, 60)
    return chosen


async def evaluations(learning: Pipeline) -> list[Evaluated]:
    return [read(Evaluated, r.value) for r in await read_all(learning.kafka, EVALUATIONS)]


async def settled(learning: Pipeline, count: int | None = None) -> Any:
    """The newest table, once it has been ranked by all evaluations there are."""
    wanted = count or len({e.evaluation_id for e in await evaluations(learning)})

    async def ranked() -> bool:
        known = await versions(learning.kafka)
        return bool(known) and int(known[-1].read_table().provenance.source.split(" ")[0]) >= wanted

    await eventually(ranked, 30)
    return (await versions(learning.kafka))[-1]


async def best_of(learning: Pipeline, world: World, task: str) -> tuple[str, dict[str, float]]:
    skills = {m: world.skill(m, task) for m in POOL}
    return max(skills, key=lambda m: skills[m]), skills


async def test_from_nothing_to_a_ranking_that_sends_prompts_to_the_best(
    learning: Pipeline, world: World
) -> None:
    assert all(world.task_of(prompt) == task for task in KNOWN for prompt in prompts(task, 100))
    for task in KNOWN:
        await traffic(learning, task, 40, f"learn-{task[:5]}")
    version = await settled(learning)
    assert version.epoch >= 1
    assert version.basis
    assert len(version.read_table().clusters) >= 3
    regret = []
    for task in KNOWN:
        _, skills = await best_of(learning, world, task)
        chosen = await traffic(learning, task, 10, f"after-{task[:5]}", 500)
        regret += [max(skills.values()) - skills[m] for m in chosen.values()]
    uninformed = [
        max(s.values()) - sum(s.values()) / len(s)
        for s in [(await best_of(learning, world, t))[1] for t in KNOWN]
    ]
    assert sum(regret) / len(regret) < 0.5 * sum(uninformed) / len(uninformed)


async def test_answers_are_recorded_with_cost_and_time_and_nothing_is_billed_twice(
    learning: Pipeline, world: World
) -> None:
    records = [read(Completed, r.value) for r in await read_all(learning.kafka, COMPLETIONS)]
    assert records
    for message in records:
        for answer in message.completion.answers:
            assert answer.simulated
            assert answer.provider == "simulated"
            assert answer.cost_source == "provider"
            assert answer.cost_usd > 0
            assert answer.latency_s > answer.first_token_s > 0  # type: ignore[operator]
    found = await evaluations(learning)
    assert len({e.evaluation_id for e in found}) == len(found)
    for told in found:
        cast = sum(told.votes.counts()) + told.votes.ties + told.votes.abstentions
        assert cast == 6 or told.votes.abstentions == cast == 2, (
            "where the first two can't be read, the others are not paid for"
        )
        assert sum(told.abstained.reasons().values()) == told.votes.abstentions
    asked = Counter((m.request_id, a.model) for m in records for a in m.completion.answers)
    assert max(asked.values()) == 1


async def test_a_model_that_drops_overnight_loses_its_place(
    learning: Pipeline, world: World
) -> None:
    task = KNOWN[0]
    before = Counter((await traffic(learning, task, 10, "before-drop", 900)).values()).most_common(
        1
    )[0][0]
    world.shifts[f"{before}/{task}"] = -8.0
    seen = len(await evaluations(learning))
    chosen: Counter[str] = Counter()
    for batch in range(15):
        chosen = Counter(
            (await traffic(learning, task, 4, f"drop-{batch}", 1000 + 4 * batch)).values()
        )
        await settled(learning)
        if chosen[before] == 0:
            break
    assert chosen[before] == 0
    spent = [e for e in (await evaluations(learning))[seen:] if before in (e.first, e.second)]
    print(
        f"{before} lost the top place of “{task}” after {len(spent)} comparisons on "
        f"{len({e.request_id for e in spent})} prompts"
    )
    assert len({e.request_id for e in spent}) <= 30, (
        "four comparisons of one prompt share an answer"
    )


async def test_a_new_task_gets_its_own_cluster_and_the_others_keep_their_ids(
    learning: Pipeline, world: World
) -> None:
    old = (await settled(learning)).read_table()

    async def reclustered() -> bool:
        newest = (await versions(learning.kafka))[-1].read_table()
        return sum(c.size for c in newest.clusters if c.id not in old.positions) >= 60

    for round_ in range(
        4
        # clusters that predict the comparisons there are worse are refused, and tried again with
        # more prompts
    ):
        await traffic(learning, NEW, 60, f"new-task-{round_}", 60 * round_)
        with suppress(TimeoutError):
            await eventually(reclustered, 15)
            break
    else:
        raise AssertionError(
            "\n".join(
                f"{v.ref} {len(v.read_table().clusters)} {v.note}"
                for v in await versions(learning.kafka)
            )
        )
    new = (await settled(learning)).read_table()
    assert {c.id for c in old.clusters} <= {c.id for c in new.clusters}
    born = [c for c in new.clusters if c.id not in old.positions]
    assert sum(c.size for c in born) >= 60


async def test_with_redis_wiped_the_same_table_is_made_again_from_the_topics(
    learning: Pipeline,
) -> None:
    redis = Redis.from_url(learning.redis.url.get_secret_value())
    await redis.flushall()
    known = await versions(learning.kafka)
    learnt = [i for i, v in enumerate(known) if v.basis and i > 0]
    place = learnt[-1]
    used = sorted({c.id for v in known[:place] for c in v.read_table().clusters})
    again = await relearn(
        known[place],
        known[place - 1].read_table(),
        used,
        ReclustererSettings(**SETTINGS),
        learning.kafka,
    )
    assert again is not None
    assert again.digest == known[place].digest

    async def back() -> bool:
        return bool([key async for key in redis.scan_iter(match="*tables*current*")])

    await eventually(back, 30)
    await redis.aclose()


async def test_a_retired_model_leaves_the_decisions_at_once_and_the_next_table(
    learning: Pipeline, catalogue: Path
) -> None:
    best = Counter(
        (await traffic(learning, KNOWN[1], 5, "before-retiring", 1500)).values()
    ).most_common(1)[0][0]
    data = yaml.safe_load(DEFAULT.read_text())
    catalogue.write_text(yaml.safe_dump(data | {"retired": [best]}))
    await asyncio.sleep(1.5)
    outcome = await learning.one({"prompt": prompts(KNOWN[1], 1, 1600)[0], "profile": "quality"})
    assert outcome.decided is not None
    decision = outcome.decided.decision
    assert decision.model != best
    assert (best, "retired from the catalogue") in [
        (r.model, r.reason) for r in decision.ruled_out
    ] or best not in {c.model for c in decision.candidates}

    async def gone() -> bool:
        return best not in (await versions(learning.kafka))[-1].read_table().models

    await eventually(gone, 30)
    catalogue.write_bytes(DEFAULT.read_bytes())

    async def back() -> bool:
        return best in (await versions(learning.kafka))[-1].read_table().models

    await eventually(back, 30)
