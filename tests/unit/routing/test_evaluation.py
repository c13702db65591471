"""Measures by hand, routers on planted outcomes, and that nothing is learnt from what is scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from support import ENCODER

from shared.routing.deciding.cascade import SEES, Answered, fit_head
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.sums import SIZE as SUMS
from shared.routing.errors import OutcomesInvalid
from shared.routing.offline.evaluation import (
    Result,
    best_single,
    difference,
    evaluate,
    evaluate_cascades,
    folds,
    interval,
    random_splits,
    swept,
    swept_difference,
    weak_and_strong,
)
from shared.routing.offline.measures import (
    MOST_PAIRS,
    Curve,
    apgr,
    area,
    cost_save,
    cpt,
    pairs,
    pairs_apgr,
    perf_gain,
    recovered,
)
from shared.routing.offline.outcomes import Outcomes, Recipe
from shared.routing.offline.routers import (
    AvengersPro,
    Data,
    Neighbours,
    Pointsman,
    RouterExpectations,
    Single,
    known,
)

PRICES = np.array([0.001, 0.003, 0.01])


def planted(count: int = 400, seed: int = 0, models: int = 3) -> Data:
    """Four tasks; the cheapest model is right on the first two, the most expensive on the others,
    the middle one from time to time."""
    rng = np.random.default_rng(seed)
    task = rng.integers(0, 4, count)
    vectors = np.eye(4)[task] + rng.normal(0, 0.05, (count, 4))
    chance = np.array([[0.9, 0.5, 0.3], [0.9, 0.5, 0.3], [0.3, 0.5, 0.9], [0.3, 0.5, 0.9]])[task][
        :, [0, 1, 2][-models:] if models == 3 else [0, 2]
    ]
    scores = (rng.random(chance.shape) < chance).astype(float)
    features = np.hstack([vectors, np.zeros((count, SIZE))]).astype(np.float32)
    cost = np.tile(PRICES if models == 3 else PRICES[[0, 2]], (count, 1))
    texts = tuple(f"task {t} prompt {i}" for i, t in enumerate(task))
    names = ("cheap", "middle", "expensive") if models == 3 else ("cheap", "expensive")
    return Data(
        Outcomes(texts, names, scores, cost, np.zeros(len(names))), {"prompt": features}, ENCODER
    )


def test_the_area_is_the_mean_quality_over_the_range_of_costs() -> None:
    steps = Curve(np.array([3.0, 1.0, 2.0]), np.array([0.5, 0.2, 0.6]))
    # 0.2 up to 2, then 0.6, since the more expensive point is worse and nobody need take it
    assert area(steps, 1.0, 4.0) == pytest.approx((1 * 0.2 + 2 * 0.6) / 3)
    assert area(steps, 0.0, 1.0) == pytest.approx(0.2)
    assert area(steps, 2.5, 3.5) == pytest.approx(0.6)
    assert area(steps, 2.0, 2.0) == 0.6


def test_gain_and_saving_are_relative_to_the_best_single_model() -> None:
    curve = Curve(np.array([1.0, 2.0, 5.0]), np.array([0.4, 0.5, 0.55]))
    assert perf_gain(curve, 0.5) == pytest.approx(0.1)
    assert cost_save(curve, 0.5, 8.0) == pytest.approx(0.75)
    assert cost_save(curve, 0.56, 8.0) == 0.0, "a quality that is not reached saves nothing"
    assert cost_save(curve, 0.4, 0.5) == 0.0
    assert np.isnan(perf_gain(curve, 0.0))


def test_the_recovered_gap_by_hand() -> None:
    weak, strong = np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0])
    gap = recovered(np.array([0.1, 0.9, 0.8, 0.0]), weak, strong)
    np.testing.assert_allclose(gap, [0, 1, 2, 2, 1])
    assert apgr(gap) == pytest.approx(6 / 5)
    assert cpt(gap, 0.8) == 0.25
    assert cpt(gap, 1.5) == 0.5
    nothing = recovered(np.zeros(4), strong, strong)
    assert np.isnan(nothing).all()
    assert np.isnan(cpt(nothing, 0.5))


def test_apgr_of_one_pair_is_that_of_the_recovered_gap_and_copies_of_prompts_count() -> None:
    rng = np.random.default_rng(0)
    weak, strong = rng.random(50), rng.random(50) + 0.2
    gain = rng.random(50)
    order = np.argsort(-gain, kind="stable")
    lead = (strong - weak)[order][None]
    assert pairs_apgr(lead, np.ones((1, 50))) == pytest.approx(apgr(recovered(gain, weak, strong)))
    times = rng.integers(0, 4, 50)
    copies = np.repeat(np.arange(50), times)
    assert pairs_apgr(lead, times[order][None]) == pytest.approx(
        apgr(recovered(gain[copies], weak[copies], strong[copies]))
    )
    assert np.isnan(pairs_apgr(-lead, np.ones((1, 50)))), "the weaker is better"


def test_a_pair_counts_by_its_gap() -> None:
    np.testing.assert_array_equal(pairs(np.array([0.5, 0.2, 0.9])), [[0, 2], [1, 0], [1, 2]])
    np.testing.assert_array_equal(pairs(np.array([0.5, 0.51, 0.9])), [[0, 2], [1, 2]])
    np.testing.assert_array_equal(pairs(np.array([0.5, 0.51])), [[0, 1]])
    assert len(pairs(np.linspace(0.1, 0.9, 21))) == MOST_PAIRS
    # one pair gains 4 on the first of two prompts, the other loses and wins nothing on the whole
    lead = np.array([[4.0, 0.0], [-1.0, 1.0]])
    assert pairs_apgr(lead, np.ones((2, 2))) == pytest.approx((8 - 1) / 3 / 4)


def test_a_prompt_without_both_scores_does_not_count_in_a_pair() -> None:
    lead = np.array([[0.5, np.nan, 0.2, 0.1], [0.1, 0.3, np.nan, np.nan]])
    ones = np.ones((2, 4))
    first = pairs_apgr(np.array([[0.5, 0.2, 0.1]]), np.ones((1, 3)))
    second = pairs_apgr(np.array([[0.1, 0.3]]), np.ones((1, 2)))
    assert pairs_apgr(lead[:1], ones[:1]) == pytest.approx(first)
    gaps = np.array([0.8 / 3, 0.4 / 2])
    assert pairs_apgr(lead, ones) == pytest.approx((gaps @ [first, second]) / gaps.sum())


def test_splits_part_the_prompts_and_folds_score_each_once() -> None:
    for train, test in random_splits(50, 3):
        assert len(train) == 35
        assert sorted([*train, *test]) == list(range(50))
    scored = np.concatenate([test for _, test in folds(53, 5)])
    assert sorted(scored) == list(range(53))
    assert all(not set(train) & set(test) for train, test in folds(53, 5))


@pytest.mark.slow
def test_on_planted_tasks_every_router_finds_the_best_model_and_the_bounds_hold() -> None:
    data = planted()
    routers = {
        "single": Single(),
        "cheap": Single("cheap"),
        "knn": Neighbours(20),
        "avengers": AvengersPro(4),
        "ours": Pointsman((Recipe(k=4),)),
        "contrastive": Pointsman((Recipe("contrastive", True, 4),)),
    }
    splits = list(random_splits(400, 4))
    found = evaluate(data, routers, splits)
    scores = data.outcomes.scores
    assert found["cheap"].accuracy == pytest.approx([scores[test, 0].mean() for _, test in splits])
    assert found["oracle"].accuracy == pytest.approx(
        [scores[test].max(axis=1).mean() for _, test in splits]
    )
    assert found["random"].accuracy == pytest.approx([scores[test].mean() for _, test in splits])
    assert found["oracle"].regret == [0.0] * 4
    cheapest = [
        np.where(scores[t] == scores[t].max(axis=1, keepdims=True), PRICES, 9).min(axis=1).mean()
        for _, t in splits
    ]
    assert found["oracle"].cost_usd == pytest.approx(cheapest)
    for name in ("knn", "avengers", "ours", "contrastive"):
        one = found[name]
        assert np.mean(one.accuracy) > 0.85
        assert np.mean(one.cost_save) > 0.3
        assert np.mean(one.perf_gain) > 0.2
        assert len(one.curve) == 4
        assert len(one.curve[0][0]) > 100
        assert sum(one.decisions.values()) == 4 * 120
        assert difference(one, found["single"]).low > 0.1
    assert difference(found["ours"], found["ours"]).mean == 0.0
    assert found["single"].novel == found["single"].curve == []
    assert len(found["ours"].novel) == 4
    assert np.mean(found["contrastive"].calibration_error) < 0.1
    assert found["ours"].cpt50 == [], "which is of two models alone"


@pytest.mark.slow
def test_nothing_is_learnt_from_what_is_scored() -> None:
    data = planted(200)
    noise = np.random.default_rng(1).random(data.outcomes.scores.shape).round()
    (split,) = random_splits(200, 1)
    other = Outcomes(
        data.outcomes.texts,
        data.outcomes.models,
        data.outcomes.scores.copy(),
        data.outcomes.cost_usd,
        data.outcomes.latency_s,
    )
    other.scores[split[1]] = noise[split[1]]
    said: list[np.ndarray] = []
    for outcomes in (data.outcomes, other):
        changed = Data(outcomes, data.features, ENCODER)
        for router in (
            Neighbours(5),
            AvengersPro(4),
            Pointsman((Recipe("contrastive", True, 4),)),
            Single(),
        ):
            evaluate(
                changed,
                {"one": router},
                [split],
                keep=lambda _s, _n, _f, expected, _t: said.append(expected.of.success),
            )
    for one, again in zip(said[:4], said[4:], strict=True):
        np.testing.assert_array_equal(one, again)


def test_the_avengers_pro_recipe_is_that_of_the_paper() -> None:
    data = planted(300)
    vectors, scores = data.features["prompt"][:, :4], data.outcomes.scores
    said = (
        AvengersPro(5, top=2, sharpness=3.0)
        .fit(data.rows(np.arange(200)), 7)
        .expect({"prompt": data.features["prompt"][200:]})
    )
    means = KMeans(5, n_init=3, random_state=7).fit(vectors[:200])
    profile = np.array([scores[:200][means.labels_ == c].mean(axis=0) for c in range(5)])
    for vector, line in zip(vectors[200:], said.of.success, strict=True):
        distance = np.linalg.norm(vector - means.cluster_centers_, axis=1)
        near = np.argsort(distance)[:2]
        weight = np.exp(-3.0 * distance[near])
        np.testing.assert_allclose(line, weight @ profile[near] / weight.sum(), rtol=1e-4)
    np.testing.assert_allclose(said.of.cost_usd, np.tile(PRICES, (100, 1)))
    shrunk = (
        AvengersPro(5, top=1, shrinkage=1e9)
        .fit(data.rows(np.arange(200)), 7)
        .expect({"prompt": data.features["prompt"][200:]})
    )
    np.testing.assert_allclose(
        shrunk.of.success, np.tile(scores[:200].mean(axis=0), (100, 1)), rtol=1e-5
    )


@pytest.mark.slow
def test_answers_that_are_missing_count_as_nothing_and_are_not_learnt_from() -> None:
    data = planted(300)
    holed = data.outcomes.scores.copy()
    holed[::3, 1] = np.nan
    cost = data.outcomes.cost_usd.copy()
    cost[::3, 1] = np.nan
    outcomes = Outcomes(
        data.outcomes.texts, data.outcomes.models, holed, cost, data.outcomes.latency_s
    )
    assert np.isfinite(outcomes.paid()).all()
    routers = {
        "a": AvengersPro(4),
        "k": Neighbours(10),
        "p": Pointsman((Recipe("contrastive", True, 4),)),
    }
    found = evaluate(Data(outcomes, data.features, ENCODER), routers, list(random_splits(300, 2)))
    assert all(
        np.isfinite(r.accuracy).all() and np.isfinite(r.cost_usd).all() for r in found.values()
    )
    assert np.mean(found["p"].accuracy) > 0.8


def test_too_few_prompts_are_named() -> None:
    data = planted(40)
    scores = data.outcomes.scores.copy()
    scores[1:, 2] = np.nan
    lonely = Outcomes(
        data.outcomes.texts,
        data.outcomes.models,
        scores,
        data.outcomes.cost_usd,
        data.outcomes.latency_s,
    )
    without = (np.arange(1, 30), np.array([0, 30]))
    nothing = (np.arange(30), np.array([], np.intp))
    with pytest.raises(
        OutcomesInvalid,
        match="split 1 leaves 30 prompts with scores to learn from and 0 to test on",
    ):
        evaluate(Data(lonely, data.features, ENCODER), {"one": Single()}, [nothing])
    ours = {
        "one": Single(),
        "p": Pointsman((Recipe(k=2), Recipe("contrastive", True, 2))),
        "k": Neighbours(5),
        "a": AvengersPro(2),
    }
    found = evaluate(Data(lonely, data.features, ENCODER), ours, [without])
    assert all(np.isfinite(result.accuracy).all() for result in found.values()), (
        "a model that nothing is known of is a model like any"
    )
    assert best_single(lonely.scores) != 2, "one answer makes nobody the best"


def test_two_models_have_a_weak_and_a_strong_one() -> None:
    data = planted(400, models=2)
    found = evaluate(
        data, {"ours": Pointsman((Recipe(k=4),)), "single": Single()}, list(random_splits(400, 3))
    )
    assert all(a > 0.6 for a in found["ours"].apgr)
    assert found["single"].apgr == []
    assert weak_and_strong(data.outcomes) in {(0, 1), (1, 0)}


def test_the_sweep_goes_from_the_cheapest_to_the_best() -> None:
    success = np.tile([0.2, 0.8], (5, 1))
    for by_weights in (False, True):
        sweep = RouterExpectations(
            known(success, np.tile([1e-4, 4e-4], (5, 1))), by_weights=by_weights
        ).sweep()
        assert (sweep[0] == 0).all()
        assert (sweep[-1] == 1).all()


def test_a_sweep_stops_where_prompts_change_their_model() -> None:
    """Also where all of them do at nearly the same rate: then the curve still has a point for every
    few prompts."""
    rng = np.random.default_rng(0)
    success = np.stack([np.full(500, 0.5), 0.6 + 1e-6 * rng.random(500)], axis=1)
    sweep = RouterExpectations(known(success, np.tile([1e-4, 4e-4], (500, 1)))).sweep()
    shares = np.array([s.mean() for s in sweep])
    assert (np.diff(shares) >= 0).all()
    assert np.diff(shares).max() < 0.02


@pytest.mark.slow
def test_a_sweep_is_compared_on_the_same_resampled_prompts() -> None:
    data = planted(300)
    scores = data.outcomes.scores.copy()
    scores[::2, 1] = 0.0  # so that the middle one is worse than both others on the whole
    data = replace(data, outcomes=replace(data.outcomes, scores=scores))
    routers = {"good": Pointsman((Recipe(k=4),)), "bad": AvengersPro(1, by_weights=False)}
    found = evaluate(data, routers, list(random_splits(300, 2)))
    apart = swept_difference(swept(found["good"], 300), swept(found["bad"], 300))
    assert apart.mean == pytest.approx(
        np.mean(found["good"].area) - np.mean(found["bad"].area), abs=1e-4
    )
    assert 0 < apart.low < apart.mean < apart.high
    assert swept_difference(swept(found["good"], 300), swept(found["good"], 300)).high == 0.0
    ranked = swept_difference(
        swept(found["good"], 300, measure="apgr"), swept(found["bad"], 300, measure="apgr")
    )
    assert ranked.mean == pytest.approx(np.mean(found["good"].apgr) - np.mean(found["bad"].apgr))
    assert 0 < ranked.low < ranked.mean < ranked.high


def test_goals_are_met_on_prompts_that_were_not_learnt_from() -> None:
    (found,) = [
        evaluate(
            planted(900),
            {"ours": Pointsman((Recipe(k=4),), measure=True)},
            list(random_splits(900, 4)),
        )["ours"]
    ]
    kept, _ = np.mean(found.keep, axis=0)
    spent, _ = np.mean(found.spend, axis=0)
    assert kept >= 0.92
    assert spent <= 1.15, (
        "three models and four tasks make four steps, so a budget can be met only roughly"
    )


def test_an_interval_is_that_of_resampled_prompts() -> None:
    rng = np.random.default_rng(0)
    hits = (rng.random(900) < 0.6).astype(float)
    one = Result(score=np.append(hits * 3, 0.0), seen=np.append(np.full(900, 3.0), 0.0))
    found = interval(one)
    assert found.mean == pytest.approx(hits.mean())
    half = 1.96 * (hits.mean() * (1 - hits.mean()) / 900) ** 0.5
    assert found.low == pytest.approx(hits.mean() - half, abs=0.006)
    assert found.high == pytest.approx(hits.mean() + half, abs=0.006)


def answered(count: int = 800, seed: int = 0) -> tuple[Answered, np.ndarray, np.ndarray]:
    """The weak answer is good where it points the prompt's way in a direction that differs from
    prompt to prompt."""
    rng = np.random.default_rng(seed)
    prompt = rng.normal(size=(count, 6))
    good = rng.random(count) < 0.6
    answer = np.where(good[:, None], prompt, -prompt) + rng.normal(0, 1.0, prompt.shape)
    prompt, answer = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (prompt, answer))
    blank = np.zeros((count, SIZE), np.float32)
    return (
        Answered(
            prompt.astype(np.float32),
            blank,
            answer.astype(np.float32),
            blank,
            np.zeros((count, SUMS), np.float32),
        ),
        good.astype(float),
        np.ones(count),
    )


def test_a_cascade_that_sees_prompt_and_answer_together_knows_what_neither_alone_tells() -> None:
    data, weak, strong = answered()
    found = evaluate_cascades(data, weak, strong, list(random_splits(800, 3)))
    assert set(found) == set(SEES)
    reached = {sees: np.mean(one.apgr) for sees, one in found.items()}
    assert reached["joint"] > 0.65
    assert reached["joint"] > reached["prompt"] + 0.1
    assert 0.4 < reached["prompt"] < 0.6
    assert np.mean(found["joint"].cpt80) < np.mean(found["prompt"].cpt80) - 0.1
    assert np.mean(found["joint"].calibration_error) < 0.15
    assert found["joint"].curve[0][[0, -1]] == pytest.approx([0.0, 1.0])


def test_a_cascade_leaves_out_prompts_without_a_score() -> None:
    data, weak, strong = answered()
    splits = list(random_splits(800, 2))
    missing = np.arange(800) % 7 == 0
    weak[missing] = np.nan
    found = evaluate_cascades(data, weak, strong, splits)["joint"]
    assert np.mean(found.apgr) > 0.6
    known = np.flatnonzero(~missing)
    place = np.full(800, -1)
    place[known] = np.arange(len(known))
    fewer = [(place[train[~missing[train]]], place[test[~missing[test]]]) for train, test in splits]
    alone = evaluate_cascades(data.rows(known), weak[known], strong[known], fewer)["joint"]
    assert found.apgr == pytest.approx(alone.apgr)


def test_models_that_are_about_equal_make_no_pair() -> None:
    assert pairs(np.array([0.5, 0.51, 0.505])).shape == (0, 2)
    assert len(pairs(np.linspace(0, 1, 13))) == MOST_PAIRS
    assert np.isnan(pairs_apgr(np.zeros((0, 5)), np.ones((0, 5))))


def test_a_cascade_with_nothing_to_learn_says_so() -> None:
    data, _, _ = answered(20)
    with pytest.raises(OutcomesInvalid, match="all good or all bad"):
        fit_head("joint", "weak", data, np.ones(20))
