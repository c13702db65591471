"""Routing tables in words: what one comes from, and what changed from one to another."""

from __future__ import annotations

import math

import numpy as np

from shared.routing.deciding.selection import INTERVAL
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.task2vec import corresponding

SHOWN = 6
"""Changes within noise that are named."""


def origin(table: RoutingTable) -> str:
    """What the rankings come from: simulated or real outcomes, or nothing yet."""
    if table.unranked:
        return "none yet"
    return "simulated" if table.provenance.simulated else "real"


def by_votes(table: RoutingTable) -> bool:
    """Whether success is the probability of winning against the reference, rather than an expected
    score."""
    return table.reference_success is None or bool((table.reference_success == 0.5).all())


def differences(a: RoutingTable, b: RoutingTable) -> list[str]:
    """What changed between two tables, in words."""
    lines: list[str] = []
    noisy: list[str] = []
    clear: list[tuple[float, str]] = []
    if a.encoder != b.encoder:
        lines.append(f"encoder: {a.encoder} → {b.encoder}")
    if (kinds := [t.projection.kind if t.projection else "plain" for t in (a, b)])[0] != kinds[1]:
        lines.append(f"task representation: {kinds[0]} → {kinds[1]}")
    elif a.space != b.space and a.encoder == b.encoder:
        lines.append(f"task representation: {kinds[0]}, learnt again")
    lines += [f"model gone: {m}" for m in a.models if m not in b.models] + [
        f"model new: {m}" for m in b.models if m not in a.models
    ]
    heirs, alike = _heirs(a, b)
    taken = set(heirs.values())
    lines += [
        f"cluster gone: {c.id} “{c.label}”" for i, c in enumerate(a.clusters) if i not in heirs
    ]
    lines += [
        f"cluster new: {c.id} “{c.label}”" for j, c in enumerate(b.clusters) if j not in taken
    ]
    for i, cluster in enumerate(a.clusters):
        if (j := heirs.get(i)) is None:
            continue
        if alike:
            lines.append(
                f"cluster {cluster.id} “{cluster.label}” is {b.clusters[j].id} "
                f"“{b.clusters[j].label}” now, by its signature"
            )
        if (
            a.space == b.space
            and (moved := float(np.linalg.norm(a.centroids[i] - b.centroids[j]))) > 0.05
        ):
            label = b.clusters[j].label
            names = f"“{label}”" if label == cluster.label else f"“{cluster.label}” → “{label}”"
            lines.append(f"cluster {cluster.id} moved by {moved:.2f}: {names}")
        first = a.models[int(a.strength[i].argmax())]
        then = b.models[int(b.strength[j].argmax())]
        if first == then:
            continue
        errors = _turned_by(a, i, b, j, first, then)
        if errors is None or errors >= INTERVAL:
            by = "" if errors is None else f", {errors:.1f} standard errors"
            text = f"“{b.clusters[j].label}”: strongest was {first}, is {then}{by}"
            clear.append((-(errors or np.inf), f"cluster {cluster.id} {text}"))
        else:
            noisy.append(f"{cluster.id} {first} → {then}")
    lines = [text for _, text in sorted(clear)] + lines
    if noisy:
        more = f" and {len(noisy) - SHOWN} more" if len(noisy) > SHOWN else ""
        where = "1 cluster" if len(noisy) == 1 else f"{len(noisy)} clusters"
        lines.append(
            f"within noise, another model is strongest in {where}: {', '.join(noisy[:SHOWN])}{more}"
        )
    return lines


def _turned_by(
    a: RoutingTable, i: int, b: RoutingTable, j: int, first: str, then: str
) -> float | None:
    """By how many standard errors the lead of `first` over `then` has changed; None where a model
    is only in one of the tables."""
    if any(model not in table.models for table in (a, b) for model in (first, then)):
        return None
    lead, variance = [], 0.0
    for table, c in ((a, i), (b, j)):
        one, other = table.models.index(first), table.models.index(then)
        lead.append(float(table.strength[c, one] - table.strength[c, other]))
        variance += float(table.standard_error[c, one] ** 2 + table.standard_error[c, other] ** 2)
    return (lead[0] - lead[1]) / max(math.sqrt(variance), 1e-9)


def _heirs(a: RoutingTable, b: RoutingTable) -> tuple[dict[int, int], bool]:
    """Which cluster of `b` is which of `a`, by position; and whether that was found by signatures,
    since ids say nothing.

    Ids stay with a task while tables evolve in one space. Where another projection was learnt
    clusters are made again, and their Task2Vec signatures tell which pose the same task.
    """
    if (
        a.space != b.space
        and a.encoder == b.encoder
        and a.signatures is not None
        and b.signatures is not None
    ):
        return {i: j for j, i in enumerate(corresponding(a, b)) if i >= 0}, True
    return {i: b.positions[c.id] for i, c in enumerate(a.clusters) if c.id in b.positions}, False
