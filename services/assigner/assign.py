"""From embeddings to clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.contracts.messages import Embedded, Placed, extend
from shared.contracts.parts import Assigned, ClusterWeight, TableRef
from shared.contracts.vector import unpack
from shared.routing.assignment import Assignment, assign, check
from shared.routing.errors import RoutingError
from shared.routing.table import RoutingTable


def place(messages: Sequence[Embedded], ref: TableRef, table: RoutingTable) -> list[Placed | Exception]:
    """Add to each message its assignment; a vector that is no point of the table's space gives an error in its place."""
    results: list[Placed | Exception] = []
    good: list[tuple[int, Embedded]] = []
    for i, message in enumerate(messages):
        try:
            check(unpack(message.embedding.vector), message.embedding.encoder.encoder(), table)
        except RoutingError as error:
            results.append(error)
        else:
            results.append(RoutingError())  # replaced below
            good.append((i, message))
    if good:
        vectors = np.stack([unpack(message.embedding.vector) for _, message in good])
        for (i, message), assignment in zip(good, assign(vectors, table), strict=True):
            results[i] = extend(message, Placed, assignment=_part(assignment, ref, table))
    return results


def _part(assignment: Assignment, ref: TableRef, table: RoutingTable) -> Assigned:
    clusters = tuple(
        ClusterWeight(id=table.clusters[c].id, label=table.clusters[c].label, weight=min(1.0, float(w)), distance=float(d))
        for c, w, d in zip(assignment.clusters, assignment.weights, assignment.distances, strict=True)
    )
    return Assigned(table=ref, clusters=clusters, novel=assignment.novel)
