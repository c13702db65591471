"""Goals are met over the traffic as it comes, also when it changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.routing.deciding.choosing import breakpoints
from shared.routing.deciding.frontier import Frontier, frontier_of, rates_for, reached
from shared.routing.deciding.pacing import Offer, Pacer
from shared.routing.deciding.rates import MOST_USD, Goal, Rates
from shared.routing.deciding.selection import Expectations, choices
from shared.routing.offline.evaluation import paced

MODELS = ("cheap", "middle", "expensive")
COSTS = np.array([0.0002, 0.001, 0.006])


def traffic(
    count: int, seed: int, hard: float = 0.0, times: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """What is expected of three models for prompts of which some are `hard` for the cheap ones;
    costs are `times` as high."""
    rng = np.random.default_rng(seed)
    ease = np.clip(rng.normal(0.75 - hard, 0.15, (count, 1)), 0.05, 0.95)
    success = np.hstack([ease * 0.8, ease * 0.95, np.sqrt(ease)])
    return success, COSTS * times * rng.lognormal(0, 0.3, (count, 1))


def lived(
    goal: Goal, parts: list[tuple[np.ndarray, np.ndarray]], start: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Success, the best single model's and cost of every decision, one prompt after another."""
    frontier = frontier_of(*parts[0], MODELS)
    success, cost = (np.concatenate(of_all) for of_all in zip(*parts, strict=True))
    picks = picked(goal, frontier, success, cost)
    rows = np.arange(len(picks))
    return success[rows, picks][start:], success[start:, 2], cost[rows, picks][start:]


def picked(goal: Goal, frontier: Frontier, success: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """What is chosen, one prompt after another."""
    pacer, picks = Pacer(goal), []
    for own, paid in zip(success, cost, strict=True):
        pick = int((own - paid / pacer.rates(frontier).usd_per_point).argmax())
        offers = {m: Offer(*v, 1.0) for m, *v in zip(MODELS, own, paid, strict=True)}
        pacer.decided(offers, MODELS[pick], frontier)
        picks.append(pick)
    return np.array(picks)


CHANGES = [
    traffic(3000, 0),
    traffic(3000, 1, hard=0.3),
    traffic(3000, 2, times=2.5),
    traffic(3000, 3, hard=-0.15),
]


def windows(values: np.ndarray, size: int = 2000) -> np.ndarray:
    sums = np.cumsum(np.concatenate([[0.0], values]))
    return (sums[size:] - sums[:-size]) / size


@pytest.mark.parametrize("keep", [0.9, 0.97])
@pytest.mark.slow
def test_a_part_of_the_best_models_success_is_kept_over_any_2000_prompts_while_traffic_and_prices_change(
    keep: float,
) -> None:
    got, best, cost = lived(Goal(keep=keep), CHANGES)
    ratios = windows(got) / windows(best)
    assert ratios.min() > keep - 0.03
    assert ratios.max() < keep + 0.03
    assert cost.mean() < 0.8 * np.concatenate([c[:, 2] for _, c in CHANGES]).mean()


def kept(frontier: Frontier, expected: np.ndarray, cost: np.ndarray, true: np.ndarray) -> float:
    """The part of the expensive model's true success that is kept, where 95% is the goal."""
    picks = picked(Goal(keep=0.95), frontier, expected, cost)
    return float(true[np.arange(len(picks)), picks].mean() / true[:, 2].mean())


@pytest.mark.parametrize("promise", [-0.05, 0.05])
@pytest.mark.slow
def test_a_goal_is_met_in_true_success_where_the_table_expects_too_much_or_too_little(
    promise: float,
) -> None:
    true, cost = traffic(6000, 4)
    expected = true + np.array([0.0, 0.0, promise])
    known, seen = slice(0, 3000), slice(3000, 6000)
    frontier = frontier_of(expected[known], cost[known], MODELS, (true[known], cost[known]))
    assert kept(frontier, expected[seen], cost[seen], true[seen]) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.slow
def test_answers_that_nobody_has_do_not_lower_the_goal(missing: float) -> None:
    true, cost = traffic(6000, 5)
    known, seen = slice(0, 3000), slice(3000, 6000)
    outcomes = true[known].copy()
    outcomes[np.random.default_rng(1).random(3000) < missing, 2] = np.nan
    frontier = frontier_of(true[known], cost[known], MODELS, (outcomes, cost[known]))
    assert frontier.single == MODELS[2]
    assert frontier.single_correction == pytest.approx(0.0, abs=1e-9)
    assert frontier.single_success == pytest.approx(true[known, 2].mean(), abs=1e-9)
    rate = rates_for(frontier, Goal(keep=0.95)).usd_per_point
    picks = (true[known] - cost[known] / rate).argmax(axis=1)
    met = true[known][np.arange(3000), picks].mean() / true[known, 2].mean()
    assert met == pytest.approx(0.95, abs=0.01)
    assert kept(frontier, true[seen], cost[seen], true[seen]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("spend", [0.0008, 0.003])
@pytest.mark.slow
def test_a_budget_is_kept_over_any_2000_prompts_while_traffic_and_prices_change(
    spend: float,
) -> None:
    _, _, cost = lived(Goal(spend_usd=spend), CHANGES)
    spent = windows(cost) / spend
    assert spent.max() < 1.03
    assert spent.min() > 0.97


@pytest.mark.slow
def test_a_goal_out_of_reach_is_come_as_near_to_as_can_be() -> None:
    got, best, _ = lived(Goal(keep=1.0), CHANGES[:1])
    assert got.mean() == pytest.approx(best.mean(), rel=1e-3)
    _, _, cost = lived(Goal(spend_usd=1e-7), CHANGES[:1])
    assert cost.mean() == pytest.approx(CHANGES[0][1][:, 0].mean(), rel=0.01), (
        "all prompts go to the cheapest"
    )
    _, _, cost = lived(Goal(spend_usd=1.0), CHANGES[:1])
    assert cost.mean() > 0.5 * CHANGES[0][1][:, 2].mean(), "more than all can be spent on"


def test_models_that_are_not_eligible_are_not_counted() -> None:
    frontier = frontier_of(*CHANGES[0], MODELS)
    pacer = Pacer(Goal(keep=0.95))
    for own, paid in zip(*CHANGES[0], strict=True):
        offers = {m: Offer(s, c, 1.0) for m, s, c in zip(MODELS[:2], own, paid, strict=False)}
        rates = pacer.rates(frontier)
        best = max(
            offers, key=lambda m: offers[m].success - offers[m].cost_usd / rates.usd_per_point
        )
        pacer.decided(offers, best, frontier)
    assert 0 < pacer.rates(frontier).usd_per_point <= MOST_USD


def test_the_frontier_says_which_rate_reaches_a_goal() -> None:
    success, cost = CHANGES[0]
    frontier = frontier_of(success, cost, MODELS)
    assert frontier.single == "expensive"
    rows = np.arange(len(success))
    for goal, low, high in ((Goal(keep=0.95), 0.945, 0.955), (Goal(spend_usd=0.002), 0.98, 1.02)):
        rate = rates_for(frontier, goal).usd_per_point
        picks = (success - cost / rate).argmax(axis=1)
        got = (
            success[rows, picks].mean() / success[:, 2].mean()
            if goal.keep
            else cost[rows, picks].mean() / 0.002
        )
        assert low <= got <= high
    assert rates_for(frontier, Goal(keep=0.9, s_per_point=50)) == Rates(
        rates_for(frontier, Goal(keep=0.9)).usd_per_point, 50
    )


@settings(max_examples=50)
@given(st.integers(0, 1000), st.floats(0.5, 1.0), st.floats(1e-5, 1e-2))
def test_more_to_keep_or_to_spend_is_never_a_lower_rate(
    seed: int, keep: float, spend: float
) -> None:
    success, cost = traffic(200, seed)
    frontier = frontier_of(success, cost, MODELS)
    line = [
        part.astype(float) for part in (frontier.usd_per_point, frontier.success, frontier.cost_usd)
    ]
    best = frontier.single_success
    assert (
        reached(*line, best, Goal(keep=keep))
        <= reached(*line, best, Goal(keep=min(1.0, keep + 0.05))) + 1e-12
    )
    assert (
        reached(*line, best, Goal(spend_usd=spend))
        <= reached(*line, best, Goal(spend_usd=1.5 * spend)) + 1e-12
    )


@given(st.integers(0, 1000), st.integers(3, 50))
def test_breakpoints_rise_from_the_cheapest_to_the_best(seed: int, count: int) -> None:
    success, cost = traffic(60, seed)
    found = breakpoints(success, cost, count)
    assert len(found) == count
    assert (np.diff(found) >= 0).all()
    assert ((success - cost / found[0]).argmax(axis=1) == cost.argmin(axis=1)).all()
    assert (
        (success - cost / found[-1]).argmax(axis=1) == (success - cost / MOST_USD).argmax(axis=1)
    ).all()


@pytest.mark.parametrize("goal", [Goal(keep=0.9), Goal(spend_usd=0.001)])
def test_the_evaluation_paces_a_goal_as_the_selector_does(goal: Goal) -> None:
    (known, costs), (success, cost) = traffic(400, 6), traffic(450, 7, hard=0.2)
    frontier = frontier_of(known, costs, MODELS)
    still = np.ones_like(success)
    expected = Expectations(success, 0.01 * still, cost, still, np.zeros(success.shape, np.bool_))
    pacer, picks = Pacer(goal), []
    for prompt in range(len(success)):
        own = expected.rows(slice(prompt, prompt + 1))
        pick = int(choices(own, pacer.rates(frontier))[0])
        values = zip(own.success[0], own.cost_usd[0], own.latency_s[0], strict=True)
        offers = {m: Offer(*map(float, v)) for m, v in zip(MODELS, values, strict=True)}
        pacer.decided(offers, MODELS[pick], frontier)
        picks.append(pick)
    assert paced(expected, MODELS, goal, frontier).tolist() == picks
    assert len(set(picks)) > 1
