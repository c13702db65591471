"""The score of Avengers-Pro (arXiv 2508.12631): performance, cost and latency, each scaled to 0..1
over the eligible models.

Tables of format 1 are decided by it until they are built again, and `pointsman evaluate` compares
with it. Scaling throws the size of a gain away, so nothing else may use it
(docs/decisions/0010-true-units.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.rates import Weights

Vector = npt.NDArray[np.float64]


def terms(
    performance: Vector, cost: Vector, latency: Vector, weights: Weights
) -> tuple[Vector, Vector, Vector]:
    """Gain, cost penalty and latency penalty, each (…, models): utility is the first less the
    others."""
    a = weights.normalised()
    return a.performance * scaled(performance), a.cost * scaled(cost), a.latency * scaled(latency)


def scaled(values: Vector) -> Vector:
    """Scale to 0..1 over the models, along the last axis; all 0 where they are equal."""
    low = values.min(axis=-1, keepdims=True)
    spread = np.ptp(values, axis=-1, keepdims=True)
    return np.where(spread > 0, (values - low) / np.where(spread > 0, spread, 1.0), 0.0)


def win_rates(strength: Vector, error: Vector) -> tuple[Vector, Vector]:
    """Win rates against the strongest along the last axis, and their variances; the strongest
    itself has 0.5 and no variance."""
    best = strength.argmax(axis=-1)[..., None]
    rate = 1.0 / (1.0 + np.exp(np.take_along_axis(strength, best, axis=-1) - strength))
    variance = error**2 + np.take_along_axis(error, best, axis=-1) ** 2
    np.put_along_axis(variance, best, 0.0, axis=-1)
    return rate, (rate * (1.0 - rate)) ** 2 * variance


def held_back(
    unproven: npt.NDArray[np.bool_], utility: Vector, gain: Vector
) -> npt.NDArray[np.bool_]:
    """Mask of unproven models (…, models) that stay behind the proven ones.

    A model that would be preferred even with the worst performance, as cheap models are where cost
    is what matters, is not held back. Where all are unproven, none is.
    """
    unproven = unproven & ~unproven.all(axis=-1, keepdims=True)
    best = np.where(unproven, -np.inf, utility).max(axis=-1, keepdims=True)
    held: npt.NDArray[np.bool_] = unproven & (utility - gain <= best)
    return held
