"""From embeddings to clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.contracts.messages import Embedded, Placed, extend
from shared.contracts.places import Assigned, ClusterWeight, Place, Predicted, TableRef
from shared.contracts.vector import unpack
from shared.routing.deciding.assignment import Assignment, assign, check
from shared.routing.deciding.selection import Prediction, predict
from shared.routing.deciding.table import Array, RoutingTable
from shared.routing.errors import RoutingError


def place(
    messages: Sequence[Embedded], ref: TableRef, table: RoutingTable
) -> list[Placed | Exception]:
    """Add to each message its assignment; a vector that is no point of the table's space gives an
    error in its place."""
    results: list[Placed | Exception] = []
    good: list[tuple[int, Embedded]] = []
    features: list[Array] = []
    for i, message in enumerate(messages):
        try:
            embedding = message.embedding
            form = None if embedding.form is None else unpack(embedding.form)
            for vector in (embedding.vector, *embedding.views):
                check(unpack(vector), form, embedding.encoder.encoder(), table)
            texts = [
                embedding.features(),
                *(embedding.features(view) for view in range(len(embedding.views))),
            ]
            table.require(len(texts[0]))
        except RoutingError as error:
            results.append(error)
        else:
            results.append(RoutingError())  # replaced below
            good.append((i, message))
            features += texts
    if good:
        read = np.stack([one[: table.inputs] for one in features])
        points = table.points(read)
        placed = zip(assign(points, table), predict(table, read, points, 1.0), strict=True)
        for i, message in good:
            whole, *rest = (
                _part(*next(placed), table) for _ in range(1 + len(message.embedding.views))
            )
            assigned = Assigned(
                table=ref,
                clusters=whole.clusters,
                novel=whole.novel,
                predicted=whole.predicted,
                views=tuple(rest),
            )
            results[i] = extend(message, Placed, assignment=assigned)
    return results


def _part(assignment: Assignment, prediction: Prediction | None, table: RoutingTable) -> Place:
    clusters = tuple(
        ClusterWeight(
            id=table.clusters[c].id,
            label=table.clusters[c].label,
            weight=min(1.0, float(w)),
            distance=float(d),
        )
        for c, w, d in zip(
            assignment.clusters, assignment.weights, assignment.distances, strict=True
        )
    )
    predicted = (
        ()
        if prediction is None
        else zip(table.models, prediction.probability, prediction.spread, strict=True)
    )
    return Place(
        clusters=clusters,
        novel=assignment.novel,
        predicted=tuple(
            Predicted(model=m, probability=float(p), spread=float(s)) for m, p, s in predicted
        ),
    )
