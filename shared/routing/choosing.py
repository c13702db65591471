"""The best of several models by their utilities. Everything that chooses does so here, so that ties end alike everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

DIGITS = 12
"""Decimal places to which utilities are compared: what differs less is equal, and the cheaper model wins."""


def best_of(utility: Vector, cost: Vector) -> npt.NDArray[np.intp]:
    """(n,): the model of the highest utility, of those that are equal the cheapest, of those the first; both (n, models)."""
    utility = np.round(utility, DIGITS)
    ties = utility == utility.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.intp] = np.where(ties, cost, np.inf).argmin(axis=-1)
    return found
