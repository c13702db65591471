"""From what is remembered to the next routing table. Pure: the same memory and the same table
before give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.reclusterer.guard import guard
from services.reclusterer.memory import Evidence, Sample
from services.reclusterer.ranking import gather, ranked_table
from services.reclusterer.seeding import gathered, is_seed, seeded
from services.reclusterer.settings import ReclustererSettings
from shared.catalog.models import Model
from shared.catalog.tasks.points import Points, space_of
from shared.routing.deciding.estimator import Estimator
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.frontier import Frontier, frontier_of
from shared.routing.deciding.predictor import logit
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.selection import expectations as expected_of
from shared.routing.deciding.selection import terms_of
from shared.routing.deciding.table import Array, Cluster, RoutingTable
from shared.routing.learning.bradley_terry import Ranking
from shared.routing.learning.clustering import (
    CLUSTERINGS,
    EVOLVING,
    Clustering,
    ClusteringOptions,
    evolve,
    kmeans,
    nearest_of,
    settle,
    sums,
)
from shared.routing.learning.labels import named_by_library, typical_label
from shared.routing.learning.matching import lineage, pair
from shared.routing.learning.regressing import FEWEST, aligned, fit_votes_estimator
from shared.routing.learning.settling import settled

RECENT = 2000
"""The newest prompts, over which the frontier says what a rate reaches."""
PER_CLUSTER = 8
"""Prompts a cluster at least, when clusters are first made."""
TIGHTER = 0.93
"""Clusters evolve from those there are, unless fresh ones lie this much closer around their
prompts."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A table that might be published, and why."""

    table: RoutingTable
    why: str
    evaluations: int
    """How many are in its rankings."""
    reclustered: bool
    refused: str = ""
    """Why the clusters were left as they were, if new ones were tried and predicted worse."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """Models that are not what they were, in words, by model and cluster."""


def propose(
    memory: Evidence,
    before: RoutingTable | None,
    used_ids: Sequence[str],
    models: Sequence[Model],
    settings: ReclustererSettings,
    *,
    recluster: bool,
    anchor: RoutingTable | None = None,
    library: Points | None = None,
) -> Proposal | None:
    """The next table: the old clusters with new rankings, or new clusters too. None while nothing
    has been embedded.

    `used_ids` are the cluster ids that earlier tables had; `models` are those to be ranked.
    `anchor` is a table that was not learnt from traffic (an outcome matrix, say): what it knows is
    combined with what traffic shows. A projection stays; an estimator is learnt from the votes, or
    stays the anchor's while they can't tell. `library`: the tasks to begin from where there is no
    table of this space, and to name clusters by.
    """
    if memory.encoder is None:
        return None
    begun = ""
    foreign = before is None or before.encoder != memory.encoder
    if foreign and library is not None and library.encoder == space_of(memory.encoder):
        before = seeded(memory.encoder, library, models, settings, memory.text)
        foreign = False
        begun = f"begun from the library: {len(before.clusters)} tasks, not ranked yet"
    evidence = memory.seen_by(before)
    samples, vectors = evidence.matrix()
    if not samples:
        return None
    if foreign or recluster:
        old = None if foreign else before
        refused = ""
        means = _embeddings(memory, samples)
        for clustering in _cluster(vectors, old, settings, library):
            refused = (
                ""
                if old is None
                else guard(evidence, old.centroids, clustering.centroids, models, settings)
            )
            if not refused:
                break
        else:
            old_clusters = propose(
                memory,
                before,
                used_ids,
                models,
                settings,
                recluster=False,
                anchor=anchor,
                library=library,
            )
            return replace(old_clusters, refused=refused) if old_clusters else None
        texts = [s.text for s in samples]
        clusters, why = _named(clustering, vectors, texts, means, old, used_ids, library)
        centroids = clustering.centroids
    else:
        assert before is not None
        centroids = before.centroids
        why = begun or "rankings"
        _, labels = nearest_of(vectors, centroids)
        sizes = np.bincount(labels, minlength=len(centroids))
        clusters = tuple(
            replace(c, size=int(n)) for c, n in zip(before.clusters, sizes, strict=True)
        )
    space = None if before is None or foreign else before
    usable = anchor is not None and (
        anchor.space == space.space
        if space
        else anchor.encoder == memory.encoder and anchor.projection is None
    )
    projection = space.projection if space else None
    text = (before.text or "description") if before is not None else memory.text
    ranked = ranked_table(
        evidence,
        clusters,
        centroids,
        models,
        settings,
        anchor if usable else None,
        projection,
        text,
    )
    table = settled(ranked.table, None if foreign else before)
    estimator = _estimator(
        memory, evidence, table, ranked.ranking, anchor if usable else None, settings
    )
    table = replace(table, estimator=estimator)
    if usable and anchor is not None:
        table = replace(table, cascade=anchor.cascade)
    table = replace(table, frontier=_frontier(memory, table))
    return Proposal(table, why, ranked.evaluations, foreign or recluster, changed=ranked.changed)


def _embeddings(memory: Evidence, samples: Sequence[Sample]) -> Array:
    """(n, dimension) of the encoder itself, whatever the table's space is."""
    assert memory.encoder is not None
    wide = memory.encoder.dimension
    return np.stack([memory.samples[sample.request_id].vector[:wide] for sample in samples])


def _cluster(
    vectors: Array,
    before: RoutingTable | None,
    settings: ReclustererSettings,
    library: Points | None,
) -> list[Clustering]:
    """New clusters, the better first: the next is for when the guard refuses the one before."""
    wanted = max(1, min(settings.clusters, len(vectors) // PER_CLUSTER))
    if settings.method != EVOLVING:
        options = ClusteringOptions(wanted, settings.seed, settings.min_size, settings.reach)
        return [CLUSTERINGS[settings.method](vectors, options)]
    if (
        before is None
        # prompts are waiting for a table, so the first is one cluster of them all, and the next is
        # better
    ):
        return [settle(vectors, vectors.mean(axis=0, keepdims=True))]
    if library is not None and is_seed(before):
        return [gathered(vectors, before.centroids, PER_CLUSTER, library.reach)]
    evolved = evolve(
        vectors, before.centroids, before.radii, settings.min_size, settings.most_clusters
    )
    fresh = kmeans(vectors, max(wanted, len(evolved.centroids)), settings.seed)
    apart = [
        float(nearest_of(vectors, candidates.centroids)[0].mean())
        for candidates in (evolved, fresh)
    ]
    return [fresh, evolved] if apart[1] < TIGHTER * apart[0] else [evolved]


def _named(
    clustering: Clustering,
    vectors: Array,
    texts: Sequence[str],
    embeddings: Array,
    before: RoutingTable | None,
    used: Sequence[str],
    library: Points | None,
) -> tuple[tuple[Cluster, ...], str]:
    """The clusters with ids and names, and what became of those before. Tasks of the library that
    nobody has asked for yet leave without a word."""
    k = len(clustering.centroids)
    old = list(before.clusters) if before else []
    old_labels = np.full(len(vectors), -1)
    kept = [-1] * k
    if before is not None:
        old_labels = nearest_of(vectors, before.centroids)[1]
        asked = np.arange(len(old))
        if library is not None and is_seed(before):
            asked = np.unique(old_labels)
            old_labels = np.searchsorted(asked, old_labels)
        old = [old[i] for i in asked]
        kept = pair(before.centroids[asked], clustering.centroids, float(np.median(before.radii)))
    line = lineage([c.id for c in old], used, kept, old_labels, clustering.labels)
    distances = np.linalg.norm(vectors - clustering.centroids[clustering.labels], axis=1)
    sizes = np.bincount(clustering.labels, minlength=k)
    means = sums(embeddings, clustering.labels, k).astype(np.float32)
    typical = [""] * k
    for c in range(k):
        members = np.flatnonzero(clustering.labels == c)
        if len(members):
            typical[c] = typical_label(texts, members, distances[members])
        else:
            typical[c] = old[kept[c]].label
    called: list[str | None] = [old[j].label if j >= 0 else None for j in kept]
    known = library if library is not None and sizes.any() else None
    names = named_by_library(means, typical, called, known)
    clusters = tuple(
        replace(old[kept[c]], size=0)
        if not sizes[c]
        else Cluster(line.ids[c], names[c], int(sizes[c]), float(clustering.radii[c]))
        for c in range(k)
    )
    events = ", ".join(line.events[:12]) + (
        f" and {len(line.events) - 12} more" if len(line.events) > 12 else ""
    )
    why = f"{k} clusters of {len(vectors)} prompts" + (
        f": {events}" if before is not None and events else ""
    )
    return clusters, why


def _estimator(
    memory: Evidence,
    evidence: Evidence,
    table: RoutingTable,
    ranking: Ranking,
    anchor: RoutingTable | None,
    settings: ReclustererSettings,
) -> Estimator | None:
    """What the votes tell of single prompts, by the comparisons and weights that `ranking` counts;
    else what the anchor knew of them, as long as it knows all models."""
    reference = table.models.index(table.reference_model)
    data, _, opinions, at = gather(evidence, table.centroids, table.models, settings)
    first_of = {opinion.comparison_id: opinion for opinion in reversed(opinions)}
    ids = [first_of[comparison].evaluation_id for comparison in sorted(first_of)]
    dimensions = table.encoder.dimension + SIZE
    fresh, ratio = ranking.fresh, ranking.ratio
    if (
        fresh is not None
        and ratio is not None
        and len(fresh) >= FEWEST
        and all(len(memory.opinions[i].vector) == dimensions for i in ids)
    ):
        order = fresh[np.argsort(at[fresh], kind="stable")]
        features = np.stack([memory.opinions[ids[i]].vector for i in order])
        k, m = table.strength.shape
        estimator = fit_votes_estimator(features, data.rows(order), ratio[order], k, m, reference)
        if estimator is not None:
            return _on_scale(estimator, table)
    if anchor is None or anchor.estimator is None:
        return None
    return aligned(anchor.estimator, anchor.models, table.models)


def _on_scale(estimator: Estimator, table: RoutingTable) -> Estimator:
    """An estimator of wins against the reference, on the scale of the table's successes. Where an
    anchor knows the reference's expected score, its mean takes the place of 0.5."""
    if table.reference_success is None:
        return estimator
    sizes = np.array([max(cluster.size, 1) for cluster in table.clusters])
    mean = np.average(table.reference_success.astype(np.float64), weights=sizes)
    base = float(logit(np.array([mean]))[0])
    return replace(estimator, offset=(estimator.offset + base).astype(np.float32))


def _frontier(memory: Evidence, table: RoutingTable) -> Frontier:
    """What each rate reaches over the newest prompts, as far as the table can tell."""
    fitting = (
        s for s in memory.samples.values() if s.read == table.text and len(s.vector) >= table.inputs
    )
    newest = sorted(fitting, key=lambda s: (-s.at, s.request_id))[:RECENT]
    features = np.stack([s.vector[: table.inputs] for s in newest])
    expected = expected_of(table, features, np.array([s.tokens for s in newest]))
    cautious = terms_of(expected, Rates()).caution
    return frontier_of(expected.success - cautious, expected.cost_usd, table.models)
