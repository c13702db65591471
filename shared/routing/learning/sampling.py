"""Which comparison teaches most: the one whose result may change who is best, and is open.

A pair's worth is its expected improvement (Jones, Schonlau and Welch 1998): the probability that
one of the two beats the best, times the difference. It comes from the table's strengths and
standard errors, and is divided by what the comparison costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.table import RoutingTable


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models to be compared, and what that is worth: logits of expected improvement a
    comparison."""

    first: str
    second: str
    worth: float


def pairs(
    table: RoutingTable,
    assignment: Assignment,
    answered: str,
    eligible: Sequence[str],
    costs: Mapping[str, float],
) -> list[Pair]:
    """Pairs worth comparing on a prompt that `answered` has answered, best first.

    One side is the model that answered or the reference model, so that all comparisons hang
    together. `costs` maps a model to what its answer is expected to cost, in USD: an expensive
    challenger must promise more."""
    w = assignment.weights.astype(np.float64)
    strength = w @ table.strength[assignment.clusters].astype(np.float64)
    error = np.sqrt((w**2) @ table.standard_error[assignment.clusters].astype(np.float64) ** 2)
    position = {model: i for i, model in enumerate(table.models)}
    best = max(
        (m for m in eligible if m in position), key=lambda m: strength[position[m]], default=None
    )
    if best is None:
        return []
    candidates: dict[tuple[str, str], Pair] = {}
    middle = float(np.median([costs.get(m, 0.0) for m in eligible])) or 1e-6
    for side in dict.fromkeys((answered, table.reference_model)):
        for other in eligible:
            if other == side or side not in position or other not in position:
                continue
            improvement = max(
                _improvement(
                    strength[position[m]] - strength[position[best]],
                    math.hypot(error[position[m]], error[position[best]]),
                )
                for m in (side, other)
            )
            new_calls = [m for m in (side, other) if m != answered]
            price = sum(costs.get(m, middle) for m in new_calls) / middle
            first, second = sorted((side, other))
            pair = Pair(first, second, improvement / (0.25 + price))
            if (first, second) not in candidates or candidates[first, second].worth < pair.worth:
                candidates[first, second] = pair
    return sorted(candidates.values(), key=lambda p: (-p.worth, p.first, p.second))


def _improvement(lead: float, error: float) -> float:
    """E[max(0, x)] for x normal with mean `lead` and standard deviation `error`."""
    if error <= 0:
        return max(0.0, lead)
    z = lead / error
    return lead * 0.5 * (1 + math.erf(z / math.sqrt(2))) + error * math.exp(-z * z / 2) / math.sqrt(
        2 * math.pi
    )
