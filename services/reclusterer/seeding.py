"""Beginning from the library of tasks: clusters with names before the first prompt, which traffic
then gathers into those that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.reclusterer.ranking import reference_of
from services.reclusterer.settings import ReclustererSettings
from shared.catalog.estimates import ANSWER_TOKENS
from shared.catalog.models import Model
from shared.catalog.tasks.points import Points
from shared.routing.deciding.projection import onto_task
from shared.routing.deciding.table import (
    Array,
    Cluster,
    Encoder,
    Provenance,
    RoutingTable,
    Text,
)
from shared.routing.learning.clustering import Clustering, nearest_of, settle, sums

SOURCE = "the library of tasks, before any evaluation"
PRIOR = 8.0
"""Prompts that a task's place in the library counts for, while traffic moves it."""


def seeded(
    encoder: Encoder,
    library: Points,
    models: Sequence[Model],
    settings: ReclustererSettings,
    text: Text,
) -> RoutingTable:
    """A table of the library's tasks, in which nothing is known of any model."""
    names = [model.name for model in models]
    reference = reference_of(models, settings)
    shape = len(library.names), len(names)
    answers = np.array([model.price.cost_usd(0, ANSWER_TOKENS) for model in models], np.float32)
    waits = np.array([model.latency_s for model in models], np.float32)
    zeros = np.zeros(shape, np.float32)
    return RoutingTable(
        encoder=encoder,
        models=tuple(names),
        reference_model=reference,
        clusters=tuple(
            Cluster(f"c{i:03d}", name, 0, library.reach) for i, name in enumerate(library.names)
        ),
        centroids=library.vectors,
        strength=zeros,
        standard_error=zeros + np.float32(2.0) * (np.array(names) != reference),
        cost_usd=np.broadcast_to(answers, shape),
        latency_s=np.broadcast_to(waits, shape),
        provenance=Provenance(SOURCE, simulated=False, prompts=0, seed=settings.seed),
        top_p=settings.top_p,
        unproven_error=settings.unproven,
        projection=onto_task(),
        reference_success=np.full(shape[0], 0.5, np.float32),
        text=text,
    )


def is_seed(table: RoutingTable | None) -> bool:
    """Whether most of the table's clusters have never had a prompt: they are the library's, which
    traffic has not gathered yet."""
    return table is not None and sum(c.size == 0 for c in table.clusters) > len(table.clusters) / 2


def gathered(vectors: Array, seeds: Array, least: int, reach: float) -> Clustering:
    """The seeds that `vectors` (n, dim) ask for, moved toward their prompts. Those with fewer than
    `least` prompts join the nearest within `reach`."""
    labels = nearest_of(vectors, seeds)[1]
    counts = np.bincount(labels, minlength=len(seeds)).astype(np.float64)
    alive = np.flatnonzero(counts)
    weights = counts[alive] + PRIOR
    places = (sums(vectors, labels, len(seeds))[alive] + PRIOR * seeds[alive]) / weights[:, None]
    counts = counts[alive]
    standing = np.ones(len(alive), np.bool_)
    while True:
        small = np.flatnonzero(standing & (counts < least))
        if len(small) == 0 or standing.sum() < 2:
            break
        smallest = small[np.argmin(counts[small])]
        others = np.flatnonzero(standing)
        others = others[others != smallest]
        distances = np.linalg.norm(places[others] - places[smallest], axis=1)
        heir = others[distances.argmin()]
        if distances.min() > reach:
            counts[smallest] = np.inf  # it stands alone, and stays
            continue
        total = weights[heir] + weights[smallest]
        places[heir] = (weights[heir] * places[heir] + weights[smallest] * places[smallest]) / total
        weights[heir] = total
        counts[heir] += counts[smallest]
        standing[smallest] = False
    settled = settle(vectors, places[standing].astype(np.float32))
    # what was learnt from may lie closer to its tasks than what will come
    return replace(settled, radii=np.maximum(settled.radii, np.float32(reach)))
