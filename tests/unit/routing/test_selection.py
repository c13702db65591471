"""Selection keeps every limit, follows the weights, and says why."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support import table

from shared.routing.assignment import Assignment, assign
from shared.routing.selection import PROFILES, Limits, Weights, select
from shared.routing.table import RoutingTable

MODELS = ("a", "b", "c", "d")
seeds = st.integers(0, 100_000)
weight = st.floats(0, 10)


def placed(seed: int) -> tuple[RoutingTable, Assignment]:
    tab = table(5, MODELS, seed=seed, top_p=3)
    return tab, assign(np.random.default_rng(seed).normal(size=(1, 4)).astype(np.float32), tab)[0]


@given(
    seeds,
    st.floats(0, 0.01),
    st.floats(0, 20),
    st.sets(st.sampled_from(MODELS)),
    st.none() | st.sets(st.sampled_from(MODELS)),
    st.integers(0, 40),
)
def test_no_limit_is_ever_broken(seed: int, cost: float, latency: float, deny: set[str], allow: set[str] | None, tokens: int) -> None:
    tab, at = placed(seed)
    contexts = {"a": 10, "b": 20, "c": 30}
    limits = Limits(cost, latency, None if allow is None else frozenset(allow), frozenset(deny), tokens)
    found = select(tab, at, PROFILES["balanced"], limits, contexts)
    for candidate in found.candidates:
        assert candidate.cost_usd <= cost
        assert candidate.latency_s <= latency
        assert candidate.model not in deny
        assert allow is None or candidate.model in allow
        assert tokens <= contexts.get(candidate.model, tokens)
    assert {c.model for c in found.candidates} | {m for m, _ in found.ruled_out} == set(MODELS)
    assert len(found.candidates) + len(found.ruled_out) == len(MODELS)


@given(seeds, weight, weight, weight)
def test_candidates_come_by_utility_and_utility_is_made_of_its_parts(seed: int, a: float, b: float, d: float) -> None:
    assume(a + b + d > 1e-3)
    tab, at = placed(seed)
    found = select(tab, at, Weights(a, b, d), Limits(), {}).candidates
    utilities = [c.utility for c in found]
    assert utilities == sorted(utilities, reverse=True) or np.allclose(utilities, sorted(utilities, reverse=True), atol=1e-11)
    for c in found:
        assert c.utility == pytest.approx(c.gain - c.cost_penalty - c.latency_penalty)
        assert 0 <= c.performance_low <= c.performance <= c.performance_high <= 1


@given(seeds, st.floats(0, 0.9), st.floats(0.001, 0.1))
def test_more_weight_on_cost_never_selects_a_dearer_model(seed: int, cost: float, more: float) -> None:
    tab, at = placed(seed)
    before, after = (select(tab, at, Weights(1 - c, c, 0), Limits(), {}).candidates[0] for c in (cost, min(1.0, cost + more)))
    assert after.cost_usd <= before.cost_usd + 1e-12


@given(seeds, st.floats(0, 0.9), st.floats(0.001, 0.1))
def test_more_weight_on_latency_never_selects_a_slower_model(seed: int, latency: float, more: float) -> None:
    tab, at = placed(seed)
    before, after = (select(tab, at, Weights(1 - d, 0, d), Limits(), {}).candidates[0] for d in (latency, min(1.0, latency + more)))
    assert after.latency_s <= before.latency_s + 1e-12


@given(seeds, st.floats(0, 0.9), st.floats(0.001, 0.1), st.floats(0, 1))
def test_more_weight_on_performance_never_selects_a_worse_model(seed: int, performance: float, more: float, split: float) -> None:
    tab, at = placed(seed)

    def chosen(a: float) -> float:
        return select(tab, at, Weights(a, (1 - a) * split, (1 - a) * (1 - split)), Limits(), {}).candidates[0].performance

    assert chosen(min(1.0, performance + more)) >= chosen(performance) - 1e-12


@given(seeds, st.floats(0.01, 50))
def test_only_the_ratio_of_the_weights_matters(seed: int, factor: float) -> None:
    tab, at = placed(seed)
    one, other = (select(tab, at, Weights(3 * f, 2 * f, f), Limits(), {}) for f in (1.0, factor))
    assert [c.model for c in one.candidates] == [c.model for c in other.candidates]


@given(seeds)
def test_renaming_the_models_renames_the_choice_and_nothing_else(seed: int) -> None:
    tab, at = placed(seed)
    names = tuple(f"other-{m}" for m in MODELS)
    arrays = {n: getattr(tab, n) for n in ("centroids", "strength", "standard_error", "cost_usd", "latency_s")}
    renamed = table(5, names, seed=seed, top_p=3, **arrays)
    one, other = (select(t, at, PROFILES["balanced"], Limits(), {}) for t in (tab, renamed))
    assert [f"other-{c.model}" for c in one.candidates] == [c.model for c in other.candidates]


@given(seeds, st.floats(0, 1))
def test_without_latency_it_is_the_score_of_avengers_pro(seed: int, alpha: float) -> None:
    """arXiv 2508.12631, section 3: alpha * normalised performance + (1 - alpha) * (1 - normalised cost)."""
    tab, at = placed(seed)
    w = at.weights.astype(float)
    strength = tab.strength[at.clusters].astype(float)
    performance = w @ (1 / (1 + np.exp(strength.max(axis=1, keepdims=True) - strength)))
    cost = w @ tab.cost_usd[at.clusters].astype(float)
    scale = lambda v: (v - v.min()) / np.ptp(v)  # noqa: E731
    published = alpha * scale(performance) + (1 - alpha) * (1 - scale(cost))
    found = {c.model: c.utility for c in select(tab, at, Weights(alpha, 1 - alpha, 0), Limits(), {}).candidates}
    np.testing.assert_allclose([found[m] for m in MODELS], published - (1 - alpha), atol=1e-9)


def one_cluster(**arrays: np.ndarray) -> tuple[RoutingTable, Assignment]:
    tab = table(1, ("small", "large"), centroids=np.zeros((1, 4)), **arrays)
    return tab, assign(np.zeros((1, 4), np.float32), tab)[0]


def test_a_worked_example_by_hand() -> None:
    """large: win rate 0.5 as the best; small: logistic(-1) = 0.2689. Two models scale to 0 and 1, so weights decide."""
    tab, at = one_cluster(
        strength=np.array([[-1.0, 0.0]]),
        cost_usd=np.array([[0.001, 0.01]]),
        latency_s=np.array([[1.0, 5.0]]),
        standard_error=np.array([[0.3, 0.4]]),
    )
    found = select(tab, at, Weights(0.6, 0.3, 0.1), Limits(), {})
    large, small = found.candidates
    assert (large.model, large.performance, large.utility) == ("large", pytest.approx(0.5), pytest.approx(0.6 - 0.3 - 0.1))
    assert small.performance == pytest.approx(0.268941, abs=1e-6)
    slope = 0.268941 * (1 - 0.268941)
    assert small.performance_high - small.performance == pytest.approx(1.96 * slope * 0.5, abs=1e-5)  # 0.5 = hypot(0.3, 0.4)
    assert 0.5 < found.confidence < 1
    assert "large leads small by 0.200" in found.why
    assert select(tab, at, Weights(0.2, 0.6, 0.2), Limits(), {}).candidates[0].model == "small"


def test_with_no_eligible_model_it_says_which_limit_ruled_out_which() -> None:
    tab, at = one_cluster(cost_usd=np.array([[0.001, 0.01]]))
    found = select(tab, at, PROFILES["quality"], Limits(max_cost_usd=0.0001, deny=frozenset({"large"})), {})
    assert found.candidates == ()
    assert "small: expected cost 0.001 USD is above 0.0001;" in found.why
    assert "large: denied" in found.why


def test_equal_utilities_go_to_the_cheaper_model() -> None:
    tab, at = one_cluster(strength=np.zeros((1, 2)), cost_usd=np.array([[0.01, 0.001]]))
    assert select(tab, at, PROFILES["quality"], Limits(), {}).candidates[0].model == "large"


def test_one_eligible_model_is_certain() -> None:
    tab, at = one_cluster()
    found = select(tab, at, PROFILES["quality"], Limits(allow=frozenset({"small"})), {})
    assert found.confidence == 1.0
    assert "only eligible model" in found.why


def test_where_nothing_is_known_of_any_model_the_winner_is_not_certain() -> None:
    tab, at = one_cluster(strength=np.zeros((1, 2)), standard_error=np.full((1, 2), 3.0), cost_usd=np.array([[0.001, 0.01]]))
    found = select(tab, at, PROFILES["balanced"], Limits(), {})
    assert found.candidates[0].model == "small"
    assert 0.5 < found.confidence < 0.9
