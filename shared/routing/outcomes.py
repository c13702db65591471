"""A first routing table from an outcome matrix: prompts x models, with scores and, where known, cost and latency.

A cluster's success rate of a model is its mean score there, shrunk toward the model's mean over all prompts as if
`SHRINKAGE` prompts had scored that mean: a cluster with few prompts says little. Strength is the rate's log-odds less
the reference model's, so that 0 is the reference and the logistic of a difference is a win rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.routing.clustering import Clustering, kmeans
from shared.routing.committee import fit_predictor, success_rates
from shared.routing.errors import OutcomesInvalid
from shared.routing.projection import Fitted, contrastive, delta, keys
from shared.routing.selection import performances
from shared.routing.table import Array, Cluster, Encoder, Provenance, RoutingTable
from shared.routing.task2vec import signatures

Matrix = npt.NDArray[np.float64]

Representation = Literal["plain", "contrastive", "delta", "keys"]
"""What clusters are made of: the encoder's embeddings as they are, or what a projection makes of them (`projection`)."""

SHRINKAGE = 10.0
"""Prompts that the mean over all clusters counts for; found good on public data (docs/decisions/0004-first-table.md)."""
K_CANDIDATES = (5, 10, 25, 60, 120)
FOLDS = 3


@dataclass(frozen=True, slots=True)
class Outcomes:
    """`scores` (prompts, models) in 0..1; `cost_usd` and `latency_s` likewise, or (models,) if known only on average.

    NaN: that model did not answer that prompt. `texts` are what was embedded, one a prompt.
    """

    texts: tuple[str, ...]
    models: tuple[str, ...]
    scores: Matrix
    cost_usd: Matrix
    latency_s: Matrix
    responses: Array | None = None
    """(prompts, dimension): the mean embedding of each prompt's answers; needed for delta and keys."""

    def __post_init__(self) -> None:
        shape = (len(self.texts), len(self.models))
        if self.scores.shape != shape:
            raise OutcomesInvalid(f"scores have shape {self.scores.shape}; {shape[0]} prompts and {shape[1]} models want {shape}")
        if not shape[0] or shape[1] < 2:
            raise OutcomesInvalid("an outcome matrix needs at least one prompt and two models")
        if bare := [m for m, line in zip(self.models, self.scores.T, strict=True) if not np.isfinite(line).any()]:
            raise OutcomesInvalid(f"no prompt has a score for {', '.join(bare)}")

    def paid(self) -> Matrix:
        """Costs (prompts, models) in USD; a model's mean where one is not known."""
        return filled(np.broadcast_to(self.cost_usd, self.scores.shape))

    def rows(self, rows: npt.NDArray[np.intp]) -> Outcomes:
        """The same for some of the prompts."""
        wide = [a if a.ndim == 1 else a[rows] for a in (self.cost_usd, self.latency_s)]
        answers = None if self.responses is None else self.responses[rows]
        return Outcomes(tuple(self.texts[i] for i in rows), self.models, self.scores[rows], wide[0], wide[1], answers)


def filled(values: Matrix) -> Matrix:
    """`values` (prompts, models) with a model's mean where one is NaN."""
    found: Matrix = np.where(np.isfinite(values), values, np.nanmean(values, axis=0))
    return found


def build_table(
    outcomes: Outcomes,
    features: Array,
    encoder: Encoder,
    *,
    representation: Representation = "plain",
    predictor: bool = False,
    k: int,
    seed: int = 0,
    source: str,
    simulated: bool,
    reference: str | None = None,
    top_p: int = 4,
    sharpness: float = 9.0,
) -> RoutingTable:
    """Cluster the prompts and rank the models in each cluster. `reference` None: the best overall.

    `features` (prompts, the encoder's dimension, and the form behind it where there is one) are embeddings of `outcomes.texts`.
    """
    if len(features) != len(outcomes.texts):
        raise OutcomesInvalid(f"{len(features)} vectors for {len(outcomes.texts)} prompts")
    vectors = features[:, : encoder.dimension]
    fitted = fit_representation(representation, outcomes, features, vectors)
    points = fitted.points if fitted else vectors
    found = kmeans(points, k, seed)
    rates, counts = success_rates(outcomes.scores, found.labels, len(found.centroids), SHRINKAGE)
    reference = reference or outcomes.models[int(np.nanmean(outcomes.scores, axis=0).argmax())]
    if reference not in outcomes.models:
        raise OutcomesInvalid(f"the reference model {reference} is not among the models: {', '.join(outcomes.models)}")
    logits = np.log(rates) - np.log1p(-rates)
    return RoutingTable(
        encoder=encoder,
        models=outcomes.models,
        reference_model=reference,
        clusters=_clusters(outcomes.texts, points, found),
        centroids=found.centroids,
        strength=(logits - logits[:, [outcomes.models.index(reference)]]).astype(np.float32),
        standard_error=(1.0 / np.sqrt((counts + SHRINKAGE) * rates * (1.0 - rates))).astype(np.float32),
        cost_usd=_expected(outcomes.cost_usd, found).astype(np.float32),
        latency_s=_expected(outcomes.latency_s, found).astype(np.float32),
        provenance=Provenance(source, simulated, len(outcomes.texts), seed),
        top_p=top_p,
        sharpness=sharpness,
        projection=fitted.projection if fitted else None,
        predictor=fit_predictor(points, outcomes.scores, k, seed=seed, top=top_p, sharpness=sharpness) if predictor else None,
        signatures=signatures(vectors, outcomes.scores, found.labels, len(found.centroids)),
    )


def fit_representation(name: Representation, outcomes: Outcomes, features: Array, vectors: Array) -> Fitted | None:
    """The projection of that name, learnt from these outcomes. Raises `OutcomesInvalid` if it needs responses and there are none."""
    if name == "plain":
        return None
    if name == "contrastive":
        return contrastive(features, outcomes.scores)
    if outcomes.responses is None:
        raise OutcomesInvalid(f"the representation {name} is learnt from the models' responses, and the outcomes have none")
    return (delta if name == "delta" else keys)(vectors, outcomes.responses)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a table is built."""

    representation: Representation
    predictor: bool
    k: int


def choose(
    outcomes: Outcomes,
    features: Array,
    encoder: Encoder,
    seed: int = 0,
    candidates: Sequence[int] = K_CANDIDATES,
    representations: Sequence[Representation] = ("plain",),
    *,
    predictor: bool = False,
    say: Callable[[Recipe, float], None] = lambda _recipe, _score: None,
) -> Recipe:
    """The recipe whose table routes best: the mean score of the strongest model on prompts left out, in 3 folds.

    Representations and numbers of clusters are tried together; with `predictor`, one is tried on the best of them. Ties go to the
    earlier representation and the smaller number; numbers that leave fewer than four prompts a cluster are left aside.
    """
    count = len(outcomes.texts)
    fold = np.random.default_rng(seed).permutation(count) % FOLDS
    usable = [k for k in candidates if k <= count * (FOLDS - 1) / FOLDS / 4] or [min(candidates)]

    def tried(recipe: Recipe) -> float:
        scores = []
        for held in range(FOLDS):
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            table = build_table(
                outcomes.rows(train),
                features[train],
                encoder,
                representation=recipe.representation,
                predictor=recipe.predictor,
                k=recipe.k,
                seed=seed,
                source="cross-validation",
                simulated=False,
            )
            scores.append(routed_score(table, features[test], outcomes.scores[test]))
        say(recipe, float(np.mean(scores)))
        return float(np.mean(scores))

    best, best_score = Recipe(representations[0], False, usable[0]), -np.inf
    for recipe in [Recipe(name, False, k) for name in representations for k in usable]:
        if (score := tried(recipe)) > best_score + 1e-9:
            best, best_score = recipe, score
    if predictor and tried(more := replace(best, predictor=True)) > best_score + 1e-9:
        return more
    return best


def routed_score(table: RoutingTable, features: Array, scores: Matrix) -> float:
    """The mean score of the strongest model of each prompt, over prompts with features (n, …) and known scores (n, models)."""
    performance, _, _ = performances(table, table.points(features))
    return float(np.nanmean(scores[np.arange(len(scores)), performance.argmax(axis=1)]))


def _expected(values: Matrix, found: Clustering) -> Matrix:
    """(k, models): the mean of a cluster, shrunk like the rates; the average where nothing else is known."""
    k = len(found.centroids)
    if values.ndim == 1:
        return np.tile(values, (k, 1))
    known, member = np.isfinite(values), np.eye(k)[found.labels].T
    overall = np.nanmean(values, axis=0)
    shrunk: Matrix = (member @ np.where(known, values, 0.0) + SHRINKAGE * overall) / (member @ known + SHRINKAGE)
    return shrunk


def _clusters(texts: Sequence[str], vectors: Array, found: Clustering) -> tuple[Cluster, ...]:
    width = max(2, len(str(len(found.centroids) - 1)))
    clusters = []
    for c, centroid in enumerate(found.centroids):
        members = np.flatnonzero(found.labels == c)
        nearest = members[np.linalg.norm(vectors[members] - centroid, axis=1).argmin()]
        clusters.append(Cluster(f"c{c:0{width}d}", label(texts[nearest]), len(members), float(found.radii[c])))
    return tuple(clusters)


def label(text: str, length: int = 80) -> str:
    """A task description as a cluster's label: one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + "…"
