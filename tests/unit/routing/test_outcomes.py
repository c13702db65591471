"""A first table finds planted tasks and planted rankings, and is honest about little evidence."""

from dataclasses import replace

import numpy as np
import pytest
from support import ENCODER

from shared.routing.deciding.form import SIZE
from shared.routing.deciding.frontier import frontier_of
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import expectations, routes
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import OutcomesInvalid
from shared.routing.learning.clustering import kmeans
from shared.routing.learning.fitting import success_rates
from shared.routing.learning.labels import label
from shared.routing.offline.outcomes import (
    SHRINKAGE,
    Outcomes,
    Recipe,
    best_model,
    build_table,
    choose,
    left_out,
    recipes,
    swept_area,
)
from shared.routing.offline.simulation import simulated_scores, simulated_skills

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
    tab = build_table(outcomes, vectors, ENCODER, Recipe(k=4), source="planted", simulated=True)
    assert sorted(c.size for c in tab.clusters) == [40, 40, 40, 40]
    for cluster, strength in zip(tab.clusters, tab.strength, strict=True):
        task = int(cluster.label.split()[1])
        assert tab.models[int(strength.argmax())] == ("even" if task % 2 == 0 else "odd")
    assert (tab.strength[:, tab.models.index(tab.reference_model)] == 0).all()
    chosen = routes(tab, vectors, [PROFILES["quality"]])[:, 0]
    assert (
        outcomes.scores[np.arange(len(vectors)), chosen].mean()
        > 0.85
        > outcomes.scores.mean(axis=0).max()
    )


def test_the_same_data_and_seed_give_the_same_table() -> None:
    outcomes, vectors = planted()
    one, other = (
        build_table(outcomes, vectors, ENCODER, Recipe(k=4), seed=3, source="s", simulated=True)
        for _ in range(2)
    )
    assert one.digest == other.digest


def test_success_rates_shrink_toward_the_mean_over_all_clusters_as_the_formula_says() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, np.nan]])
    rates, counts = success_rates(scores, np.array([0, 0, 1]), 2, SHRINKAGE)
    assert counts.tolist() == [[2, 2], [1, 0]]
    assert rates[0, 0] == pytest.approx((2 + SHRINKAGE * 2 / 3) / (2 + SHRINKAGE))
    assert rates[1, 0] == pytest.approx((0 + SHRINKAGE * 2 / 3) / (1 + SHRINKAGE))
    assert 0 < rates[1, 1] < 0.05  # nothing known there: the overall rate of 0, kept off 0


def test_few_prompts_leave_a_wide_interval() -> None:
    few, many = (
        build_table(*planted(each=n), ENCODER, Recipe(k=4), source="s", simulated=True)
        for n in (5, 200)
    )
    assert few.standard_error.mean() > 2 * many.standard_error.mean()


def test_k_is_chosen_by_what_routes_best_on_prompts_left_out() -> None:
    outcomes, vectors = planted(each=60)
    assert choose(outcomes, {"prompt": vectors}, ENCODER, [Recipe(k=1), Recipe(k=4)]).k == 4


@pytest.mark.slow
def test_an_estimator_and_the_prompt_itself_are_preferred_unless_another_is_surely_better() -> None:
    rng = np.random.default_rng(0)
    outcomes, vectors = planted(each=60)
    features = np.hstack([vectors, rng.random((len(vectors), SIZE))]).astype(np.float32)
    tried = recipes(len(vectors), ("prompt", "description"), numbers=(4,))
    same = choose(outcomes, {"prompt": features, "description": features}, ENCODER, tried)
    assert (same.text, same.estimator) == ("prompt", True)
    noise = features.copy()
    noise[:, :4] = rng.normal(size=(len(vectors), 4))
    assert (
        choose(outcomes, {"prompt": noise, "description": features}, ENCODER, tried).text
        == "description"
    )


def test_the_simpler_recipes_come_first_and_leave_four_prompts_a_cluster() -> None:
    found = recipes(100)
    assert [(r.representation, r.k) for r in found if not r.estimator] == [
        (name, k) for name in ("plain",) for k in (5, 10)
    ]
    assert [r.estimator for r in found] == sorted(r.estimator for r in found)
    assert {r.text for r in recipes(1000, ("prompt", "both"))} == {"prompt", "both"}
    assert recipes(3)[0].k == 5, "the least, where there are too few prompts for any"


def test_success_is_the_shrunk_mean_score_and_the_reference_has_its_own() -> None:
    outcomes, vectors = planted()
    tab = build_table(outcomes, vectors, ENCODER, Recipe(k=4), source="s", simulated=True)
    rates, _ = success_rates(outcomes.scores, kmeans(vectors, 4, 0).labels, 4, SHRINKAGE)
    np.testing.assert_allclose(tab.success, rates, atol=1e-6)
    assert tab.reference_success == pytest.approx(
        rates[:, tab.models.index(tab.reference_model)], abs=1e-6
    )


def test_the_frontier_is_measured_on_prompts_that_were_not_learnt_from() -> None:
    outcomes, vectors = planted(each=60)
    cost = np.tile([0.001, 0.003], (len(vectors), 1))
    priced = replace(outcomes, cost_usd=cost)
    success, expected_cost = left_out(priced, vectors, ENCODER, Recipe(k=4))
    frontier = frontier_of(success, expected_cost, priced.models, (priced.scores, priced.paid()))
    area = swept_area(success, expected_cost, priced)
    assert frontier.measured
    assert frontier.prompts == len(vectors)
    assert frontier.cost_usd[0] == pytest.approx(0.001)
    assert frontier.success[-1] > 0.85 > frontier.single_success
    assert 0.6 < area < 1
    noise = replace(priced, scores=np.random.default_rng(1).random(priced.scores.shape).round())
    guessed = frontier_of(
        *left_out(noise, vectors, ENCODER, Recipe(k=25)), noise.models, (noise.scores, noise.paid())
    )
    assert guessed.success.max() < 0.56, "nothing can be known of noise"
    assert guessed.expected_success[-1] > guessed.success[-1], (
        "the best of estimates promises more than it holds"
    )
    built = build_table(
        priced, vectors, ENCODER, Recipe(k=4), source="s", simulated=True, measure=True
    )
    assert built.frontier is not None
    assert built.frontier.single in built.models


def test_a_model_that_was_asked_three_times_is_not_the_best() -> None:
    scores = np.full((200, 2), np.nan)
    scores[:, 0] = np.arange(200) % 5 > 0
    scores[:3, 1] = 1.0
    assert best_model(scores) == 0
    scores[:150, 1] = 1.0
    assert best_model(scores) == 1


def test_a_longer_prompt_costs_more_by_the_price_of_its_tokens() -> None:
    outcomes, vectors = planted()
    tokens = np.random.default_rng(0).uniform(10, 500, len(vectors))
    priced = replace(outcomes, prompt_tokens=tokens, usd_per_token=np.array([1e-6, 2e-6]))
    tab = build_table(priced, vectors, ENCODER, Recipe(k=4), source="s", simulated=True)
    assert tab.prompt_tokens.mean() == pytest.approx(tokens.mean(), rel=0.05)
    assert RoutingTable.from_bytes(tab.to_bytes()) == tab


def lengthy(count: int, cost: np.ndarray, tokens: np.ndarray) -> Outcomes:
    return Outcomes(
        tuple(map(str, range(count))),
        tuple("abcd"[: cost.shape[1]]),
        np.random.default_rng(0).random(cost.shape).round(),
        cost,
        np.zeros(cost.shape[1]),
        prompt_tokens=tokens,
        usd_per_token=np.zeros(cost.shape[1]),
    )


def test_without_a_price_recorded_costs_say_what_a_longer_prompt_costs() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.uniform(10, 500, 400)
    cost = np.stack(
        [1e-3 + 3e-6 * tokens, np.full(400, 2e-3), rng.uniform(0, 1e-2, 400), 9e-6 * tokens], axis=1
    )
    cost[::7, 0] = np.nan
    one = np.zeros(400, np.int64)
    outcomes = replace(lengthy(400, cost, tokens), usd_per_token=np.array([0.0, 0.0, 0.0, 5e-6]))
    np.testing.assert_allclose(outcomes.charged(one), [3e-6, 0.0, 0.0, 5e-6], atol=1e-12)
    assert replace(outcomes, prompt_tokens=None).charged(one) is None
    unknown = replace(outcomes, cost_usd=np.zeros(4))
    np.testing.assert_array_equal(unknown.charged(one), [0.0, 0.0, 0.0, 5e-6])


@pytest.mark.parametrize(("count", "odd"), [(10, 0), (100, 1), (1000, 0)])
def test_costs_that_have_nothing_to_do_with_length_rise_with_it_nowhere(
    count: int, odd: int
) -> None:
    """Neither by chance, nor where one very long prompt decides, nor since tasks differ."""
    found = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        tokens = rng.lognormal(4.0, 1.0, count)
        tokens[:odd] = 20_000.0
        cost = rng.lognormal(-6.0, 1.0, (count, 2))
        labels = rng.integers(0, 2, count)
        tokens[labels == 1] *= 3.0
        cost[labels == 1] *= 5.0
        found += int((lengthy(count, cost, tokens).charged(labels) > 0).sum())
    assert found <= 4, "of 200; three standard errors leave 0.1%"


def test_clusters_never_outnumber_distinct_vectors() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], 5, axis=0)
    found = kmeans(vectors, 10, 0)
    assert len(found.centroids) == 2
    assert (found.radii >= 0).all()


def test_costs_of_a_cluster_shrink_to_the_average_and_missing_ones_take_it() -> None:
    outcomes, vectors = planted(each=10)
    cost = np.full(outcomes.scores.shape, 0.01)
    cost[:10, 0], cost[10:20, 1] = 0.03, np.nan
    priced = Outcomes(outcomes.texts, outcomes.models, outcomes.scores, cost, NONE)
    tab = build_table(priced, vectors, ENCODER, Recipe(k=4), source="s", simulated=True)
    first = tab.cost_usd[[c.label.startswith("task 0") for c in tab.clusters].index(True)]
    assert 0.015 < first[0] < 0.03
    assert np.isfinite(tab.cost_usd).all()


@pytest.mark.parametrize("answers", [0, 1, 4, 15])
@pytest.mark.parametrize("recipe", [Recipe(k=4), Recipe("contrastive", True, 4)])
@pytest.mark.slow
def test_a_model_of_a_few_answers_is_neither_the_reference_nor_the_best_anywhere(
    answers: int, recipe: Recipe
) -> None:
    outcomes, vectors = planted()
    vectors = np.hstack([vectors, np.zeros((len(vectors), SIZE), np.float32)])
    rare = np.full(len(outcomes.texts), np.nan)
    rare[np.linspace(0, len(rare) - 1, answers).astype(int)] = 1.0
    models = (*outcomes.models, "rare")
    more = Outcomes(
        outcomes.texts, models, np.column_stack([outcomes.scores, rare]), np.zeros(3), np.zeros(3)
    )
    assert more.few() == {"rare": answers}
    tab = build_table(more, vectors, ENCODER, recipe, source="s", simulated=True, measure=True)
    assert tab.reference_model != "rare"
    assert np.isfinite(tab.strength).all()
    if answers <= 4:
        assert (tab.strength.argmax(axis=1) != 2).all()
    if answers <= 4 and tab.estimator is not None:
        everywhere = expectations(tab, vectors).success
        assert (everywhere.argmax(axis=1) == 2).mean() < 0.1
    chosen = choose(more, {"prompt": vectors}, ENCODER, recipes(len(vectors), numbers=(2, 4)))
    assert chosen.k in (2, 4)


def test_full_files_are_left_as_they_are() -> None:
    outcomes, _ = planted()
    assert outcomes.few() == {}
    assert outcomes.with_few_shrunk() is outcomes


def test_what_can_not_be_used_is_refused_with_words() -> None:
    with pytest.raises(OutcomesInvalid, match="at least one prompt and two models"):
        Outcomes(("a",), ("m",), np.ones((1, 1)), NONE[:1], NONE[:1])
    with pytest.raises(OutcomesInvalid, match="no prompt has a score"):
        Outcomes(("a",), ("m", "n"), np.full((1, 2), np.nan), NONE, NONE)
    outcomes, vectors = planted()
    with pytest.raises(OutcomesInvalid, match="reference model nobody"):
        build_table(
            outcomes, vectors, ENCODER, Recipe(k=2), source="s", simulated=True, reference="nobody"
        )


def test_simulated_outcomes_repeat_and_follow_their_skills() -> None:
    skills = simulated_skills(3, [0.0, 1.0], seed=5)
    assert (skills == simulated_skills(3, [0.0, 1.0], seed=5)).all()
    scores = simulated_scores(skills, 4000, seed=5)
    np.testing.assert_allclose(scores.reshape(3, 4000, 2).mean(axis=1), skills, atol=0.03)


def test_a_label_is_one_short_line() -> None:
    assert label("a\nb  c") == "a b c"
    assert label("word " * 40).endswith("word…")
    assert len(label("word " * 40)) <= 81
