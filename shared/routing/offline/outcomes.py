"""A first routing table from an outcome matrix: prompts x models, with scores and, where known,
cost and latency.

A model's success in a cluster is its mean score there, shrunk toward its mean over all prompts. The
shrinkage is as if `SHRINKAGE` more prompts had scored that mean.
Strength is its log-odds less the reference model's, whose own success the table says too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.choosing import best_of
from shared.routing.deciding.frontier import frontier_of
from shared.routing.deciding.predictor import calibrated, squashed
from shared.routing.deciding.projection import (
    TASK,
    Fitted,
    contrastive,
    delta,
    keys,
    onto_task,
)
from shared.routing.deciding.selection import expectations
from shared.routing.deciding.table import Array, Cluster, Encoder, Provenance, RoutingTable, Text
from shared.routing.errors import OutcomesInvalid
from shared.routing.learning.clustering import Clustering, kmeans
from shared.routing.learning.fitting import fit_estimator, success_rates
from shared.routing.learning.labels import typical_label
from shared.routing.learning.task2vec import signatures
from shared.routing.offline.measures import Curve, area

Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Representation = Literal["plain", "contrastive", "tasks", "delta", "keys"]
"""What clusters are made of: the encoder's embeddings as they are, or what a projection makes of
them (`projection`)."""
FEW = 20.0
"""Scores that all models' mean counts for, where the best model is named: one that was asked three
times is not the best. A model with fewer scores is shrunk toward that mean."""
SHRINKAGE = 10.0
"""Prompts that the mean over all clusters counts for; found good on public data
(docs/decisions/0004-first-table.md)."""
K_CANDIDATES = (5, 10, 25, 60, 120)
SURE_SLOPE = 3.0
"""Standard errors by which cost must rise with a prompt's length."""
USUAL = 0.95
"""Fraction of the prompts whose lengths are nearer to their cluster's mean than those of the
longest."""
FEW_COSTS = 30
"""Costs of a model below which that is not asked."""
FOLDS = 3
RESAMPLES = 40
AREA_STEPS = 60
"""Rates at which areas are compared."""
SURELY = 0.95
"""Part of the resamples on which a recipe must be ahead to replace the one that is preferred."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """`scores` (prompts, models) in 0..1; `cost_usd` and `latency_s` the same, or (models,) if
    known only on average.

    NaN: that model did not answer that prompt. `texts` are what was embedded, one a prompt.
    """

    texts: tuple[str, ...]
    models: tuple[str, ...]
    scores: Matrix
    cost_usd: Matrix
    latency_s: Matrix
    responses: Array | None = None
    """(prompts, dimension): the mean embedding of each prompt's answers; needed for delta and
    keys."""
    prompt_tokens: Matrix | None = None
    """(prompts,): how long each prompt is."""
    usd_per_token: Matrix | None = None
    """(models,): what one more token of a prompt costs, by its price; 0 where that is not known."""

    def __post_init__(self) -> None:
        shape = (len(self.texts), len(self.models))
        if self.scores.shape != shape:
            raise OutcomesInvalid(
                f"scores have shape {self.scores.shape}; {shape[0]} prompts and {shape[1]} models "
                f"want {shape}"
            )
        if not shape[0] or shape[1] < 2:
            raise OutcomesInvalid("an outcome matrix needs at least one prompt and two models")
        if not np.isfinite(self.scores).any():
            raise OutcomesInvalid("no prompt has a score")

    def few(self) -> dict[str, int]:
        """The models that have fewer than `FEW` scores though others have more, with how many."""
        counts = np.isfinite(self.scores).sum(axis=0)
        return {
            m: int(n)
            for m, n, good in zip(self.models, counts, enough(counts), strict=True)
            if not good
        }

    def with_few_shrunk(self) -> Outcomes:
        """With neutral scores, the mean of all, for models that have few: as many as are missing to
        `FEW`, spread over the prompts.

        So nothing that is learnt takes a model for the best, or for the worst, by a handful of
        answers.
        """
        if not (few := self.few()):
            return self
        scores = self.scores.copy()
        neutral = float(np.nanmean(self.scores))
        for model, count in few.items():
            column = scores[:, self.models.index(model)]
            free = np.flatnonzero(~np.isfinite(column))
            wanted = min(len(free), int(FEW) - count)
            column[free[np.linspace(0, len(free) - 1, wanted).astype(np.intp)]] = neutral
        return replace(self, scores=scores)

    def paid(self) -> Matrix:
        """Costs (prompts, models) in USD; a model's mean where one is not known."""
        return filled(np.broadcast_to(self.cost_usd, self.scores.shape))

    def charged(self, labels: npt.NDArray[np.int64]) -> Matrix | None:
        """(models,): what one more token of a prompt costs within a cluster. It is the price, or
        else found from recorded costs. None where no lengths are known.

        `labels` (prompts,) are the clusters. Longer prompts get longer answers, too. A slope counts
        where it is surely above 0, by errors that hold for any spread of costs and grow where few
        prompts decide (HC3; MacKinnon and White 1985). The longest prompts weigh no more than
        usual ones.
        """
        if self.usd_per_token is None or self.prompt_tokens is None:
            return None
        slopes = self.usd_per_token.copy()
        paid = np.broadcast_to(self.cost_usd, self.scores.shape)
        for model in np.flatnonzero(slopes <= 0):
            measured = np.isfinite(paid[:, model])
            if measured.sum() < FEW_COSTS:
                continue
            longer = _within(self.prompt_tokens[measured], labels[measured])
            dearer = _within(paid[measured, model], labels[measured])
            usual = float(np.quantile(np.abs(longer), USUAL))
            bounded = np.clip(longer, -usual, usual)
            pull = bounded * longer
            spread = float(pull.sum())
            if spread <= 0:
                continue
            slope = float((bounded * dearer).sum()) / spread
            residual = (dearer - longer * slope) / np.maximum(1.0 - pull / spread, 1e-3)
            error = float(np.sqrt(((residual * bounded) ** 2).sum())) / spread
            slopes[model] = slope if slope > SURE_SLOPE * error else 0.0
        return slopes

    def rows(self, rows: npt.NDArray[np.intp]) -> Outcomes:
        """The same for some of the prompts."""
        wide = [a if a.ndim == 1 else _some(a, rows) for a in (self.cost_usd, self.latency_s)]
        answers = None if self.responses is None else self.responses[rows]
        tokens = None if self.prompt_tokens is None else self.prompt_tokens[rows]
        texts = tuple(self.texts[i] for i in rows)
        return Outcomes(
            texts,
            self.models,
            self.scores[rows],
            wide[0],
            wide[1],
            answers,
            tokens,
            self.usd_per_token,
        )


def _some(values: Matrix, rows: npt.NDArray[np.intp]) -> Matrix:
    """Some rows of `values`; a model of which nothing is known there has its mean over all."""
    part_of_values: Matrix = values[rows]
    bare = ~np.isfinite(part_of_values).any(axis=0)
    if bare.any():
        part_of_values[:, bare] = np.nanmean(values[:, bare], axis=0)
    return part_of_values


def _within(values: Matrix, labels: npt.NDArray[np.int64]) -> Matrix:
    """(n,): values less the mean of their cluster."""
    count = np.maximum(np.bincount(labels), 1)
    less: Matrix = values - (np.bincount(labels, weights=values) / count)[labels]
    return less


def filled(values: Matrix) -> Matrix:
    """`values` (prompts, models) with a model's mean where one is NaN."""
    filled_in: Matrix = np.where(np.isfinite(values), values, np.nanmean(values, axis=0))
    return filled_in


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a table is built."""

    representation: Representation = "plain"
    estimator: bool = False
    k: int = 25
    text: Text = "prompt"
    """What the embedder reads."""

    def __str__(self) -> str:
        return (
            f"{self.text}, {self.representation}{' + estimator' if self.estimator else ''}, "
            f"{self.k} clusters"
        )


def recipes(
    count: int,
    texts: Sequence[Text] = ("prompt",),
    representations: Sequence[Representation] = ("plain",),
    numbers: Sequence[int] = K_CANDIDATES,
    estimators: Sequence[bool] = (False, True),
) -> list[Recipe]:
    """What `choose` tries for a file of `count` prompts, the simpler first.

    Numbers of clusters that leave fewer than four prompts a cluster are left aside. An estimator
    has clusterings of its own, and a contrastive space among them, so with one there is one number
    of clusters, the middle one.
    """
    usable = [k for k in numbers if k <= count * (FOLDS - 1) / FOLDS / 4] or [min(numbers)]
    middle = usable[len(usable) // 2]
    bare = [
        Recipe(name, False, k, text) for text in texts for name in representations for k in usable
    ]
    whole = [Recipe(name, True, middle, text) for text in texts for name in representations]
    return [*(bare if False in estimators else ()), *(whole if True in estimators else ())]


def build_table(
    outcomes: Outcomes,
    features: Array,
    encoder: Encoder,
    recipe: Recipe,
    *,
    seed: int = 0,
    source: str,
    simulated: bool,
    reference: str | None = None,
    top_p: int = 4,
    sharpness: float = 9.0,
    measure: bool = False,
) -> RoutingTable:
    """Cluster the prompts and rank the models in each cluster. `reference` None: the best overall.

    `features` (prompts, the encoder's dimension, and the form behind it where there is one) are
    embeddings of what the recipe reads. `measure`: with the quality-cost frontier, on prompts left
    out; that builds `FOLDS` more tables.
    """
    if len(features) != len(outcomes.texts):
        raise OutcomesInvalid(f"{len(features)} vectors for {len(outcomes.texts)} prompts")
    reference = reference or outcomes.models[best_model(outcomes.scores)]
    if reference not in outcomes.models:
        raise OutcomesInvalid(
            f"the reference model {reference} is not among the models: {', '.join(outcomes.models)}"
        )
    outcomes = outcomes.with_few_shrunk()
    vectors = features[:, : encoder.dimension]
    fitted = fit_representation(recipe.representation, outcomes, features, vectors)
    points = fitted.points if fitted else vectors
    clustering = kmeans(points, recipe.k, seed)
    k = len(clustering.centroids)
    rates, counts = success_rates(outcomes.scores, clustering.labels, k, SHRINKAGE)
    base = outcomes.models.index(reference)
    logits = np.log(rates) - np.log1p(-rates)
    per_token = outcomes.charged(clustering.labels)
    means = (
        None
        if outcomes.prompt_tokens is None
        else _expected(outcomes.prompt_tokens[:, None], clustering)[:, 0].astype(np.float32)
    )
    table = RoutingTable(
        encoder=encoder,
        models=outcomes.models,
        reference_model=reference,
        clusters=named_clusters(outcomes.texts, points, clustering),
        centroids=clustering.centroids,
        strength=(logits - logits[:, [base]]).astype(np.float32),
        standard_error=(1.0 / np.sqrt((counts + SHRINKAGE) * rates * (1.0 - rates))).astype(
            np.float32
        ),
        cost_usd=_expected(outcomes.cost_usd, clustering).astype(np.float32),
        latency_s=_expected(outcomes.latency_s, clustering).astype(np.float32),
        provenance=Provenance(source, simulated, len(outcomes.texts), seed),
        top_p=top_p,
        sharpness=sharpness,
        projection=fitted.projection if fitted else None,
        estimator=fit_estimator(
            features, outcomes.scores, seed=seed, top=top_p, sharpness=sharpness
        )
        if recipe.estimator
        else None,
        signatures=signatures(vectors, outcomes.scores, clustering.labels, k),
        reference_success=rates[:, base].astype(np.float32),
        text=recipe.text,
        usd_per_token=None if means is None or per_token is None else per_token.astype(np.float32),
        prompt_tokens=None if per_token is None else means,
    )
    if not measure:
        return table
    success, cost = left_out(outcomes, features, encoder, recipe, seed)
    if table.estimator is not None:
        slope, intercept = calibrated(success, outcomes.scores)
        table = replace(table, estimator=replace(table.estimator, slope=slope, intercept=intercept))
        success = squashed(slope, intercept, success)
    return replace(
        table,
        frontier=frontier_of(success, cost, outcomes.models, (outcomes.scores, outcomes.paid())),
    )


def enough(counts: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which of this many scores are enough to say how good a model is: `FEW`, or, where nobody has
    those, the most there are."""
    many: npt.NDArray[np.bool_] = np.asarray(counts) >= min(FEW, np.max(counts))
    return many


def best_model(scores: Matrix) -> int:
    """The best model by its scores, (n, models) with NaN where it has none: the one of the highest
    mean less a standard error.

    Means are shrunk toward all models' as if `FEW` prompts had scored that. One with fewer scores
    than `FEW` is the best only if all are.
    """
    measured = np.isfinite(scores)
    proven = enough(measured.sum(axis=0))
    counts = measured.sum(axis=0) + FEW
    everyone = float(np.nanmean(scores))
    means = (np.where(measured, scores, 0.0).sum(axis=0) + FEW * everyone) / counts
    return int(np.where(proven, means - np.sqrt(means * (1.0 - means) / counts), -np.inf).argmax())


def left_out(
    outcomes: Outcomes,
    features: Array,
    encoder: Encoder,
    recipe: Recipe,
    seed: int = 0,
    folds: int = FOLDS,
) -> tuple[Matrix, Matrix]:
    """Success and cost that the recipe expects of prompts left out, in `folds` folds, each (n,
    models)."""
    fold = np.random.default_rng(seed).permutation(len(features)) % folds
    success = np.zeros(outcomes.scores.shape)
    cost = np.zeros(outcomes.scores.shape)
    for held in range(folds):
        train = np.flatnonzero(fold != held)
        test = np.flatnonzero(fold == held)
        some = replace(recipe, k=max(1, min(recipe.k, len(train) // 4)))
        table = build_table(
            outcomes.rows(train),
            features[train],
            encoder,
            some,
            seed=seed,
            source="left out",
            simulated=False,
        )
        tokens = None if outcomes.prompt_tokens is None else outcomes.prompt_tokens[test]
        expected = expectations(table, features[test], tokens)
        success[test] = expected.success
        cost[test] = expected.cost_usd
    return success, cost


def ends(paid: Matrix) -> tuple[float, float]:
    """Mean costs of the cheapest and the most expensive model, USD, of costs (n, models)."""
    means = paid.mean(axis=0)
    return float(means.min()), float(means.max())


def fit_representation(
    name: Representation, outcomes: Outcomes, features: Array, vectors: Array
) -> Fitted | None:
    """The projection of that name, learnt from these outcomes. Raises `OutcomesInvalid` if it needs
    responses and there are none."""
    if name == "plain":
        return None
    if name == "contrastive":
        return contrastive(features, outcomes.scores)
    if name == "tasks":
        projection = onto_task()
        return Fitted(projection, projection(features[:, :TASK]))
    if outcomes.responses is None:
        raise OutcomesInvalid(
            f"the representation {name} is learnt from the models' responses, and the outcomes "
            "have none"
        )
    return (delta if name == "delta" else keys)(vectors, outcomes.responses)


def choose(
    outcomes: Outcomes,
    features: Mapping[Text, Array],
    encoder: Encoder,
    recipes: Sequence[Recipe],
    seed: int = 0,
    *,
    say: Callable[[Recipe, float], None] = lambda _recipe, _area: None,
) -> Recipe:
    """The recipe to build by, from areas under the quality-cost curve on prompts left out; where
    all cost the same, by quality.

    `features` are those of each text. Among tables without an estimator the best stands for all. An
    estimator, which is a mean of many, is taken unless that one is clearly better. The prompt
    itself is read unless another text is clearly better. Choosing the best of several by a few
    hundred prompts did worse (docs/decisions/0010-true-units.md)."""
    tried: dict[Recipe, tuple[Matrix, Matrix]] = {}
    reached: dict[Recipe, float] = {}
    for recipe in recipes:
        tried[recipe] = left_out(outcomes, features[recipe.text], encoder, recipe, seed)
        reached[recipe] = swept_area(*tried[recipe], outcomes)
        say(recipe, reached[recipe])

    def best(candidates: Sequence[Recipe]) -> Recipe:
        """The first of the largest area."""
        return max(candidates, key=lambda recipe: round(reached[recipe], 9))

    chosen: Recipe | None = None
    for text in dict.fromkeys(recipe.text for recipe in recipes):
        whole, bare = (
            [r for r in recipes if r.text == text and r.estimator == kind] for kind in (True, False)
        )
        found = best(whole or bare)
        if whole and bare and surely_better(tried[best(bare)], tried[found], outcomes, seed):
            found = best(bare)
        if chosen is None or surely_better(tried[found], tried[chosen], outcomes, seed):
            chosen = found
    assert chosen is not None
    return chosen


def swept_area(
    success: Matrix, cost: Matrix, outcomes: Outcomes, rows: Rows | None = None
) -> float:
    """Area under the quality-cost curve of choices by these expectations, (n, models) each; of some
    `rows` only, if they are given."""
    chosen_rows = np.arange(len(success)) if rows is None else rows
    paid = outcomes.paid()[chosen_rows]
    if not paid.any():
        picks = best_of(success[chosen_rows], cost[chosen_rows])
        return float(
            np.nan_to_num(outcomes.scores[chosen_rows][np.arange(len(chosen_rows)), picks]).mean()
        )
    frontier = frontier_of(
        success[chosen_rows],
        cost[chosen_rows],
        outcomes.models,
        (np.nan_to_num(outcomes.scores[chosen_rows]), paid),  # no answer scores 0
        AREA_STEPS,
    )
    return area(
        Curve(frontier.cost_usd.astype(np.float64), frontier.success.astype(np.float64)),
        *ends(paid),
    )


def surely_better(
    one: tuple[Matrix, Matrix], other: tuple[Matrix, Matrix], outcomes: Outcomes, seed: int = 0
) -> bool:
    """Whether expectations (success and cost) reach a larger area than others on nearly all
    resamples of the prompts."""
    count = len(outcomes.texts)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, count, count) for _ in range(RESAMPLES))
    wins = sum(
        swept_area(*one, outcomes, rows) > swept_area(*other, outcomes, rows) + 1e-9
        for rows in draws
    )
    return wins > SURELY * RESAMPLES


def _expected(values: Matrix, clustering: Clustering) -> Matrix:
    """(k, models): the mean of a cluster, shrunk like the rates; the average where nothing else is
    known."""
    k = len(clustering.centroids)
    if values.ndim == 1:
        return np.tile(values, (k, 1))
    known = np.isfinite(values)
    member = np.eye(k)[clustering.labels].T
    overall = np.nanmean(values, axis=0)
    shrunk: Matrix = (member @ np.where(known, values, 0.0) + SHRINKAGE * overall) / (
        member @ known + SHRINKAGE
    )
    return shrunk


def named_clusters(
    texts: Sequence[str], vectors: Array, clustering: Clustering
) -> tuple[Cluster, ...]:
    """Clusters with labels, each a typical text of its own."""
    width = max(2, len(str(len(clustering.centroids) - 1)))
    clusters = []
    for c, centroid in enumerate(clustering.centroids):
        members = np.flatnonzero(clustering.labels == c)
        distances = np.linalg.norm(vectors[members] - centroid, axis=1)
        name = typical_label(texts, members, distances)
        clusters.append(Cluster(f"c{c:0{width}d}", name, len(members), float(clustering.radii[c])))
    return tuple(clusters)
