"""A table from votes has planted preferences, the reference at one half, and no more certainty than
votes."""

from __future__ import annotations

import numpy as np
import pytest

from shared.routing.deciding.form import SIZE
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import routes
from shared.routing.deciding.table import Encoder, RoutingTable
from shared.routing.errors import OutcomesInvalid
from shared.routing.offline.votes_table import PairVotes, build_from_votes

DIM = 6
SPACE = Encoder("e", "1", DIM, "mean", "none")


def planted(count: int = 2000, seed: int = 0) -> tuple[PairVotes, np.ndarray, np.ndarray]:
    """Two tasks; on the first model b wins, on the second model c; a is the reference in
    between."""
    rng = np.random.default_rng(seed)
    task = rng.integers(0, 2, 300)
    vectors = np.eye(DIM)[task] + rng.normal(0, 0.05, (300, DIM))
    strength = np.array([[0.0, 1.5, -1.5], [0.0, -1.5, 1.5]])
    prompt, first = rng.integers(0, 300, count), rng.integers(0, 3, count)
    second = (first + rng.integers(1, 3, count)) % 3
    lead = strength[task[prompt], first] - strength[task[prompt], second]
    better = (rng.random(count) < 1 / (1 + np.exp(-lead))).astype(float)
    texts = tuple(f"task {t} prompt {i}" for i, t in enumerate(task))
    votes = PairVotes(
        texts,
        ("a", "b", "c"),
        prompt,
        first,
        second,
        better,
        np.full(300, 50.0),
        np.zeros(3),
        np.array([1e-3, 2e-3, 3e-3]),
    )
    return votes, np.hstack([vectors, np.zeros((300, SIZE))]).astype(np.float32), task


def test_planted_preferences_are_found_and_the_reference_has_one_half() -> None:
    votes, features, task = planted()
    table = build_from_votes(
        votes, features, SPACE, text="prompt", k=2, seed=0, source="votes", reference="a"
    )
    assert table.reference_success == pytest.approx(0.5)
    by_task = {
        cluster.label.split()[1]: table.success[i] for i, cluster in enumerate(table.clusters)
    }
    np.testing.assert_allclose(by_task["0"], 1 / (1 + np.exp([0.0, -1.5, 1.5])), atol=0.08)
    np.testing.assert_allclose(by_task["1"], 1 / (1 + np.exp([0.0, 1.5, -1.5])), atol=0.08)
    chosen = routes(table, features, [PROFILES["quality"]])[:, 0]
    assert (chosen == np.where(task == 0, 1, 2)).mean() > 0.97
    assert table.frontier is not None
    assert not table.frontier.measured
    assert RoutingTable.from_bytes(table.to_bytes()) == table
    few = build_from_votes(
        planted(200)[0], features, SPACE, text="prompt", k=2, seed=0, source="votes", reference="a"
    )
    assert few.standard_error.mean() > table.standard_error.mean()


def test_without_a_reference_it_is_the_model_of_the_most_votes() -> None:
    votes, features, _ = planted(400)
    counts = np.bincount(np.concatenate([votes.first, votes.second]))
    table = build_from_votes(votes, features, SPACE, text="prompt", k=None, seed=0, source="votes")
    assert table.reference_model == votes.models[int(counts.argmax())]
    with pytest.raises(
        OutcomesInvalid, match="the reference model z is not among the models: a, b, c"
    ):
        build_from_votes(
            votes, features, SPACE, text="prompt", k=2, seed=0, source="votes", reference="z"
        )


def test_votes_that_compare_nobody_are_refused() -> None:
    none = np.zeros(0, np.intp)
    with pytest.raises(OutcomesInvalid, match="at least two models"):
        PairVotes(
            (), ("a", "b"), none, none, none, np.zeros(0), np.zeros(0), np.zeros(2), np.zeros(2)
        )
