"""From embeddings to clusters."""

from __future__ import annotations

from collections.abc import Sequence

from shared.contracts.messages import Embedded, Placed, extend
from shared.contracts.parts import Assigned, ClusterWeight, Predicted, TableRef
from shared.contracts.vector import unpack
from shared.routing.assignment import Assignment, assign, check
from shared.routing.errors import RoutingError
from shared.routing.selection import Prediction, predict
from shared.routing.table import Array, RoutingTable


def place(messages: Sequence[Embedded], ref: TableRef, table: RoutingTable) -> list[Placed | Exception]:
    """Add to each message its assignment; a vector that is no point of the table's space gives an error in its place."""
    results: list[Placed | Exception] = []
    good: list[tuple[int, Embedded, Array]] = []
    for i, message in enumerate(messages):
        try:
            embedding = message.embedding
            form = None if embedding.form is None else unpack(embedding.form)
            check(unpack(embedding.vector), form, embedding.encoder.encoder(), table)
            features = embedding.features()
            table.require(len(features))
        except RoutingError as error:
            results.append(error)
        else:
            results.append(RoutingError())  # replaced below
            good.append((i, message, features))
    if good:
        points = table.points_of([features for _, _, features in good])
        for (i, message, _), assignment, prediction in zip(good, assign(points, table), predict(table, points, 1.0), strict=True):
            results[i] = extend(message, Placed, assignment=_part(assignment, prediction, ref, table))
    return results


def _part(assignment: Assignment, prediction: Prediction | None, ref: TableRef, table: RoutingTable) -> Assigned:
    clusters = tuple(
        ClusterWeight(id=table.clusters[c].id, label=table.clusters[c].label, weight=min(1.0, float(w)), distance=float(d))
        for c, w, d in zip(assignment.clusters, assignment.weights, assignment.distances, strict=True)
    )
    predicted = () if prediction is None else zip(table.models, prediction.probability, prediction.spread, strict=True)
    return Assigned(
        table=ref,
        clusters=clusters,
        novel=assignment.novel,
        predicted=tuple(Predicted(model=m, probability=float(p), spread=float(s)) for m, p, s in predicted),
    )
