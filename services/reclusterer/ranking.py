"""Ranking the models in clusters by votes, beside what a brought table knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.reclusterer.memory import Evidence, RecordedVotes
from services.reclusterer.settings import ReclustererSettings
from shared.catalog.estimates import ANSWER_TOKENS
from shared.catalog.models import Model
from shared.contracts.raters import RaterKind, Voter
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.projection import Projection
from shared.routing.deciding.table import Array, Cluster, Provenance, RoutingTable, Text
from shared.routing.learning.bradley_terry import (
    Comparisons,
    Floats,
    Ranking,
    decay,
    fit,
    fit_votes,
)
from shared.routing.learning.clustering import nearest_of
from shared.routing.learning.expectations import expectations
from shared.routing.learning.votes import Ballots


def reference_of(models: Sequence[Model], settings: ReclustererSettings) -> str:
    """The model whose strength is 0: that of the settings, else the most expensive."""
    return settings.reference or max(models, key=lambda m: (m.price.output, m.name)).name


@dataclass(frozen=True, slots=True)
class RankedTable:
    """A table as votes rank its models."""

    table: RoutingTable
    evaluations: int
    """How many are in it."""
    ranking: Ranking
    """By votes alone."""
    changed: Mapping[str, str]
    """What has changed about its models, in words, by model and cluster."""


def ranked_table(
    memory: Evidence,
    clusters: tuple[Cluster, ...],
    centroids: Array,
    models: Sequence[Model],
    settings: ReclustererSettings,
    anchor: RoutingTable | None,
    projection: Projection | None,
    text: Text | None,
) -> RankedTable:
    """The table with these clusters."""
    assert memory.encoder is not None
    names = [m.name for m in models]
    reference = reference_of(models, settings)
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
            {(change.cluster, change.model) for change in ranking.changed},
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
        provenance=Provenance(source, simulated, len(memory.samples), settings.seed),
        top_p=settings.top_p,
        unproven_error=settings.unproven,
        projection=projection,
        reference_success=_base(anchor, centroids, reference).astype(np.float32),
        usd_per_token=per_token.astype(np.float32),
        prompt_tokens=tokens.astype(np.float32),
        text=text,
    )
    changed = {
        f"{names[one.model]} {clusters[one.cluster].id}": (
            f"{names[one.model]} has changed in {clusters[one.cluster].id} "
            f"“{clusters[one.cluster].label}”: it won {one.won_before:.0%} of {one.before} "
            f"comparisons before, {one.won_since:.0%} of {one.since} since"
        )
        for one in ranking.changed
    }
    return RankedTable(table, len(opinions), ranking, changed)


def _base(anchor: RoutingTable | None, centroids: Array, reference: str) -> Floats:
    """(clusters,): the reference's success: 0.5 against itself; where an anchor knows its expected
    score, that score."""
    if anchor is None or anchor.reference_success is None or reference not in anchor.models:
        return np.full(len(centroids), 0.5)
    scores = anchor.success[:, anchor.models.index(reference)].astype(np.float64)
    return np.array([place.weights @ scores[place.clusters] for place in assign(centroids, anchor)])


def _tokens(memory: Evidence, centroids: Array) -> Floats:
    """(clusters,): mean length of the prompts of each cluster, in tokens; that of all where a
    cluster has none."""
    samples, points = memory.matrix()
    lengths = np.array([s.tokens for s in samples])
    labels = nearest_of(points, centroids)[1]
    counts = np.bincount(labels, minlength=len(centroids))
    sums = np.bincount(labels, lengths, minlength=len(centroids))
    return np.where(counts > 0, sums / np.maximum(counts, 1), lengths.mean())


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
