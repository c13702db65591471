"""A first table finds planted tasks and planted rankings, and is honest about little evidence."""

import numpy as np
import pytest
from support import ENCODER

from shared.routing.clustering import kmeans
from shared.routing.committee import success_rates
from shared.routing.errors import OutcomesInvalid
from shared.routing.outcomes import SHRINKAGE, Outcomes, build_table, choose, label, routed_score
from shared.routing.simulation import simulated_scores, simulated_skills

NONE = np.zeros(2)


def planted(tasks: int = 4, each: int = 40, seed: int = 0) -> tuple[Outcomes, np.ndarray]:
    """Tasks far apart; in even ones model 0 is right 9 times in 10, in odd ones model 1."""
    rng = np.random.default_rng(seed)
    centres = np.eye(4)[np.arange(tasks) % 4]
    vectors = np.repeat(centres, each, axis=0) + rng.normal(0, 0.05, (tasks * each, 4))
    chance = np.where((np.arange(tasks) % 2 == 0)[:, None], [[0.9, 0.3]], [[0.3, 0.9]])
    scores = (rng.random((tasks * each, 2)) < np.repeat(chance, each, axis=0)).astype(float)
    texts = tuple(f"task {i // each} prompt {i}" for i in range(tasks * each))
    return Outcomes(texts, ("even", "odd"), scores, NONE, NONE), vectors.astype(np.float32)


def test_planted_tasks_and_rankings_are_found() -> None:
    outcomes, vectors = planted()
    tab = build_table(outcomes, vectors, ENCODER, k=4, source="planted", simulated=True)
    assert sorted(c.size for c in tab.clusters) == [40, 40, 40, 40]
    for cluster, strength in zip(tab.clusters, tab.strength, strict=True):
        task = int(cluster.label.split()[1])
        assert tab.models[int(strength.argmax())] == ("even" if task % 2 == 0 else "odd")
    assert (tab.strength[:, tab.models.index(tab.reference_model)] == 0).all()
    assert routed_score(tab, vectors, outcomes.scores) > 0.85 > outcomes.scores.mean(axis=0).max()


def test_the_same_data_and_seed_give_the_same_table() -> None:
    outcomes, vectors = planted()
    one, other = (build_table(outcomes, vectors, ENCODER, k=4, seed=3, source="s", simulated=True) for _ in range(2))
    assert one.digest == other.digest


def test_success_rates_shrink_toward_the_mean_over_all_clusters_as_the_formula_says() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, np.nan]])
    rates, counts = success_rates(scores, np.array([0, 0, 1]), 2, SHRINKAGE)
    assert counts.tolist() == [[2, 2], [1, 0]]
    assert rates[0, 0] == pytest.approx((2 + SHRINKAGE * 2 / 3) / (2 + SHRINKAGE))
    assert rates[1, 0] == pytest.approx((0 + SHRINKAGE * 2 / 3) / (1 + SHRINKAGE))
    assert 0 < rates[1, 1] < 0.05  # nothing known there: the overall rate of 0, kept off 0


def test_few_prompts_leave_a_wide_interval() -> None:
    few, many = (build_table(*planted(each=n), ENCODER, k=4, source="s", simulated=True) for n in (5, 200))
    assert few.standard_error.mean() > 2 * many.standard_error.mean()


def test_k_is_chosen_by_what_routes_best_on_prompts_left_out() -> None:
    outcomes, vectors = planted(each=60)
    assert choose(outcomes, vectors, ENCODER, candidates=(1, 4)).k == 4


def test_clusters_never_outnumber_distinct_vectors() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], 5, axis=0)
    found = kmeans(vectors, 10, 0)
    assert len(found.centroids) == 2
    assert (found.radii >= 0).all()


def test_costs_of_a_cluster_shrink_to_the_average_and_missing_ones_take_it() -> None:
    outcomes, vectors = planted(each=10)
    cost = np.full(outcomes.scores.shape, 0.01)
    cost[:10, 0], cost[10:20, 1] = 0.03, np.nan
    tab = build_table(
        Outcomes(outcomes.texts, outcomes.models, outcomes.scores, cost, NONE), vectors, ENCODER, k=4, source="s", simulated=True
    )
    first = tab.cost_usd[[c.label.startswith("task 0") for c in tab.clusters].index(True)]
    assert 0.015 < first[0] < 0.03
    assert np.isfinite(tab.cost_usd).all()


def test_what_can_not_be_used_is_refused_with_words() -> None:
    with pytest.raises(OutcomesInvalid, match="at least one prompt and two models"):
        Outcomes(("a",), ("m",), np.ones((1, 1)), NONE[:1], NONE[:1])
    with pytest.raises(OutcomesInvalid, match="no prompt has a score for n"):
        Outcomes(("a",), ("m", "n"), np.array([[1.0, np.nan]]), NONE, NONE)
    outcomes, vectors = planted()
    with pytest.raises(OutcomesInvalid, match="reference model nobody"):
        build_table(outcomes, vectors, ENCODER, k=2, source="s", simulated=True, reference="nobody")


def test_simulated_outcomes_repeat_and_follow_their_skills() -> None:
    skills = simulated_skills(3, [0.0, 1.0], seed=5)
    assert (skills == simulated_skills(3, [0.0, 1.0], seed=5)).all()
    scores = simulated_scores(skills, 4000, seed=5)
    np.testing.assert_allclose(scores.reshape(3, 4000, 2).mean(axis=1), skills, atol=0.03)


def test_a_label_is_one_short_line() -> None:
    assert label("a\nb  c") == "a b c"
    assert label("word " * 40).endswith("word…")
    assert len(label("word " * 40)) <= 81
