"""A description is foreseen where the language model's would make no difference; it is SIMULATED
here."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import AsyncIterator

import pytest
from conftest import Pipeline, eventually, running_pipeline
from published import build_and_publish

from services.workbench.building import TableSource as TableSource
from shared.adapters.kafka.tables import versions
from shared.catalog import tasks
from shared.contracts.messages import Decided
from shared.contracts.places import Source


@pytest.fixture(scope="module")
async def foreseeing(installation: dict[str, str]) -> AsyncIterator[Pipeline]:
    """The hot path with a language model for a describer, which foresees after 200 prompts."""
    settings = {
        "POINTSMAN_DESCRIBER_BACKEND": "llm",
        "POINTSMAN_DESCRIBER_FORESEE_FROM": "200",
        "POINTSMAN_DESCRIBER_FORESEE_TARGET": "0.6",
    }
    async with running_pipeline(
        **settings, POINTSMAN_DESCRIBER_FORESEE_CHECK="0", POINTSMAN_LOG_LEVEL="INFO"
    ) as made:
        await build_and_publish(TableSource(simulated=True, k="5", text="description"), "first")
        yield made


async def decisions(pipeline: Pipeline, prompts: list[str]) -> list[Decided]:
    ids = {
        await pipeline.send({"prompt": prompt}, f"f-{uuid.uuid4().hex[:10]}") for prompt in prompts
    }
    found = await pipeline.collect(ids)
    return [outcome.decided for outcome in found.values() if outcome.decided is not None]


def learnt(pipeline: Pipeline) -> int:
    return sum("foresight learnt" in text for _, _, text in pipeline.log)


async def test_what_is_known_is_foreseen_and_what_was_foreseen_survives_a_restart(
    foreseeing: Pipeline,
) -> None:
    known = [prompt for task in tasks.methodology() for prompt in task.train]
    new = [f"{prompt} Thank you." for prompt in known[::2]]
    first = await decisions(foreseeing, known)
    assert {m.description.source for m in first} == {Source.llm}, "nothing is foreseen from nothing"
    await eventually(lambda: learnt(foreseeing) >= 1, 30)

    found = await decisions(foreseeing, new)
    foreseen = [m for m in found if m.description.origin == "foreseen"]
    assert len(found) == len(new)
    assert foreseen, (
        f"of {len(found)} prompts none was foreseen: "
        f"{[t for _, _, t in foreseeing.log if 'foresight' in t]}"
    )
    labels = {
        cluster.label
        for version in await versions(foreseeing.kafka)
        for cluster in version.read_table().clusters
    }
    for message in foreseen:
        assert message.description.foreseen is not None
        assert message.embedding.vector == message.description.foreseen.vector, (
            "its point goes on as it was foreseen"
        )
        assert message.description.text in labels, (
            "its words are a cluster's label, nobody's prompt or description"
        )
        assert message.description.simulated
        assert message.description.cost_usd == 0

    again = await decisions(foreseeing, [m.prompt or "" for m in foreseen][1:11])
    assert {m.description.origin for m in again} == {"foreseen"}, (
        "what is foreseen is not mistaken for what was written"
    )

    before = learnt(foreseeing)
    os.kill(foreseeing.running.pids["describer"], signal.SIGKILL)
    await eventually(lambda: learnt(foreseeing) > before, 40)
    (one,) = await decisions(
        foreseeing, [foreseen[0].prompt or ""]
    )  # committed long ago, so not asked about again while nothing was learnt
    assert one.description.origin == "foreseen", (
        "the topic remembers what the describer has forgotten"
    )
