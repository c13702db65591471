"""Matching clusters between tables, new tasks, expectations, and which comparison is worth
making."""

import numpy as np
import pytest
from support import table

from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import Limits, select
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.clustering import (
    CLUSTERINGS,
    ClusteringOptions,
    evolve,
    kmeans,
    lloyd,
)
from shared.routing.learning.expectations import expectations
from shared.routing.learning.matching import lineage, pair
from shared.routing.learning.sampling import pairs


def tasks(
    count: int, each: int, seed: int = 0, dim: int = 32, noise: float = 0.06
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around `count` directions, and which is which."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.repeat(np.arange(count), each)
    vectors = centres[labels] + rng.normal(size=(len(labels), dim)) * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_a_new_task_gets_a_cluster_and_the_others_stay() -> None:
    vectors, labels = tasks(9, 100)
    known = vectors[labels < 8]
    old = kmeans(known, 8, 0)
    found = evolve(vectors, old.centroids, old.radii, min_size=20, most=100)
    assert len(found.centroids) == 9
    assert pair(old.centroids, found.centroids, 0.6) == [0, 1, 2, 3, 4, 5, 6, 7, -1]
    assert len(set(found.labels[labels == 8])) == 1
    kept = pair(old.centroids, found.centroids, 0.6)
    old_labels = np.argmin(np.linalg.norm(vectors[:, None] - old.centroids, axis=2), axis=1)
    line = lineage([f"c{i:02d}" for i in range(8)], ["c11"], kept, old_labels, found.labels)
    assert line.ids == (*(f"c{i:02d}" for i in range(8)), "c12")
    assert len(line.events) == 1
    assert line.events[0].startswith("c12 ")


def test_clusters_that_merge_retire_and_split_are_named() -> None:
    old = np.repeat([0, 1, 2], 10)
    new = np.array([0] * 20 + [1] * 5 + [2] * 5)
    line = lineage(["c00", "c01", "c02"], [], [0, 2, -1], old, new)
    assert line.ids == ("c00", "c02", "c03")
    assert line.events == ("c03 split from c02", "c01 merged into c00")
    gone = lineage(["c00", "c01"], [], [0], np.zeros(10, int), np.zeros(10, int))
    assert gone.events == ("c01 retired",)


def test_a_cluster_that_nobody_asked_for_lately_stays_until_there_is_proof() -> None:
    vectors, labels = tasks(4, 30)
    old = kmeans(vectors, 4, 0)
    few = evolve(vectors[labels != 2], old.centroids, old.radii, min_size=20, most=100)
    assert len(few.centroids) == 4
    many = np.tile(vectors[labels != 2], (3, 1))
    assert len(evolve(many, old.centroids, old.radii, min_size=20, most=100).centroids) == 3


def test_steps_from_the_true_centres_agree_with_scikit_learn() -> None:
    vectors, _ = tasks(5, 40, noise=0.15)
    theirs = kmeans(vectors, 5, 0)
    ours, labels = lloyd(vectors, theirs.centroids)
    np.testing.assert_allclose(ours, theirs.centroids, atol=1e-3)
    assert (labels == theirs.labels).mean() > 0.99


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_every_clustering_finds_the_tasks(method: str) -> None:
    vectors, labels = tasks(6, 60, noise=0.04)
    wanted = ClusteringOptions(clusters=6, seed=0, min_size=15, reach=0.5)
    found = CLUSTERINGS[method](vectors, wanted)
    assert len(found.centroids) == 6
    assert all(len(set(found.labels[labels == c])) == 1 for c in range(6))


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("method", CLUSTERINGS)
def test_every_clustering_takes_few_vectors(method: str, count: int) -> None:
    """Fewer than `min_size` too, all unlike each other: each gets a cluster, and nothing is
    raised."""
    found = CLUSTERINGS[method](
        np.eye(count, 16, dtype=np.float32), ClusteringOptions(3, 0, 15, 0.1)
    )
    assert len(found.labels) == count
    assert set(found.labels) == set(range(len(found.centroids)))
    assert len(found.radii) == len(found.centroids)


@pytest.mark.parametrize("method", ["dbscan", "hdbscan"])
def test_where_nothing_is_dense_a_clustering_by_density_finds_one_cluster(method: str) -> None:
    options = ClusteringOptions(clusters=3, seed=0, min_size=4, reach=0.1)
    assert len(CLUSTERINGS[method](np.eye(5, dtype=np.float32), options).centroids) == 1


def test_expectations_begin_with_the_catalogue_and_end_with_what_was_seen() -> None:
    none = np.zeros(0, np.intp)
    assert expectations(none, none, np.zeros(0), np.array([1.0, 2.0]), 2).tolist() == [
        [1, 2],
        [1, 2],
    ]
    cluster, model = np.repeat([0, 1], 500), np.zeros(1000, np.intp)
    values = np.where(cluster == 0, 10.0, 30.0)
    found = expectations(cluster, model, values, np.array([1.0, 2.0]), 3)
    assert found[0, 0] == pytest.approx(10, rel=0.02)
    assert found[1, 0] == pytest.approx(30, rel=0.02)
    assert found[2, 0] == pytest.approx(20, rel=0.02), (
        "a cluster without answers takes the mean of all"
    )
    assert (found[:, 1] == 2.0).all()
    stalled = np.append(np.full(99, 1.0), 10_000.0)
    assert expectations(
        np.zeros(100, int), np.zeros(100, int), stalled, np.array([1.0]), 1, median=True
    )[0, 0] == pytest.approx(1.0)


def nearest(of: RoutingTable) -> Assignment:
    return Assignment(np.array([0]), np.ones(1, np.float32), np.zeros(1, np.float32), novel=False)


def test_what_is_open_is_worth_more_than_what_is_known_and_what_is_cheap_more_than_what_is_expensive() -> (
    None
):
    models = ("a", "b", "c", "d")
    open_race = table(
        1,
        models,
        strength=np.array([[0.0, 0.1, -4.0, -4.0]]),
        standard_error=np.array([[0.5, 0.5, 0.5, 0.5]]),
    )
    found = pairs(open_race, nearest(open_race), "a", models, dict.fromkeys(models, 1e-3))
    assert (found[0].first, found[0].second) == ("a", "b")
    newcomer = table(
        1, models, strength=np.zeros((1, 4)), standard_error=np.array([[0.2, 0.2, 0.2, 2.0]])
    )
    assert (
        pairs(newcomer, nearest(newcomer), "a", models, dict.fromkeys(models, 1e-3))[0].second
        == "d"
    )
    expensive = pairs(
        newcomer, nearest(newcomer), "a", models, {"a": 1e-3, "b": 1e-3, "c": 1e-3, "d": 1.0}
    )
    worth = {p.second: p.worth for p in expensive if p.first == "a"}
    assert (
        worth["d"]
        < pairs(newcomer, nearest(newcomer), "a", models, dict.fromkeys(models, 1e-3))[0].worth
    )


def test_a_model_nobody_knows_wins_nowhere_until_it_is_proven() -> None:
    from dataclasses import replace

    models = ("old", "new")
    plain = table(1, models, strength=np.array([[0.0, 1.0]]), standard_error=np.array([[0.3, 2.0]]))
    careful = replace(plain, unproven_error=1.5)
    quality = PROFILES["quality"]
    assert select(plain, nearest(plain), quality, Limits(), {}).candidates[0].model == "new"
    chosen = select(careful, nearest(careful), quality, Limits(), {})
    assert [(c.model, c.unproven) for c in chosen.candidates] == [("old", False), ("new", True)]
    assert chosen.why.endswith("too little is known yet to let new win")
    assert (
        select(careful, nearest(careful), quality, Limits(deny=frozenset({"old"})), {})
        .candidates[0]
        .model
        == "new"
    )
    cheap = replace(
        careful,
        cost_usd=np.array([[0.01, 0.0001]], np.float32),
        latency_s=np.ones((1, 2), np.float32),
    )
    for name, first in (
        ("quality", "old"),
        ("economy", "new"),
    ):  # where cost is what matters it need not be good
        best = select(cheap, nearest(cheap), PROFILES[name], Limits(), {}).candidates[0]
        assert (best.model, best.unproven) == (first, first == "new"), name
    assert RoutingTable.from_bytes(careful.to_bytes()) == careful
    assert careful.digest != plain.digest
    assert b"unproven" not in plain.to_bytes()
