"""Clusters that begin as the library's tasks."""

from __future__ import annotations

import numpy as np

from services.reclusterer.seeding import gathered, seeded
from services.reclusterer.settings import ReclustererSettings
from shared.catalog import models
from shared.catalog.tasks.points import Points
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.projection import TASK, TASK_SHARE
from shared.routing.deciding.table import Encoder, RoutingTable
from shared.routing.learning.labels import named_by_library

SIZE = TASK + 8


def library(count: int = 4) -> Points:
    names = ("Translate text", "Write a poem", "Fix code", "Plan a trip", "Solve an equation")
    return Points(
        "made@1",
        names[:count],
        ("transform", "write", "code", "plan", "reason")[:count],
        np.eye(count, TASK, dtype=np.float32),
        0.8,
        (-2.0, 5.0, 5.0),
    )


def embedding(*parts: float) -> np.ndarray:
    """Of length 1, with its task part as a prompt's that lies between the first tasks so."""
    vector = np.zeros(SIZE, np.float32)
    vector[: len(parts)] = np.array(parts) / np.linalg.norm(parts) * np.sqrt(TASK_SHARE)
    vector[TASK] = np.sqrt(1 - TASK_SHARE)
    return vector


def test_a_table_of_the_library_names_the_task_before_the_first_prompt() -> None:
    encoder = Encoder("made", "1", SIZE, "mean", "none")
    known = models.load().profile("current")
    table = seeded(encoder, library(), known, ReclustererSettings(), "prompt")
    features = np.stack([embedding(1, 0.1), embedding(0, 0.2, 1)])
    places = assign(table.points(features), table)
    assert [table.clusters[p.clusters[0]].label for p in places] == ["Translate text", "Fix code"]
    assert not any(place.novel for place in places)
    assert len(set(np.unique(table.success[:, 1:]))) == 1, "nothing is known of any model"
    assert RoutingTable.from_bytes(table.to_bytes()) == table


def test_tasks_that_nobody_asks_for_leave_and_small_ones_join_their_neighbours() -> None:
    seeds = library(5).vectors
    rng = np.random.default_rng(0)

    def prompts(task: int, count: int) -> np.ndarray:
        return seeds[task] + rng.normal(0, 0.01, (count, TASK)).astype(np.float32)

    near = (seeds[0] + 0.3 * seeds[1]) / np.linalg.norm(seeds[0] + 0.3 * seeds[1])
    placed = np.vstack([seeds, near[None]])
    vectors = np.vstack([prompts(0, 20), prompts(2, 12), near + 0.001 * prompts(1, 3)])
    clustering = gathered(vectors.astype(np.float32), placed, least=8, reach=0.8)
    assert len(clustering.centroids) == 2
    assert list(np.bincount(clustering.labels)) == [23, 12]
    alone = gathered(vectors.astype(np.float32), placed, least=8, reach=0.1)
    assert len(alone.centroids) == 3, "what has no neighbour within reach stays"


def test_names_are_the_librarys_and_no_two_alike() -> None:
    points = library()
    means = np.stack([embedding(1), embedding(1, 0.9), embedding(0, 0, 0, 0, 1), embedding(1, 0.1)])
    names = named_by_library(means, ["a", "b", "c", "c"], [None] * 4, points)
    assert names == ["Translate text", "Write a poem", "c", "c (2)"]
    assert named_by_library(means, ["x", "x", "y", "x"], [None] * 4, None) == [
        "x", "x (2)", "y", "x (3)",
    ]  # fmt: skip


def test_a_name_stays_while_its_task_is_hardly_further_than_the_nearest() -> None:
    points = library()
    between = np.stack([embedding(1, 1.01)])
    assert named_by_library(between, ["a"], [None], points) == ["Write a poem"]
    assert named_by_library(between, ["a"], ["Translate text"], points) == ["Translate text"]
    gone = np.stack([embedding(0.2, 1)])
    assert named_by_library(gone, ["a"], ["Translate text"], points) == ["Write a poem"]
