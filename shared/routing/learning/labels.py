"""Names of clusters: tasks of the library, or else the beginning of what a cluster stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared.catalog.tasks.points import Points
from shared.routing.deciding.table import Array, RoutingTable
from shared.routing.learning.clustering import nearest_of, sums

Members = npt.NDArray[np.intp]

NAMED_FROM = 0.5
"""Cosine from which a cluster is called by the nearest task of the library."""
STAYS_WITHIN = 0.05
"""A cluster keeps its name while that task is at most so much further, in cosine, than the
nearest."""
CANDIDATES = 5
"""Tasks that a cluster may be called by, the nearest first, as others have the nearer ones."""


def label(text: str, length: int = 80) -> str:
    """A task description as a cluster's label: one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + "…"


TYPICAL = 10
"""A cluster's label is the shortest of the descriptions nearest to its centroid, this many."""


def typical_label(texts: Sequence[str], members: Members, distances: Array) -> str:
    """The label of a cluster that no task of the library fits: of the descriptions nearest to the
    centroid, the shortest. `members` (m,): the cluster's rows of `texts`; `distances` (m,): of each
    to the centroid."""
    nearest = members[np.argsort(distances, kind="stable")[:TYPICAL]]
    told = [text for i in nearest if (text := label(texts[i]))]
    return min(told, key=len, default="")


def named_by_library(
    means: Array, fallback: Sequence[str], before: Sequence[str | None], library: Points | None
) -> list[str]:
    """A name for each cluster, no two alike. `means` (clusters, dimension of the encoder): of its
    prompts' embeddings, of any length; `before`: what it was called so far."""
    if library is None:
        return _apart(list(fallback))
    cosines = library.cosines(means)
    at = {name: i for i, name in enumerate(library.names)}
    names: list[str | None] = [None] * len(means)
    taken: set[int] = set()
    order = np.argsort(-cosines.max(axis=1), kind="stable")
    for c in order:
        old = at.get(before[c] or "")
        if old is not None and cosines[c, old] >= cosines[c].max() - STAYS_WITHIN:
            names[c] = library.names[old]
            taken.add(old)
    for c in order:
        if names[c] is not None:
            continue
        for task in np.argsort(-cosines[c], kind="stable")[:CANDIDATES]:
            if cosines[c, task] >= NAMED_FROM and int(task) not in taken:
                names[c] = library.names[task]
                taken.add(int(task))
                break
    return _apart([name or fallback[c] for c, name in enumerate(names)])


def _apart(names: list[str]) -> list[str]:
    """The same names, those that come again with a number."""
    seen: dict[str, int] = {}
    apart = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        apart.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return apart


def with_library_names(
    table: RoutingTable, features: Array, library: Points | None
) -> RoutingTable:
    """The table with its clusters named by the library, as `features` (n, at least its inputs), the
    prompts it was made of, lie in them."""
    if library is None:
        return table
    labels = nearest_of(table.points(features), table.centroids)[1]
    embeddings = features[:, : table.encoder.dimension]
    means = sums(embeddings, labels, len(table.clusters)).astype(np.float32)
    labels_before = [cluster.label for cluster in table.clusters]
    names = named_by_library(means, labels_before, [None] * len(means), library)
    return replace(
        table,
        clusters=tuple(
            replace(cluster, label=name)
            for cluster, name in zip(table.clusters, names, strict=True)
        ),
    )
