"""Which cluster of a new table is which of the old, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.table import Array

Labels = npt.NDArray[np.intp]

MOSTLY = 0.5
"""A cluster comes from, or went into, another if more than this fraction of its prompts did."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """`ids` of the new clusters, and what happened, in words. Ids of clusters that are gone are
    never used again."""

    ids: tuple[str, ...]
    events: tuple[str, ...]
    kept: tuple[int, ...]
    """For each new cluster the old one it continues (its position), -1 for none."""


def pair(old: Array, new: Array, reach: float) -> list[int]:
    """For each centroid of `new` (n, dim) the one of `old` (m, dim) that it continues, or -1.

    The pairs whose distances sum to the least (Kuhn 1955, by scipy), of those nearer than `reach`.
    """
    from scipy.optimize import linear_sum_assignment

    squared = (new**2).sum(axis=1)[:, None] + (old**2).sum(axis=1) - 2 * new @ old.T
    distances = np.sqrt(np.maximum(squared, 0.0))
    rows, columns = linear_sum_assignment(np.minimum(distances, 2 * reach))
    partners = [-1] * len(new)
    for i, j in zip(rows, columns, strict=True):
        if distances[i, j] <= reach:
            partners[i] = int(j)
    return partners


def lineage(
    old_ids: Sequence[str],
    used: Sequence[str],
    inherited: Sequence[int],
    old_labels: Labels,
    new_labels: Labels,
) -> Lineage:
    """Name the new clusters and what became of the old.

    `old_labels` and `new_labels` (n,) say where the same prompts lay and lie; `used` are all ids
    there ever were.
    """
    following = 1 + max((int(i[1:]) for i in {*used, *old_ids} if i[1:].isdigit()), default=-1)
    width = max([2, *(len(i) - 1 for i in old_ids)])
    ids: list[str] = []
    events: list[str] = []
    for new, j in enumerate(inherited):
        if j >= 0:
            ids.append(old_ids[j])
            continue
        ids.append(f"c{following:0{width}d}")
        following += 1
        origin = _mostly(old_labels[new_labels == new])
        events.append(
            f"{ids[-1]} split from {old_ids[origin]}" if origin >= 0 else f"{ids[-1]} born"
        )
    for j, name in enumerate(old_ids):
        if j in inherited:
            continue
        heir = _mostly(new_labels[old_labels == j])
        events.append(f"{name} merged into {ids[heir]}" if heir >= 0 else f"{name} retired")
    return Lineage(tuple(ids), tuple(events), tuple(inherited))


def _mostly(labels: Labels) -> int:
    """The label that most of them share; -1 if none does. Labels below 0 stand for no cluster."""
    if not len(labels):
        return -1
    values, counts = np.unique(labels, return_counts=True)
    best = int(counts.argmax())
    return int(values[best]) if counts[best] > MOSTLY * len(labels) and values[best] >= 0 else -1
