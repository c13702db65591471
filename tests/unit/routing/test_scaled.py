"""Tables of format 1 are decided as they were: by the score of Avengers-Pro on win rates."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support import table

from shared.routing.deciding.assignment import Assignment, assign
from shared.routing.deciding.rates import OLD_PROFILES, PROFILES, Weights
from shared.routing.deciding.selection import Limits, select
from shared.routing.deciding.table import RoutingTable

MODELS = ("a", "b", "c", "d")


def placed(seed: int) -> tuple[RoutingTable, Assignment]:
    tab = table(5, MODELS, seed=seed, top_p=3, reference_success=None)
    return tab, assign(np.random.default_rng(seed).normal(size=(1, 4)).astype(np.float32), tab)[0]


def published(tab: RoutingTable, at: Assignment, a: Weights) -> np.ndarray:
    """Utilities of all models, as the version before had them."""
    w = at.weights.astype(float)
    strength = tab.strength[at.clusters].astype(float)
    performance = w @ (1 / (1 + np.exp(strength.max(axis=1, keepdims=True) - strength)))
    parts = (
        performance,
        w @ tab.cost_usd[at.clusters].astype(float),
        w @ tab.latency_s[at.clusters].astype(float),
    )
    scale = lambda v: (v - v.min()) / np.ptp(v)  # noqa: E731
    gain, cost, latency = (scale(part) for part in parts)
    return a.performance * gain - a.cost * cost - a.latency * latency


@given(st.integers(0, 100_000), st.sampled_from(sorted(PROFILES)))
def test_profiles_choose_what_they_chose(seed: int, profile: str) -> None:
    tab, at = placed(seed)
    found = select(tab, at, PROFILES[profile], Limits(), {}).candidates
    wanted = published(tab, at, OLD_PROFILES[profile])
    np.testing.assert_allclose([c.utility for c in found], np.sort(wanted)[::-1], atol=1e-9)
    assert found[0].model == MODELS[int(wanted.argmax())]


@given(st.integers(0, 100_000), st.floats(0.01, 0.99))
def test_stated_weights_are_the_score_of_avengers_pro(seed: int, alpha: float) -> None:
    """arXiv 2508.12631, section 3: alpha * normalised performance + (1 - alpha) * (1 - normalised
    cost)."""
    tab, at = placed(seed)
    wanted = published(tab, at, Weights(alpha, 1 - alpha, 0))
    found = {
        c.model: c.utility
        for c in select(tab, at, Weights(alpha, 1 - alpha, 0).rates(), Limits(), {}).candidates
    }
    np.testing.assert_allclose([found[m] for m in MODELS], wanted, atol=1e-9)


def test_an_unproven_model_stands_behind_the_proven_unless_it_would_win_with_the_worst_success() -> (
    None
):
    arrays = {
        "strength": np.array([[1.0, 0.0]]),
        "standard_error": np.array([[2.0, 0.1]]),
        "cost_usd": np.array([[0.001, 0.01]]),
    }
    tab = replace(
        table(1, ("small", "large"), centroids=np.zeros((1, 4)), reference_success=None, **arrays),
        unproven_error=1.5,
    )
    at = assign(np.zeros((1, 4), np.float32), tab)[0]
    held = select(tab, at, PROFILES["quality"], Limits(), {})
    assert [c.model for c in held.candidates] == ["large", "small"]
    assert held.candidates[1].unproven
    assert (
        select(tab, at, Weights(0.1, 0.9, 0).rates(), Limits(), {}).candidates[0].model == "small"
    )


def test_equal_tables_of_format_1_keep_their_bytes() -> None:
    """The digest of a table that this version did not make is the one that it was published
    under."""
    tab = table(3, reference_success=None)
    assert b'"format":1' in tab.to_bytes()
    assert RoutingTable.from_bytes(tab.to_bytes()).digest == tab.digest
