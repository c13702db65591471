"""What is learnt from comparisons beyond clusters: planted directions are found, and noise is left
alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.routing.deciding.form import SIZE
from shared.routing.learning.bradley_terry import Comparisons
from shared.routing.learning.fitting import fit_estimator
from shared.routing.learning.regressing import FEWEST, aligned, fit_votes_estimator

DIM, MODELS = 10, 3


def compared(
    count: int, turn: float, seed: int = 0
) -> tuple[np.ndarray, Comparisons, np.ndarray, np.ndarray]:
    """Random pairs on random prompts; model 1 gains `turn` logits along the first direction, and
    model 2 loses them."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.array([0.0, 0.5, -0.3]) + turn * vectors[:, :1] * np.array([0.0, 1.0, -1.0])
    first = rng.integers(0, MODELS, count)
    second = (first + rng.integers(1, MODELS, count)) % MODELS
    rows = np.arange(count)
    won = rng.random(count) < 1 / (1 + np.exp(strength[rows, second] - strength[rows, first]))
    data = Comparisons(np.zeros(count, np.intp), first, second, np.ones(count), rows)
    features = np.hstack([vectors, rng.random((count, SIZE))]).astype(np.float32)
    return features, data, np.where(won, 5.0, -5.0), strength


def test_a_direction_on_which_models_differ_is_found() -> None:
    features, data, ratio, strength = compared(3000, 4.0)
    found = fit_votes_estimator(features, data, ratio, 1, MODELS, 0)
    assert found is not None
    chance, spread = found(features)
    true = 1 / (1 + np.exp(strength[:, [0]] - strength))
    assert chance[:, 0] == pytest.approx(0.5), "the reference against itself"
    assert np.abs(chance - true)[:, 1:].mean() < 0.06
    assert np.corrcoef(chance[:, 1], true[:, 1])[0, 1] > 0.93
    assert (spread[:, 1:] > 0).all()


def test_where_prompts_tell_nothing_the_clusters_are_left_to_decide() -> None:
    features, data, ratio, _ = compared(2000, 0.0)
    assert fit_votes_estimator(features, data, ratio, 1, MODELS, 0) is None
    features, data, ratio, _ = compared(FEWEST - 1, 4.0)
    assert fit_votes_estimator(features, data, ratio, 1, MODELS, 0) is None


def test_the_levels_are_those_of_a_logistic_regression() -> None:
    """Without slopes it is Bradley-Terry with a Gaussian prior, which scikit-learn fits as well."""
    from sklearn.linear_model import LogisticRegression

    from shared.routing.learning.bradley_terry import OVERALL_SPREAD
    from shared.routing.learning.regressing import _climb

    _, data, ratio, _ = compared(800, 0.0)
    level, slope = _climb(np.zeros((800, 2)), data, np.sign(ratio) * 50.0, MODELS, 1.0)
    side = np.zeros((800, MODELS))
    side[np.arange(800), data.first], side[np.arange(800), data.second] = 1.0, -1.0
    other = LogisticRegression(C=OVERALL_SPREAD**2, fit_intercept=False, tol=1e-8).fit(
        side, ratio > 0
    )
    np.testing.assert_allclose(level, other.coef_[0], atol=1e-3)
    assert (slope == 0).all()


def test_an_estimator_is_put_in_the_order_of_other_models() -> None:
    rng = np.random.default_rng(0)
    features = np.hstack([rng.normal(size=(60, DIM)), rng.random((60, SIZE))]).astype(np.float32)
    known = fit_estimator(features, rng.random((60, MODELS)).round())
    turned = aligned(known, ("a", "b", "c"), ("c", "a", "b"))
    assert turned is not None
    np.testing.assert_allclose(turned(features)[0], known(features)[0][:, [2, 0, 1]], atol=1e-6)
    assert aligned(known, ("a", "b", "c"), ("c", "new")) is None
    assert aligned(replace(known, share=0.5), ("a", "b", "c"), ("c", "b", "a")).share == 0.5
