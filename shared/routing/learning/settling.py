"""Staying with the earlier strongest model, unless another is clearly stronger.

Two models that are about as good change places with every few votes. Following them gains nothing,
and people lose trust. So the strongest model of a cluster stays first while every other leads by
less than one standard error of their difference. It and the best then count as equal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shared.routing.deciding.table import RoutingTable

CLEAR = 1.0
"""Standard errors that another model must be ahead, to take the first place."""
AHEAD = 1e-3
"""Logits that the one that stays is ahead of its equals."""


def settled(table: RoutingTable, before: RoutingTable | None) -> RoutingTable:
    """`table` with the strongest models of `before` where others are not clearly stronger. The mean
    of those held to be equal stays; the reference model's strength stays 0."""
    if before is None or before.unranked or table.unranked:
        return table
    strength = table.strength.astype(np.float64)
    reference = table.models.index(table.reference_model)
    for c, cluster in enumerate(table.clusters):
        if (i := before.positions.get(cluster.id)) is None:
            continue
        was = before.models[int(before.strength[i].argmax())]
        if was not in table.models:
            continue
        stays = table.models.index(was)
        row = strength[c]
        best = int(row.argmax())
        lead = row - row[stays]
        errors = np.hypot(table.standard_error[c], table.standard_error[c, stays])
        if best == stays or (lead[lead > 0] >= CLEAR * errors[lead > 0]).any():
            continue
        level = (row[best] + row[stays]) / 2
        row = np.minimum(row, level)
        row[stays] = level + AHEAD
        strength[c] = row - row[reference]
    return replace(table, strength=strength.astype(np.float32))
