"""Has a model changed? Then earlier evidence says nothing of it now.

For each model in each cluster, its comparisons in the order of time are cut in two at every place.
The test asks whether the strength is the same before and after. It is the score test for a change
at an unknown time (Andrews 1993), which needs only one fit. Where it is not the same, comparisons
before the change no longer count for that model there. So a drop in quality is found after a dozen
comparisons, even behind hundreds of older ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

SURE = 18.0
"""The statistic from which a change is believed. The test runs repeatedly, for each model in each
cluster. Over a day of stable traffic (25 clusters, 7 models, 10,000 comparisons, 100 tests) 14
gives six false alarms, and 18 one every other day. A real change is found nearly as soon (`make
bench-learning`)."""
FEWEST = 10
"""Comparisons of a model in a cluster, on either side of a change."""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model that has changed in one cluster, and the evidence."""

    cluster: int
    model: int
    at: float
    """When, in the unit of the comparisons' times."""
    statistic: float
    """Of the score test; more than `SURE`."""
    before: int
    """Comparisons before the change, and since."""
    since: int
    won_before: float
    """The fraction of these that the model has won, 0 to 1."""
    won_since: float


def changes(
    cluster: Ints,
    first: Ints,
    second: Ints,
    at: Floats,
    score: Floats,
    information: Floats,
    won: Floats,
    models: int,
) -> list[ModelChange]:
    """The clearest change in each cluster that has one.

    One a cluster, since a model that falls makes those it was compared with seem to rise: take it
    into account, and ask again.

    n comparisons, all arrays (n,): `score` is the derivative of the log-likelihood by the first
    model's strength; by the second's it is the negative. `information` is minus its second
    derivative. Both are at the fitted strengths. `won` is the probability that the first was
    better."""
    rows = np.tile(np.arange(len(cluster)), 2)
    group = np.concatenate([cluster * models + first, cluster * models + second])
    value = np.concatenate([score, -score])
    share = np.concatenate([won, 1 - won])
    order = np.lexsort((rows, at[rows], group))
    rows = rows[order]
    group = group[order]
    value = value[order]
    share = share[order]
    if not len(rows):
        return []
    weight = information[rows]
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[begins, len(group)])
    which = np.repeat(np.arange(len(begins)), sizes)
    before_score = _running(value, begins, sizes)
    before_weight = _running(weight, begins, sizes)
    all_score = np.add.reduceat(value, begins)[which]
    all_weight = np.add.reduceat(weight, begins)[which]
    place = np.arange(len(group)) - begins[which]
    open_ = (
        (place >= FEWEST)
        & (sizes[which] - place >= FEWEST)
        & (at[rows] > at[np.r_[rows[:1], rows[:-1]]])
    )
    after_weight = all_weight - before_weight
    lead = (all_score - before_score) - all_score * after_weight / all_weight
    statistic = np.where(
        open_, lead**2 * all_weight / np.maximum(after_weight * before_weight, 1e-12), 0.0
    )
    best = np.maximum.reduceat(statistic, begins)
    clear: dict[int, int] = {}
    for g in np.flatnonzero(best > SURE).tolist():
        home = int(group[begins[g]]) // models
        if home not in clear or best[g] > best[clear[home]]:
            clear[home] = g
    changed = []
    for g in clear.values():
        end = begins[g] + sizes[g]
        turn = begins[g] + int(statistic[begins[g] : end].argmax())
        cluster_, model = divmod(int(group[turn]), models)
        changed.append(
            ModelChange(
                cluster_,
                model,
                float(at[rows[turn]]),
                float(statistic[turn]),
                int(turn - begins[g]),
                int(end - turn),
                float(share[begins[g] : turn].mean()),
                float(share[turn:end].mean()),
            )
        )
    return changed


def _running(values: Floats, begins: Ints, sizes: Ints) -> Floats:
    """(n,): the sum of what stands before each value in its group."""
    total = np.cumsum(values) - values
    sums: Floats = total - np.repeat(total[begins], sizes)
    return sums
