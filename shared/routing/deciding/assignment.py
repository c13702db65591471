"""Which tasks a prompt poses: nearest centroids by one matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.form import SIZE
from shared.routing.deciding.soft import soft
from shared.routing.deciding.table import Array, Encoder, RoutingTable
from shared.routing.errors import EmbeddingInvalid, EncoderMismatch


@dataclass(frozen=True, slots=True)
class Assignment:
    """Up to `top_p` clusters of one table, nearest first. The three arrays have the same length."""

    clusters: npt.NDArray[np.intp]
    weights: Array
    """Sum to 1."""
    distances: Array
    """Euclidean, in the encoder's space."""
    novel: bool
    """Further from its nearest centroid than that cluster's radius."""


def check(vector: Array, form: Array | None, encoder: Encoder, table: RoutingTable) -> None:
    """Raise `EncoderMismatch` or `EmbeddingInvalid` unless `vector` is a point of the table's
    encoder, and the prompt's `form` one."""
    if encoder != table.encoder:
        raise EncoderMismatch(
            f"the embedding comes from {encoder}, the routing table {table.digest[:12]} lies in "
            f"the space of {table.encoder}; "
            "run embedders with that encoder, or build a table with this one"
        )
    if vector.shape != (encoder.dimension,):
        raise EmbeddingInvalid(
            f"the vector has {vector.size} numbers, {encoder} gives {encoder.dimension}"
        )
    if form is not None and form.shape != (SIZE,):
        raise EmbeddingInvalid(
            f"the form has {form.size} numbers, this version's has {SIZE}; run embedders and "
            "assigners of one version"
        )
    for name, array in (("vector", vector), ("form", form)):
        if array is not None and not np.isfinite(array).all():
            raise EmbeddingInvalid(f"the {name} holds NaN or infinity")


@dataclass(frozen=True, slots=True)
class Assignments:
    """Many assignments as arrays: `clusters`, `weights` and `distances` (n, top), nearest first,
    and `novel` (n,)."""

    clusters: npt.NDArray[np.intp]
    weights: Array
    distances: Array
    novel: npt.NDArray[np.bool_]


def assign(points: Array, table: RoutingTable) -> list[Assignment]:
    """Assign points (n, dimension) float32 of the table's space (`table.points`), each checked
    already, to its clusters."""
    assignments = assign_all(points, table)
    parts = zip(
        assignments.clusters,
        assignments.weights,
        assignments.distances,
        assignments.novel,
        strict=True,
    )
    return [Assignment(c, w, d, bool(n)) for c, w, d, n in parts]


def assign_all(points: Array, table: RoutingTable) -> Assignments:
    """As `assign`, for many at once."""
    nearest, weights, near = soft(
        points, table.centroids, table.squared_norms, table.top_p, table.sharpness
    )
    novel = near[:, 0] > table.radii[nearest[:, 0]]
    return Assignments(nearest, weights.astype(np.float32), near, novel)
