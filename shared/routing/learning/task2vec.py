"""A signature of each task: the Fisher information of a probe on it (Task2Vec, Achille et al.,
arXiv 1902.03545).

The probe predicts from a prompt's embedding which models succeed. Which of the embedding's
directions matter for that, and how much, is the diagonal of its Fisher information: the mean of p(1
- p) x² over the task's prompts and models. Two tasks with like signatures ask for like
distinctions, even where their clusters lie in spaces that can't be compared: after another
projection was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.table import Array, RoutingTable
from shared.routing.errors import TableInvalid

RIDGE = 1.0
ALIKE = 0.02
"""Signature distance within which tasks are called alike."""


def signatures(
    vectors: Array, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], k: int
) -> Array:
    """(k, dimension) float32, each of length 1; from embeddings (n, dimension), scores (n, models)
    and clusters `labels` (n,)."""
    overall = np.nanmean(scores, axis=0)
    means = np.zeros((k, vectors.shape[1]), np.float32)
    for c in range(k):
        members = labels == c
        x = vectors[members].astype(np.float64)
        if not len(x):
            means[c] = 1.0
            continue
        y = np.where(np.isfinite(scores[members]), scores[members], overall)
        middle = x.mean(axis=0)
        rate = y.mean(axis=0)
        near = x - middle
        dual = np.linalg.solve(
            near @ near.T + RIDGE * np.eye(len(x)), y - rate
        )  # ridge regression, solved over prompts
        p = np.clip(rate + near @ (near.T @ dual), 0.02, 0.98)
        means[c] = (p * (1.0 - p)).mean(axis=1) @ x**2 / len(x)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means


def distances(a: Array, b: Array) -> npt.NDArray[np.float64]:
    """(len(a), len(b)): Task2Vec's symmetric distance, 1 less the cosine of the signatures after
    each pair is scaled by its sum."""
    total = np.maximum(
        a[:, None].astype(np.float64) + b[None], 1e-12
    )  # a direction may matter to neither
    left = a[:, None] / total
    right = b[None] / total
    cosine = (left * right).sum(axis=2) / np.sqrt((left**2).sum(axis=2) * (right**2).sum(axis=2))
    apart: npt.NDArray[np.float64] = 1.0 - cosine
    return apart


def similar(table: RoutingTable, cluster: int, count: int = 3) -> list[tuple[int, float]]:
    """The clusters most like `cluster`, nearest first, with their distances; none where the table
    has no signatures."""
    if table.signatures is None:
        return []
    apart = distances(table.signatures[[cluster]], table.signatures)[0]
    order = [int(i) for i in np.argsort(apart, kind="stable") if i != cluster]
    return [(i, float(apart[i])) for i in order[:count]]


def corresponding(old: RoutingTable, new: RoutingTable, within: float = ALIKE) -> list[int]:
    """For each cluster of `new` the one of `old` that poses the same task by its signature, or -1;
    each at most once.

    The pairs whose distances sum to the least (Kuhn 1955, by scipy). Raises `TableInvalid` if a
    table has no signatures, or if the two come from different encoders.
    """
    from scipy.optimize import linear_sum_assignment

    if old.signatures is None or new.signatures is None or old.encoder != new.encoder:
        raise TableInvalid(
            "signatures can be compared between tables that have them, of one encoder; `table "
            "build` makes them"
        )
    apart = distances(new.signatures, old.signatures)
    partners = [-1] * len(apart)
    pairs: Sequence[tuple[int, int]] = list(
        zip(*linear_sum_assignment(np.minimum(apart, 2.0 * within)), strict=True)
    )
    for i, j in pairs:
        if apart[i, j] <= within:
            partners[i] = int(j)
    return partners
