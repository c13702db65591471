"""Expected cost and latency of a model's answer in a cluster, from what was seen, with the
catalogue's figures as prior.

Cost is a mean, since bills add up; latency is a median, since one stalled call says nothing of the
next. Each cluster's figure is shrunk toward the model's over all clusters, and that toward the
prior.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

PRIOR_COUNT = 5.0
"""Answers that the prior, and then the mean over clusters, count for."""


def expectations(
    cluster: Ints,
    model: Ints,
    values: Floats,
    prior: Floats,
    clusters: int,
    *,
    median: bool = False,
) -> Floats:
    """(clusters, models): expected value of n observations `values` (n,) of `model` (n,) in
    `cluster` (n,); `prior` is (models,)."""
    middle: Callable[[Floats], np.floating] = np.median if median else np.mean
    expected = np.tile(prior.astype(np.float64), (clusters, 1))
    for m in range(len(prior)):
        mine = model == m
        count = int(mine.sum())
        if not count:
            continue
        overall = (PRIOR_COUNT * prior[m] + count * float(middle(values[mine]))) / (
            PRIOR_COUNT + count
        )
        expected[:, m] = overall
        order = np.argsort(cluster[mine], kind="stable")
        where = cluster[mine][order]
        here = values[mine][order]
        names, starts = np.unique(where, return_index=True)
        for c, part in zip(names, np.split(here, starts[1:]), strict=True):
            expected[c, m] = (PRIOR_COUNT * overall + len(part) * float(middle(part))) / (
                PRIOR_COUNT + len(part)
            )
    return expected
