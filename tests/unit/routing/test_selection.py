"""Selection keeps every limit, weighs in true units, and says why."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import table

from shared.routing.deciding.abilities import Abilities, Needs
from shared.routing.deciding.assignment import Assignment, assign
from shared.routing.deciding.rates import MOST_S, MOST_USD, PROFILES, Rates, Weights
from shared.routing.deciding.selection import (
    INTERVAL,
    Limits,
    Selection,
    choices,
    expectations,
    select,
)
from shared.routing.deciding.table import RoutingTable

MODELS = ("a", "b", "c", "d")
seeds = st.integers(0, 100_000)
rates = st.builds(Rates, st.floats(1e-6, MOST_USD), st.floats(1e-2, MOST_S))
unproven = st.none() | st.floats(0.15, 0.45)


def placed(seed: int, unproven_error: float | None = None) -> tuple[RoutingTable, Assignment]:
    """A table of five clusters, each reference with a success of its own, and a prompt between
    three of them."""
    base = np.random.default_rng(seed + 1).uniform(0.05, 0.95, 5)
    tab = replace(
        table(5, MODELS, seed=seed, top_p=3),
        reference_success=base.astype(np.float32),
        unproven_error=unproven_error,
    )
    return tab, assign(np.random.default_rng(seed).normal(size=(1, 4)).astype(np.float32), tab)[0]


@given(
    seeds,
    st.floats(0, 0.01),
    st.floats(0, 20),
    st.sets(st.sampled_from(MODELS)),
    st.none() | st.sets(st.sampled_from(MODELS)),
    st.integers(0, 40),
)
def test_no_limit_is_ever_broken(
    seed: int, cost: float, latency: float, deny: set[str], allow: set[str] | None, tokens: int
) -> None:
    tab, at = placed(seed)
    contexts = {"a": 10, "b": 20, "c": 30}
    limits = Limits(
        cost,
        latency,
        None if allow is None else frozenset(allow),
        frozenset(deny),
        Needs(prompt_tokens=tokens),
    )
    abilities = {model: Abilities(context_tokens=most) for model, most in contexts.items()}
    found = select(tab, at, PROFILES["balanced"], limits, abilities)
    for candidate in found.candidates:
        assert candidate.cost_usd <= cost
        assert candidate.latency_s <= latency
        assert candidate.model not in deny
        assert allow is None or candidate.model in allow
        assert tokens <= contexts.get(candidate.model, tokens)
    assert {c.model for c in found.candidates} | {m for m, _ in found.ruled_out} == set(MODELS)
    assert len(found.candidates) + len(found.ruled_out) == len(MODELS)


def without(tab: RoutingTable, models: frozenset[str]) -> RoutingTable:
    """The same table without some of its models; their figures are what they were."""
    kept = [i for i, m in enumerate(tab.models) if m not in models]
    base = (
        tab.success[:, tab.models.index(tab.reference_model)]
        if tab.reference_model not in models
        else None
    )
    assert base is not None
    arrays = {
        n: getattr(tab, n)[:, kept] for n in ("strength", "standard_error", "cost_usd", "latency_s")
    }
    return replace(tab, models=tuple(tab.models[i] for i in kept), **arrays)


@given(seeds, rates, unproven)
def test_candidates_come_by_utility_and_utility_is_made_of_its_parts(
    seed: int, wanted: Rates, error: float | None
) -> None:
    tab, at = placed(seed, error)
    found = select(tab, at, wanted, Limits(), {}).candidates
    utilities = [c.utility for c in found]
    assert np.allclose(utilities, sorted(utilities, reverse=True), atol=1e-11)
    for c in found:
        assert c.gain == c.success
        assert c.utility == pytest.approx(
            c.success - c.cost_penalty - c.latency_penalty - c.caution
        )
        assert c.cost_penalty == pytest.approx(c.cost_usd / wanted.usd_per_point)
        assert c.latency_penalty == pytest.approx(c.latency_s / wanted.s_per_point)
        assert 0 <= c.success_low <= c.success <= c.success_high <= 1
        assert c.caution >= 0
        assert error is not None or c.caution == 0


@given(seeds, rates, unproven, st.sampled_from(MODELS[:-1]))
def test_the_choice_between_two_models_never_depends_on_a_third(
    seed: int, wanted: Rates, error: float | None, gone: str
) -> None:
    tab, at = placed(seed, error)
    whole = [c.model for c in select(tab, at, wanted, Limits(), {}).candidates]
    denied = [
        c.model for c in select(tab, at, wanted, Limits(deny=frozenset({gone})), {}).candidates
    ]
    never = [
        c.model
        for c in select(without(tab, frozenset({gone})), at, wanted, Limits(), {}).candidates
    ]
    assert denied == never == [m for m in whole if m != gone]


@given(st.floats(1e-9, 1.0), st.floats(1e-9, 0.5), st.floats(0.01, 0.99), rates)
def test_a_vanishing_lead_never_outweighs_a_finite_cost(
    dearer: float, lead: float, success: float, wanted: Rates
) -> None:
    """However far the lead shrinks, from some point on the cheaper model is chosen; and no later
    than where the rate says."""
    better = min(0.999, success + lead)
    tab, at = one_cluster(
        strength=np.array([[np.log(success / (1 - success)) - np.log(better / (1 - better)), 0.0]]),
        reference_success=np.array([better]),
        cost_usd=np.array([[0.0, dearer]]),
        latency_s=np.zeros((1, 2)),
    )
    (small, large) = (float(v) for v in tab.success[0])
    chosen = select(tab, at, wanted, Limits(), {}).candidates[0].model
    gap = (large - small) * wanted.usd_per_point - float(tab.cost_usd[0, 1])
    if abs(gap) > 1e-9:
        assert chosen == ("large" if gap > 0 else "small")


@given(seeds, rates, unproven, st.floats(0.01, 100))
def test_costs_and_rates_scaled_together_change_nothing(
    seed: int, wanted: Rates, error: float | None, factor: float
) -> None:
    tab, at = placed(seed, error)
    scaled = replace(
        tab,
        cost_usd=tab.cost_usd * np.float32(factor),
        latency_s=tab.latency_s * np.float32(factor),
    )
    other = Rates(wanted.usd_per_point * factor, wanted.s_per_point * factor)
    one, two = select(tab, at, wanted, Limits(), {}), select(scaled, at, other, Limits(), {})
    assert [c.utility for c in one.candidates] == pytest.approx(
        [c.utility for c in two.candidates], abs=1e-5, rel=1e-4
    )


@given(seeds, rates, unproven, st.floats(1.0, 1e4))
def test_success_worth_less_usd_never_picks_a_more_expensive_model(
    seed: int, wanted: Rates, error: float | None, times: float
) -> None:
    tab, at = placed(seed, error)
    thrifty = Rates(wanted.usd_per_point / times, wanted.s_per_point)
    before, after = (select(tab, at, r, Limits(), {}).candidates[0] for r in (wanted, thrifty))
    assert after.cost_usd <= before.cost_usd + 1e-12


@given(seeds, rates, unproven, st.floats(1.0, 1e4))
def test_success_worth_fewer_seconds_never_picks_a_slower_model(
    seed: int, wanted: Rates, error: float | None, times: float
) -> None:
    tab, at = placed(seed, error)
    hurried = Rates(wanted.usd_per_point, wanted.s_per_point / times)
    before, after = (select(tab, at, r, Limits(), {}).candidates[0] for r in (wanted, hurried))
    assert after.latency_s <= before.latency_s + 1e-12


@given(seeds, st.floats(0, 0.9), st.floats(0.001, 0.1), st.booleans())
def test_more_weight_on_cost_never_picks_a_more_expensive_model(
    seed: int, cost: float, more: float, old: bool
) -> None:
    """The older form of preferences, on tables of both formats."""
    tab, at = placed(seed)
    tab = replace(tab, reference_success=None) if old else tab
    chosen = [
        select(tab, at, Weights(1 - c, c, 0).rates(), Limits(), {}).candidates[0]
        for c in (cost, min(1.0, cost + more))
    ]
    assert chosen[1].cost_usd <= chosen[0].cost_usd + 1e-12


@given(seeds, rates, unproven)
def test_many_prompts_at_once_are_chosen_for_as_one_is(
    seed: int, wanted: Rates, error: float | None
) -> None:
    tab, _ = placed(seed, error)
    points = np.random.default_rng(seed).normal(size=(12, 4)).astype(np.float32)
    tokens = np.random.default_rng(seed).uniform(1, 5000, 12)
    rich = replace(
        tab, usd_per_token=np.full(4, 2e-6, np.float32), prompt_tokens=np.full(5, 300, np.float32)
    )
    for t in (tab, rich):
        together = choices(expectations(t, points, tokens), wanted)
        alone = [
            select(t, at, wanted, Limits(), {}, tokens=float(n)).candidates[0].model
            for at, n in zip(assign(points, t), tokens, strict=True)
        ]
        assert [t.models[i] for i in together] == alone


@given(seeds)
def test_renaming_the_models_renames_the_choice_and_nothing_else(seed: int) -> None:
    tab, at = placed(seed)
    renamed = replace(
        tab,
        models=tuple(f"other-{m}" for m in MODELS),
        reference_model=f"other-{tab.reference_model}",
    )
    one, other = (select(t, at, PROFILES["balanced"], Limits(), {}) for t in (tab, renamed))
    assert [f"other-{c.model}" for c in one.candidates] == [c.model for c in other.candidates]


def one_cluster(**arrays: np.ndarray) -> tuple[RoutingTable, Assignment]:
    base = arrays.pop("reference_success", np.array([0.5]))
    tab = replace(
        table(1, ("small", "large"), centroids=np.zeros((1, 4)), **arrays),
        reference_success=base.astype(np.float32),
    )
    return tab, assign(np.zeros((1, 4), np.float32), tab)[0]


def choose(
    success: tuple[float, float], cost: tuple[float, float], profile: str, **more: np.ndarray
) -> Selection:
    """Between two models of known success and cost, in no hurry."""
    odds = np.log(np.array([success]) / (1 - np.array([success])))
    tab, at = one_cluster(
        strength=odds - odds[:, -1:],
        reference_success=np.array([success[1]]),
        cost_usd=np.array([cost]),
        latency_s=np.ones((1, 2)),
        **more,
    )
    return select(tab, at, PROFILES[profile], Limits(), {})


@pytest.mark.parametrize(
    ("success", "cost", "profile", "chosen"),
    [
        ((0.80, 0.81), (0.0002, 0.0100), "balanced", "small"),
        ((0.80, 0.81), (0.0002, 0.0100), "economy", "small"),
        ((0.499, 0.500), (0.00001, 0.01), "balanced", "small"),
        ((0.499, 0.500), (0.00001, 0.01), "fast", "small"),
        ((0.018, 0.500), (0.0099, 0.0100), "economy", "large"),
        ((0.40, 0.60), (0.001, 0.002), "economy", "large"),
        ((0.95, 0.99), (0.001, 0.002), "balanced", "large"),
    ],
)
def test_what_a_person_would_choose(
    success: tuple[float, float], cost: tuple[float, float], profile: str, chosen: str
) -> None:
    """The cases that scaling over the models got wrong (FIRST-HOUR 1), and some that are plain."""
    assert choose(success, cost, profile).candidates[0].model == chosen


def test_a_worked_example_by_hand() -> None:
    """large: 0.85; small: 0.82. At 0.10 USD a point the 0.03 are worth 0.003 USD, and 0.0131 more
    are asked for them."""
    found = choose(
        (0.82, 0.85), (0.0009, 0.0140), "balanced", standard_error=np.array([[0.1, 0.2]])
    )
    small, large = found.candidates
    assert (small.model, small.success, small.cost_penalty) == (
        "small",
        pytest.approx(0.82, abs=1e-6),
        pytest.approx(0.009),
    )
    assert small.utility == pytest.approx(0.82 - 0.009 - 1 / 120, abs=1e-6)
    assert large.utility == pytest.approx(0.85 - 0.14 - 1 / 120, abs=1e-6)
    assert small.success_high - small.success == pytest.approx(
        INTERVAL * 0.82 * 0.18 * 0.1, abs=1e-5
    )
    assert 0.5 < found.confidence <= 1
    assert found.why == (
        "small for “task 0”: 0.82 expected success for 0.0009 USD; large would succeed 0.03 more "
        "often for 0.0140 USD, "
        "0.44 USD per point, more than the 0.10 that a point is worth here"
    )


def test_the_reason_names_what_the_cheaper_model_would_save() -> None:
    why = choose((0.60, 0.85), (0.0010, 0.0050), "balanced").why
    assert (
        "small would succeed 0.25 less often for 0.0010 USD, which saves 0.016 USD per point, less "
        "than the 0.10" in why
    )


def test_the_reason_names_time_where_time_decides() -> None:
    tab, at = one_cluster(
        strength=np.array([[-0.2, 0.0]]),
        cost_usd=np.array([[0.001, 0.001]]),
        latency_s=np.array([[1.0, 9.0]]),
    )
    why = select(tab, at, PROFILES["fast"], Limits(), {}).why
    assert (
        "large would succeed 0.05 more often in 9.0 s, 161 s per point, more than the 20 that a "
        "point is worth here" in why
    )


def test_an_unproven_model_is_taken_at_the_low_end_of_its_interval() -> None:
    arrays = {
        "strength": np.array([[0.5, 0.0]]),
        "standard_error": np.array([[2.0, 0.1]]),
        "cost_usd": np.array([[0.001, 0.002]]),
    }
    tab, at = one_cluster(**arrays)
    careful = replace(tab, unproven_error=1.5)
    assert select(tab, at, PROFILES["quality"], Limits(), {}).candidates[0].model == "small"
    large, small = select(careful, at, PROFILES["quality"], Limits(), {}).candidates
    assert (large.model, small.unproven, large.unproven) == ("large", True, False)
    assert small.success - small.caution == pytest.approx(
        1 / (1 + np.exp(-(0.5 - INTERVAL * 2.0))), abs=1e-5
    )
    assert (
        "too little is known yet to let small win"
        in select(careful, at, PROFILES["quality"], Limits(), {}).why
    )
    cheap = replace(careful, cost_usd=np.array([[0.00001, 0.02]], np.float32))
    assert select(cheap, at, PROFILES["economy"], Limits(), {}).candidates[0].model == "small", (
        "what costs so little need not be proven"
    )


def test_a_longer_prompt_costs_more_where_the_table_says_by_how_much() -> None:
    tab, at = one_cluster(cost_usd=np.array([[0.001, 0.002]]))
    rich = replace(
        tab,
        usd_per_token=np.array([1e-6, 5e-6], np.float32),
        prompt_tokens=np.array([100], np.float32),
    )
    for tokens, small, large in ((100, 0.001, 0.002), (1100, 0.002, 0.007), (0, 0.0009, 0.0015)):
        costs = {
            c.model: c.cost_usd
            for c in select(rich, at, PROFILES["quality"], Limits(), {}, tokens=tokens).candidates
        }
        assert costs == {
            "small": pytest.approx(small, rel=1e-5),
            "large": pytest.approx(large, rel=1e-5),
        }


def test_with_no_eligible_model_it_says_which_limit_ruled_out_which() -> None:
    tab, at = one_cluster(cost_usd=np.array([[0.001, 0.01]]))
    found = select(
        tab, at, PROFILES["quality"], Limits(max_cost_usd=0.0001, deny=frozenset({"large"})), {}
    )
    assert found.candidates == ()
    assert "small: expected cost 0.001 USD is above 0.0001;" in found.why
    assert "large: denied" in found.why


def test_equal_utilities_go_to_the_cheaper_model() -> None:
    tab, at = one_cluster(
        strength=np.zeros((1, 2)), cost_usd=np.array([[0.01, 0.01]]), latency_s=np.ones((1, 2))
    )
    assert select(tab, at, PROFILES["quality"], Limits(), {}).candidates[0].model == "small", (
        "the table's order, where all is equal"
    )
    cheaper = replace(tab, cost_usd=np.array([[0.01, 0.01 - 1e-15]]).astype(np.float32))
    assert select(cheaper, at, PROFILES["quality"], Limits(), {}).candidates[0].cost_usd <= 0.01


def test_one_eligible_model_is_certain() -> None:
    tab, at = one_cluster()
    found = select(tab, at, PROFILES["quality"], Limits(allow=frozenset({"small"})), {})
    assert found.confidence == 1.0
    assert "only eligible model" in found.why


def test_where_nothing_is_known_of_any_model_the_winner_is_not_certain() -> None:
    tab, at = one_cluster(
        strength=np.zeros((1, 2)),
        standard_error=np.full((1, 2), 3.0),
        cost_usd=np.array([[0.001, 0.01]]),
        latency_s=np.ones((1, 2)),
    )
    for t in (tab, replace(tab, unproven_error=1.5)):
        found = select(t, at, PROFILES["balanced"], Limits(), {})
        assert found.candidates[0].model == "small"
        assert 0.5 < found.confidence < 0.9


def test_weights_stand_for_rates_and_back() -> None:
    """Decided by weights, a table of format 1 gets the very weights that were sent."""
    from shared.routing.deciding.rates import OLD_PROFILES, weights_of

    for name, own in PROFILES.items():
        assert weights_of(own) == OLD_PROFILES[name]
    for weights in (
        Weights(0.6, 0.25, 0.15),
        Weights(1, 0, 0),
        Weights(0.2, 0.8, 0),
        Weights(0, 1, 0),
        Weights(0, 1, 3),
        Weights(2, 2, 2),
    ):
        back, given_ = weights_of(weights.rates()), weights.normalised()
        assert (back.performance, back.cost, back.latency) == pytest.approx(
            (given_.performance, given_.cost, given_.latency), abs=2e-4
        )
    assert Weights(1, 1, 0).rates() == Rates(0.04, MOST_S)
    assert Weights(1, 0, 0).rates() == Rates(MOST_USD, MOST_S)
