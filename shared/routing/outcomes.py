"""A first routing table from an outcome matrix: prompts x models, with scores and, where known, cost and latency.

A cluster's success rate of a model is its mean score there, shrunk toward the model's mean over all prompts as if
`SHRINKAGE` prompts had scored that mean: a cluster with few prompts says little. Strength is the rate's log-odds less
the reference model's, so that 0 is the reference and the logistic of a difference is a win rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.assignment import assign
from shared.routing.clustering import Clustering, kmeans
from shared.routing.errors import OutcomesInvalid
from shared.routing.table import Array, Cluster, Encoder, Provenance, RoutingTable

Matrix = npt.NDArray[np.float64]

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

    def __post_init__(self) -> None:
        shape = (len(self.texts), len(self.models))
        if self.scores.shape != shape:
            raise OutcomesInvalid(f"scores have shape {self.scores.shape}; {shape[0]} prompts and {shape[1]} models want {shape}")
        if not shape[0] or shape[1] < 2:
            raise OutcomesInvalid("an outcome matrix needs at least one prompt and two models")
        if bare := [m for m, line in zip(self.models, self.scores.T, strict=True) if not np.isfinite(line).any()]:
            raise OutcomesInvalid(f"no prompt has a score for {', '.join(bare)}")

    def rows(self, rows: npt.NDArray[np.intp]) -> Outcomes:
        """The same for some of the prompts."""
        wide = [a if a.ndim == 1 else a[rows] for a in (self.cost_usd, self.latency_s)]
        return Outcomes(tuple(self.texts[i] for i in rows), self.models, self.scores[rows], wide[0], wide[1])


def build_table(
    outcomes: Outcomes,
    vectors: Array,
    encoder: Encoder,
    *,
    k: int,
    seed: int = 0,
    source: str,
    simulated: bool,
    reference: str | None = None,
    top_p: int = 4,
    sharpness: float = 9.0,
) -> RoutingTable:
    """Cluster `vectors` (prompts, dimension) and rank the models in each cluster. `reference` None: the best overall."""
    if len(vectors) != len(outcomes.texts):
        raise OutcomesInvalid(f"{len(vectors)} vectors for {len(outcomes.texts)} prompts")
    found = kmeans(vectors, k, seed)
    rates, counts = success_rates(outcomes.scores, found.labels, len(found.centroids))
    reference = reference or outcomes.models[int(np.nanmean(outcomes.scores, axis=0).argmax())]
    if reference not in outcomes.models:
        raise OutcomesInvalid(f"the reference model {reference} is not among the models: {', '.join(outcomes.models)}")
    logits = np.log(rates) - np.log1p(-rates)
    return RoutingTable(
        encoder=encoder,
        models=outcomes.models,
        reference_model=reference,
        clusters=_clusters(outcomes.texts, vectors, found),
        centroids=found.centroids,
        strength=(logits - logits[:, [outcomes.models.index(reference)]]).astype(np.float32),
        standard_error=(1.0 / np.sqrt((counts + SHRINKAGE) * rates * (1.0 - rates))).astype(np.float32),
        cost_usd=_expected(outcomes.cost_usd, found).astype(np.float32),
        latency_s=_expected(outcomes.latency_s, found).astype(np.float32),
        provenance=Provenance(source, simulated, len(outcomes.texts), seed),
        top_p=top_p,
        sharpness=sharpness,
    )


def success_rates(scores: Matrix, labels: npt.NDArray[np.int64], k: int, shrinkage: float = SHRINKAGE) -> tuple[Matrix, Matrix]:
    """Shrunk success rates and numbers of scores, both (k, models). Rates are kept off 0 and 1 by half a prompt."""
    known = np.isfinite(scores)
    overall = np.nanmean(scores, axis=0)
    member = np.eye(k)[labels].T
    counts = member @ known
    rates = (member @ np.where(known, scores, 0.0) + shrinkage * overall) / (counts + shrinkage)
    edge = 0.5 / (counts + shrinkage + 1.0)
    return np.clip(rates, edge, 1.0 - edge), counts


def choose_k(
    outcomes: Outcomes,
    vectors: Array,
    encoder: Encoder,
    seed: int = 0,
    candidates: Sequence[int] = K_CANDIDATES,
    say: Callable[[int, float], None] = lambda _k, _score: None,
) -> int:
    """The number of clusters whose table routes best: the mean score of the strongest model on prompts left out, in 3 folds.

    Ties go to the smaller. Candidates with fewer than four prompts a cluster are left aside.
    """
    count = len(outcomes.texts)
    fold = np.random.default_rng(seed).permutation(count) % FOLDS
    usable = [k for k in candidates if k <= count * (FOLDS - 1) / FOLDS / 4] or [min(candidates)]
    best, best_score = usable[0], -np.inf
    for k in usable:
        scores = []
        for held in range(FOLDS):
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            table = build_table(outcomes.rows(train), vectors[train], encoder, k=k, seed=seed, source="cross-validation", simulated=False)
            scores.append(routed_score(table, vectors[test], outcomes.scores[test]))
        say(k, float(np.mean(scores)))
        if np.mean(scores) > best_score + 1e-9:
            best, best_score = k, float(np.mean(scores))
    return best


def routed_score(table: RoutingTable, vectors: Array, scores: Matrix) -> float:
    """The mean score of the strongest model of each prompt, over prompts (n, dimension) with known scores (n, models)."""
    chosen = []
    for a in assign(vectors, table):
        strength = table.strength[a.clusters].astype(np.float64)
        chosen.append((a.weights @ (1.0 / (1.0 + np.exp(strength.max(axis=1, keepdims=True) - strength)))).argmax())
    return float(np.nanmean(scores[np.arange(len(scores)), chosen]))


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
