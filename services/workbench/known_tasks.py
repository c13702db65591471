"""What a table makes of prompts whose task is known: whether they lie with their own, and what it
gains by the SIMULATED truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shared.adapters.llm.simulated import World
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.selection import expectations
from shared.routing.deciding.table import Array, Encoder, RoutingTable


@dataclass(frozen=True, slots=True)
class TaskPrompt:
    """A prompt with the name of its task and its features."""

    prompt: str
    task: str
    features: Array
    encoder: Encoder


@dataclass(frozen=True, slots=True)
class Grasp:
    """`together` of `prompts` lie in a cluster that mostly held their own task before.

    The others are chances to win against the reference model, by the SIMULATED truth. `single`: of
    the one best model; `reached`: of the models that the table chooses; `oracle`: of the best ones.
    """

    prompts: int
    together: int
    single: float
    reached: float
    oracle: float

    def facts(self) -> dict[str, Any]:
        """As `--json` says it."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def grasp(
    table: RoutingTable, learnt: Sequence[TaskPrompt], kept: Sequence[TaskPrompt]
) -> Grasp | None:
    """How well the table knows the tasks of `kept`, after those of `learnt`, all of its space; None
    without either."""
    if not learnt or not kept:
        return None
    before = table.points_of([one.features for one in learnt])
    points = table.points_of([one.features for one in kept])
    held: dict[int, Counter[str]] = {}
    for one, place in zip(learnt, assign(before, table), strict=True):
        held.setdefault(int(place.clusters[0]), Counter())[one.task] += 1
    mostly = {cluster: tasks.most_common(1)[0][0] for cluster, tasks in held.items()}
    together = sum(
        mostly.get(int(place.clusters[0])) == one.task
        for one, place in zip(kept, assign(points, table), strict=True)
    )
    features = np.stack([one.features[: table.inputs] for one in kept])
    best = expectations(table, features).success.argmax(axis=1)
    world = World()
    skill = np.array([[world.skill(m, one.task) for m in table.models] for one in kept])
    reference = skill[:, [table.models.index(table.reference_model)]]
    wins = 1.0 / (1.0 + np.exp(reference - skill))
    rows = np.arange(len(kept))
    return Grasp(
        len(kept),
        together,
        float(wins.mean(axis=0).max()),
        float(wins[rows, best].mean()),
        float(wins.max(axis=1).mean()),
    )
