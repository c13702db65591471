"""The best of several models by their utilities. Everything that chooses does so here, so that ties
end alike everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.rates import MOST_USD

Vector = npt.NDArray[np.float64]

LEAST_USD = 1e-7
"""USD a point of success is worth to somebody who takes the cheapest model whatever it does."""
DIGITS = 12
"""Decimal places to which utilities are compared: what differs less is equal, and the cheaper model
wins."""


def best_of(utility: Vector, cost: Vector) -> npt.NDArray[np.intp]:
    """(n,): the model of the highest utility, of those that are equal the cheapest, of those the
    first; both (n, models)."""
    utility = np.round(utility, DIGITS)
    ties = utility == utility.max(axis=-1, keepdims=True)
    best: npt.NDArray[np.intp] = np.where(ties, cost, np.inf).argmin(axis=-1)
    return best


def breakpoints(success: Vector, cost: Vector, count: int) -> Vector:
    """(count,), rising: USD a point is worth, so that between two neighbours about equally many
    prompts change their model.

    Of success and cost (n, models). A prompt goes from one model to another where a point is worth
    their difference in cost over that in success. Evenly spaced rates would miss it where a router
    is rarely sure, so that all prompts change at nearly the same rate.
    """
    points = []
    for one in range(success.shape[1]):
        for other in range(one + 1, success.shape[1]):
            gain = success[:, other] - success[:, one]
            paid = cost[:, other] - cost[:, one]
            with np.errstate(divide="ignore", invalid="ignore"):
                rates = paid / gain
            points.append(rates[np.isfinite(rates) & (rates > LEAST_USD) & (rates < MOST_USD)])
    edges = np.concatenate(points) if points else np.zeros(0)
    if not len(edges):
        return np.geomspace(LEAST_USD, MOST_USD, count)
    inner = np.exp(np.quantile(np.log(edges), np.linspace(0.0, 1.0, count - 2)))
    return np.concatenate([[LEAST_USD], np.minimum(inner * (1.0 + 1e-9), MOST_USD), [MOST_USD]])
