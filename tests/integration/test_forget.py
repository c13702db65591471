"""`pointsman forget`: what is known of a sender goes, what is known of others stays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import Pipeline, eventually, running_pipeline
from test_commands import pointsman

from services.flows import workers
from services.reclusterer.settings import ReclustererSettings
from services.reclusterer.wiring import Learner
from shared.adapters.kafka.client import read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.kafka.writing import Leadership
from shared.adapters.redis.answers import RedisAnswers
from shared.adapters.redis.client import RedisSettings
from shared.contracts.answers import Conflict
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import read
from shared.contracts.topics import EVALUATIONS, TOPICS

CANARY = "zebrafinch"
"""A word of the prompts that are to be forgotten, and of no other."""


@pytest.fixture(scope="module")
async def desk(installation: dict[str, str]) -> AsyncIterator[Pipeline]:
    async with running_pipeline(
        workers(),
        POINTSMAN_JUDGE_RATE="1",
        POINTSMAN_JUDGE_PAIRS="1",
        POINTSMAN_RECLUSTERER_EVERY_S="2",
    ) as made:
        yield made


async def evaluations() -> dict[str, tuple[str, int]]:
    """Request and time of each, by evaluation id."""
    found = {}
    for record in await read_all(KafkaSettings(), EVALUATIONS):
        if record.value is not None:
            evaluation = read(Evaluated, record.value)
            found[evaluation.evaluation_id] = evaluation.request_id, record.timestamp
    return found


async def learnt() -> Learner:
    """What a re-clusterer knows that starts now."""
    learner = Learner(
        ReclustererSettings(), KafkaSettings(), RedisSettings(), Leadership("reclusterer")
    )
    for topic in (EVALUATIONS, TOPICS["embeddings"], TOPICS["completions"]):
        for record in await read_all(KafkaSettings(), topic):
            learner.learn(topic, record)
    return learner


async def _known(answers: RedisAnswers, request_id: str, model: str) -> bool:
    """Whether anything is remembered under the request's id, whatever was asked."""
    try:
        return await answers.get(request_id, model, "another question") is not None
    except Conflict:
        return True


async def test_what_is_known_of_a_sender_goes_and_of_others_stays(desk: Pipeline) -> None:
    theirs = {
        await desk.send(
            {
                "prompt": f"Translate note {i} on the {CANARY} into French",
                "metadata": {"team": "blue"},
                "answer": True,
            }
        )
        for i in range(4)
    }
    others = {
        await desk.send(
            {"prompt": f"Fix bug {i} in this loop", "metadata": {"team": "red"}, "answer": True}
        )
        for i in range(4)
    }
    await desk.collect(theirs | others)

    async def all_judged() -> bool:
        return theirs | others <= {request for request, _ in (await evaluations()).values()}

    await eventually(all_judged, 60)
    before = await evaluations()
    answers = RedisAnswers(RedisSettings())
    candidates = [
        json.loads(r.value)["completion"]["answers"][0]["model"]
        for r in await read_all(desk.kafka, TOPICS["completions"])
    ]
    asked = {(request, model) for request in theirs | others for model in set(candidates)}
    remembered = {pair for pair in asked if await _known(answers, *pair)}
    assert {request for request, _ in remembered} == theirs | others

    shown = json.loads(await pointsman("forget", "--metadata", "team=blue", "--json"))
    assert (shown["requests"], shown["done"]) == (4, False)
    assert shown["topics"]["prompts"]["records"] == 4
    assert await evaluations() == before

    done: dict[str, Any] = {}

    async def forgotten() -> bool:
        nonlocal done
        done = json.loads(await pointsman("forget", "--metadata", "team=blue", "--yes", "--json"))
        return bool(done["done"])

    await eventually(forgotten, 60)
    assert done["topics"]["evaluations"]["left"] == 0
    assert done["topics"]["evaluations"]["deleted"] >= 4
    assert done["redis"] >= 4
    assert await evaluations() == {
        key: value for key, value in before.items() if value[0] in others
    }, "others' votes keep their times"
    assert {pair for pair in asked if await _known(answers, *pair)} == {
        pair for pair in remembered if pair[0] in others
    }
    await answers.close()
    memory = (await learnt()).memory
    assert memory.forgotten == theirs
    assert not theirs & (
        memory.samples.keys()
        | {o.request_id for o in memory.opinions.values()}
        | {k.split("\0")[0] for k in memory.seen}
    )
    assert others <= memory.samples.keys() | memory.vectors.keys()

    report = json.loads(await pointsman("forget", *theirs, "--yes", "--now", "--json"))
    assert all(
        t.get("deleted") or n in {"evaluations", "spending"} for n, t in report["topics"].items()
    )
    for topic in TOPICS.values():
        if topic.name not in {"spending", "routing-tables"}:
            for record in await read_all(desk.kafka, topic):
                message = json.loads(record.value or b"{}")
                assert message.get("request_id") not in theirs, topic.name
                assert (
                    CANARY not in f"{message.get('prompt')} {message.get('description')} "
                    f"{message.get('completion')}"
                ), topic.name
    tables = {
        str(v.ref)
        for v in await versions(desk.kafka)
        if any(CANARY in c.label for c in v.read_table().clusters)
    }
    assert set(shown["labels"]) <= tables, (
        "only tables that name a task by a description of theirs are said to do so"
    )


async def test_what_is_asked_for_gets_a_clear_message(desk: Pipeline) -> None:
    assert "say what to forget" in await pointsman("forget", code=1)
    assert "KEY=VALUE" in await pointsman("forget", "--metadata", "blue", code=1)
    assert "nothing was changed" in await pointsman("forget", "nobody-knows-me")
