"""From what is remembered to the next routing table. Pure: the same memory and the same table
before give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.reclusterer.memory import Evidence, RecordedVotes
from services.reclusterer.settings import ReclustererSettings
from shared.catalog.estimates import ANSWER_TOKENS
from shared.catalog.models import Model
from shared.contracts.parts import RaterKind, Voter
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.estimator import Estimator
from shared.routing.deciding.form import SIZE
from shared.routing.deciding.frontier import Frontier, frontier_of
from shared.routing.deciding.projection import Projection
from shared.routing.deciding.rates import Rates
from shared.routing.deciding.selection import expectations as expected_of
from shared.routing.deciding.selection import terms_of
from shared.routing.deciding.table import Array, Cluster, Provenance, RoutingTable, Text
from shared.routing.learning.bradley_terry import (
    Comparisons,
    Floats,
    Ranking,
    decay,
    fit,
    fit_votes,
    losses,
)
from shared.routing.learning.clustering import (
    CLUSTERINGS,
    EVOLVING,
    Clustering,
    ClusteringOptions,
    evolve,
    kmeans,
    nearest_of,
    settle,
)
from shared.routing.learning.expectations import expectations
from shared.routing.learning.labels import label
from shared.routing.learning.matching import lineage, pair
from shared.routing.learning.regressing import FEWEST, aligned, fit_votes_estimator
from shared.routing.learning.votes import Ballots, Hits, log_ratio

RECENT = 2000
"""The newest prompts, over which the frontier says what a rate reaches."""
PER_CLUSTER = 8
"""Prompts a cluster at least, when clusters are first made."""
TIGHTER = 0.93
"""Clusters evolve from those there are, unless fresh ones lie this much closer around their
prompts."""
GUARD_TOLERANCE = 0.01
"""Nats a comparison by which new clusters may predict recent comparisons worse than the old before
they are refused."""
GUARD_SURE = 2.0
"""…and by at least so many standard errors."""
GUARD_FROM = 60
"""Comparisons below which there is nothing to guard with."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A table that might be published, and why."""

    table: RoutingTable
    why: str
    reclustered: bool
    refused: str = ""
    """Why the clusters were left as they were, if new ones were tried and predicted worse."""
    changed: tuple[str, ...] = ()
    """Models that are not what they were, and in which clusters, by name."""


def propose(
    memory: Evidence,
    before: RoutingTable | None,
    used_ids: Sequence[str],
    models: Sequence[Model],
    settings: ReclustererSettings,
    *,
    recluster: bool,
    anchor: RoutingTable | None = None,
) -> Proposal | None:
    """The next table: the old clusters with new rankings, or new clusters too. None while nothing
    has been embedded.

    `used_ids` are the cluster ids that earlier tables had; `models` are those to be ranked.
    `anchor` is a table that was not learnt from traffic (an outcome matrix, say): what it knows is
    combined with what traffic shows. A projection stays; an estimator is learnt from the votes, or
    stays the anchor's while they can't tell.
    """
    evidence = memory.seen_by(before)
    samples, vectors = evidence.matrix()
    if not samples or memory.encoder is None:
        return None
    foreign = before is None or before.encoder != memory.encoder
    if foreign or recluster:
        old = None if foreign else before
        refused = ""
        for clustering in _cluster(vectors, old, settings):
            refused = (
                ""
                if old is None
                else _guard(evidence, old.centroids, clustering.centroids, models, settings)
            )
            if not refused:
                break
        else:
            old_clusters = propose(
                memory, before, used_ids, models, settings, recluster=False, anchor=anchor
            )
            return replace(old_clusters, refused=refused) if old_clusters else None
        clusters, why = _named(clustering, vectors, [s.text for s in samples], old, used_ids)
        centroids = clustering.centroids
    else:
        assert before is not None
        centroids = before.centroids
        why = "rankings"
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
    table, changed = _ranked(
        evidence,
        clusters,
        centroids,
        models,
        settings,
        anchor if usable else None,
        projection,
        text,
    )
    table = replace(
        table, estimator=_estimator(memory, evidence, table, anchor if usable else None, settings)
    )
    if usable and anchor is not None:
        table = replace(table, cascade=anchor.cascade)
    table = replace(table, frontier=_frontier(memory, table))
    return Proposal(table, why, foreign or recluster, changed=changed)


def _cluster(
    vectors: Array, before: RoutingTable | None, settings: ReclustererSettings
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
    before: RoutingTable | None,
    used: Sequence[str],
) -> tuple[tuple[Cluster, ...], str]:
    k = len(clustering.centroids)
    old_ids = [c.id for c in before.clusters] if before else []
    kept = [-1] * k
    old_labels = np.full(len(vectors), -1)
    if before is not None:
        reach = float(np.median(before.radii))
        kept = pair(before.centroids, clustering.centroids, reach)
        old_labels = nearest_of(vectors, before.centroids)[1]
    line = lineage(old_ids, used, kept, old_labels, clustering.labels)
    distances = np.linalg.norm(vectors - clustering.centroids[clustering.labels], axis=1)
    clusters = []
    for c in range(k):
        members = np.flatnonzero(clustering.labels == c)
        if not len(members):
            assert before is not None
            clusters.append(replace(before.clusters[kept[c]], size=0))
            continue
        nearest = members[distances[members].argmin()]
        clusters.append(
            Cluster(line.ids[c], label(texts[nearest]), len(members), float(clustering.radii[c]))
        )
    events = ", ".join(line.events[:12]) + (
        f" and {len(line.events) - 12} more" if len(line.events) > 12 else ""
    )
    why = f"{k} clusters of {len(vectors)} prompts" + (
        f": {events}" if before is not None and events else ""
    )
    return tuple(clusters), why


def _ranked(
    memory: Evidence,
    clusters: tuple[Cluster, ...],
    centroids: Array,
    models: Sequence[Model],
    settings: ReclustererSettings,
    anchor: RoutingTable | None,
    projection: Projection | None,
    text: Text | None,
) -> tuple[RoutingTable, tuple[str, ...]]:
    assert memory.encoder is not None
    names = [m.name for m in models]
    reference = settings.reference or max(models, key=lambda m: (m.price.output, m.name)).name
    ranking, opinions = rank(memory, centroids, names, names.index(reference), settings)
    where = {name: i for i, name in enumerate(names)}
    seen = sorted((s for s in memory.seen.values() if s.model in where), key=lambda s: s.key)
    cluster = (
        nearest_of(np.stack([s.vector for s in seen]), centroids)[1]
        if seen
        else np.zeros(0, np.intp)
    )
    which = np.array([where[s.model] for s in seen], np.intp)
    prices = {m.name: m.price for m in models}
    answers = np.array([s.answer_usd(prices[s.model]) for s in seen])
    prior = np.array([m.price.cost_usd(0, ANSWER_TOKENS) for m in models])
    per_token = np.array([m.price.input / 1e6 for m in models])
    tokens = _tokens(memory, centroids)
    cost = (
        expectations(cluster, which, answers, prior, len(centroids)) + tokens[:, None] * per_token
    )
    latency = expectations(
        cluster,
        which,
        np.array([s.latency_s for s in seen]),
        np.array([m.latency_s for m in models]),
        len(centroids),
        median=True,
    )
    simulated = any(o.simulated for o in opinions)
    strength = ranking.strength
    error = ranking.standard_error
    source = f"{len(opinions)} evaluations of live traffic"
    if anchor is not None:
        strength, error = anchored(
            anchor,
            centroids,
            names,
            reference,
            strength,
            error,
            {(c, m) for c, m, _ in ranking.changed},
        )
        simulated = simulated or anchor.provenance.simulated
        source = f"{source}, and {anchor.provenance.source}"
    table = RoutingTable(
        encoder=memory.encoder,
        models=tuple(names),
        reference_model=reference,
        clusters=clusters,
        centroids=centroids,
        strength=strength.astype(np.float32),
        standard_error=error.astype(np.float32),
        cost_usd=cost.astype(np.float32),
        latency_s=latency.astype(np.float32),
        provenance=Provenance(
            source,
            simulated,
            len(memory.samples),
            settings.seed,
            evaluations=len(opinions),
            anchored=anchor is not None,
        ),
        top_p=settings.top_p,
        unproven_error=settings.unproven,
        projection=projection,
        reference_success=_base(anchor, centroids, reference).astype(np.float32),
        usd_per_token=per_token.astype(np.float32),
        prompt_tokens=tokens.astype(np.float32),
        text=text,
    )
    return table, tuple(
        f"{names[m]} has changed in {clusters[c].id} “{clusters[c].label}”"
        for c, m, _ in ranking.changed
    )


def _base(anchor: RoutingTable | None, centroids: Array, reference: str) -> Floats:
    """(clusters,): the reference's success: 0.5 against itself; where an anchor knows its expected
    score, that score."""
    if anchor is None or anchor.reference_success is None or reference not in anchor.models:
        return np.full(len(centroids), 0.5)
    scores = anchor.success[:, anchor.models.index(reference)].astype(np.float64)
    return np.array([place.weights @ scores[place.clusters] for place in assign(centroids, anchor)])


def _estimator(
    memory: Evidence,
    evidence: Evidence,
    table: RoutingTable,
    anchor: RoutingTable | None,
    settings: ReclustererSettings,
) -> Estimator | None:
    """What the votes tell of single prompts; else what the anchor knew of them, as long as it knows
    all models."""
    reference = table.models.index(table.reference_model)
    data, ballots, opinions, _ = gather(evidence, table.centroids, table.models, settings)
    first_of = {opinion.comparison_id: opinion for opinion in reversed(opinions)}
    ids = [first_of[comparison].evaluation_id for comparison in sorted(first_of)]
    dimensions = table.encoder.dimension + SIZE
    if len(ids) >= FEWEST and all(len(memory.opinions[i].vector) == dimensions for i in ids):
        ratio = _ratio(data, ballots)
        order = np.lexsort((sorted(first_of), [first_of[c].at for c in sorted(first_of)]))
        features = np.stack([memory.opinions[ids[i]].vector for i in order])
        k, m = table.strength.shape
        if (
            estimator := fit_votes_estimator(
                features, data.rows(order), ratio[order], k, m, reference
            )
        ) is not None:
            return estimator
    if anchor is None or anchor.estimator is None:
        return None
    return aligned(anchor.estimator, anchor.models, table.models)


def _tokens(memory: Evidence, centroids: Array) -> Floats:
    """(clusters,): mean length of the prompts of each cluster, in tokens; that of all where a
    cluster has none."""
    samples, points = memory.matrix()
    lengths = np.array([s.tokens for s in samples])
    labels = nearest_of(points, centroids)[1]
    counts = np.bincount(labels, minlength=len(centroids))
    sums = np.bincount(labels, lengths, minlength=len(centroids))
    return np.where(counts > 0, sums / np.maximum(counts, 1), lengths.mean())


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


def anchored(
    anchor: RoutingTable,
    centroids: Array,
    models: Sequence[str],
    reference: str,
    strength: Floats,
    error: Floats,
    changed: AbstractSet[tuple[int, int]] = frozenset(),
) -> tuple[Floats, Floats]:
    """Strengths and standard errors (clusters, models) combined with those of `anchor`, each by
    what it is sure of.

    A cluster takes the anchor's figures where its centroid lies. Models the anchor does not know,
    or that have `changed` (cluster, model), keep their own.
    """
    both = [
        (i, anchor.models.index(name)) for i, name in enumerate(models) if name in anchor.models
    ]
    strength = strength.copy()
    error = error.copy()
    if reference not in anchor.models or len(both) < 2:
        return strength, error
    base = anchor.models.index(reference)
    for c, place in enumerate(assign(centroids, anchor)):
        if (c, models.index(reference)) in changed:
            continue
        w = place.weights.astype(np.float64)
        anchor_strength = w @ anchor.strength[place.clusters].astype(np.float64)
        spread = np.sqrt(w @ anchor.standard_error[place.clusters].astype(np.float64) ** 2)
        for i, j in both:
            if (c, i) in changed:
                continue
            if models[i] == reference:
                error[c, i] = 1.0 / np.sqrt(
                    1.0 / error[c, i] ** 2 + 1.0 / max(spread[j], 1e-3) ** 2
                )
                continue
            mine = 1.0 / max(error[c, i], 1e-3) ** 2
            theirs = 1.0 / max(spread[j], 1e-3) ** 2
            strength[c, i] = (
                mine * strength[c, i] + theirs * (anchor_strength[j] - anchor_strength[base])
            ) / (mine + theirs)
            error[c, i] = 1.0 / np.sqrt(mine + theirs)
    return strength, error


def rank(
    memory: Evidence,
    centroids: Array,
    models: Sequence[str],
    reference: int,
    settings: ReclustererSettings,
) -> tuple[Ranking, list[RecordedVotes]]:
    """Rank the models in the clusters of `centroids` by the evaluations' own embeddings."""
    data, ballots, opinions, at = gather(memory, centroids, models, settings)
    weights = {voter: weight(settings, voter.kind) for voter in ballots}
    if not len(data):
        return fit(data, np.zeros(0), len(centroids), len(models), reference), opinions
    ranking, _ = fit_votes(data, ballots, len(centroids), len(models), reference, weights, at)
    return ranking, opinions


def weight(settings: ReclustererSettings, kind: RaterKind) -> float:
    """How much votes of this kind of rater count."""
    weights = {
        RaterKind.judge: settings.weigh_judge,
        RaterKind.human: settings.weigh_human,
        RaterKind.feedback: settings.weigh_feedback,
    }
    return weights[kind]


def gather(
    memory: Evidence, centroids: Array, models: Sequence[str], settings: ReclustererSettings
) -> tuple[
    Comparisons, dict[Voter, tuple[npt.NDArray[np.intp], Ballots]], list[RecordedVotes], Floats
]:
    """Evaluations as arrays, in an order that does not depend on when they came; also the
    comparisons' times (n,).

    People and thumbs are pooled by kind.
    """
    where = {name: i for i, name in enumerate(models)}
    opinions = sorted(
        (o for o in memory.opinions.values() if o.first in where and o.second in where),
        key=lambda o: o.evaluation_id,
    )
    rows = {c: i for i, c in enumerate(sorted({o.comparison_id for o in opinions}))}
    first_of: dict[str, RecordedVotes] = {}
    for opinion in opinions:
        first_of.setdefault(opinion.comparison_id, opinion)
    ordered = [first_of[c] for c in rows]
    cluster = (
        nearest_of(np.stack([o.vector for o in ordered]), centroids)[1]
        if ordered
        else np.zeros(0, np.intp)
    )
    prompts = {r: i for i, r in enumerate(sorted({o.request_id for o in ordered}))}
    at = np.array([o.at for o in ordered], np.float64)
    data = Comparisons(
        cluster=cluster.astype(np.intp),
        first=np.array([where[o.first] for o in ordered], np.intp),
        second=np.array([where[o.second] for o in ordered], np.intp),
        weight=decay(memory.newest - at, settings.half_life_s),
        prompt=np.array([prompts[o.request_id] for o in ordered], np.intp),
    )
    by_rater: dict[Voter, list[RecordedVotes]] = {}
    for opinion in opinions:
        by_rater.setdefault(Voter.of(opinion.kind, opinion.rater), []).append(opinion)
    ballots = {
        key: (
            np.array([rows[o.comparison_id] for o in votes], np.intp),
            Ballots.of([o.votes.counts() for o in votes]),
        )
        for key, votes in sorted(by_rater.items())
    }
    return data, ballots, opinions, at


def _guard(
    memory: Evidence, old: Array, new: Array, models: Sequence[Model], settings: ReclustererSettings
) -> str:
    """Why the new centroids should not be used: recent comparisons, left out in turn, are predicted
    worse with them. Else ""."""
    names = [m.name for m in models]
    each = []
    for centroids in (old, new):
        data, ballots, *_ = gather(memory, centroids, names, settings)
        if len(data) < GUARD_FROM:
            return ""
        each.append(_held_out_losses(data, ballots, len(centroids), len(names)))
    worse = each[1] - each[0]
    error = float(worse.std() / len(worse) ** 0.5)
    if worse.mean() > max(GUARD_TOLERANCE, GUARD_SURE * error):
        return (
            f"new clusters predict comparisons worse by {worse.mean():.3f} ± {error:.3f} nats, "
            "so the old ones stay"
        )
    return ""


def _ratio(data: Comparisons, ballots: dict[Voter, tuple[npt.NDArray[np.intp], Ballots]]) -> Floats:
    """(n,): log-likelihood ratio of "first is better", of voters who are all taken to be alike."""
    ratio = np.zeros(len(data))
    for rows, cast in ballots.values():
        np.add.at(ratio, rows, log_ratio(cast, Hits()))
    return ratio


def _held_out_losses(
    data: Comparisons,
    ballots: dict[Voter, tuple[npt.NDArray[np.intp], Ballots]],
    clusters: int,
    models: int,
) -> Floats:
    """(n,): loss, in nats, of each comparison, predicted from those of other prompts, in two
    folds."""
    ratio = _ratio(data, ballots)
    lost = np.zeros(len(data))
    for fold in (0, 1):
        held = np.flatnonzero(data.prompt % 2 == fold)
        training = np.flatnonzero(data.prompt % 2 != fold)
        ranking = fit(data.rows(training), ratio[training], clusters, models, 0)
        lead = (
            ranking.strength[data.cluster[held], data.first[held]]
            - ranking.strength[data.cluster[held], data.second[held]]
        )
        lost[held] = data.weight[held] * losses(lead, ratio[held])
    return lost
