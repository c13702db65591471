"""Routers to be compared: the tables that the services route by, and the baselines of the field.

Each learns from the outcomes of some prompts and says of others what it expects of every model:
success on 0..1 and cost in USD. The choice at given rates is then made for all of them alike, by
`selection.choices`: what differs is only what they expect. Avengers-Pro is also compared with the
score that its paper has, which scales both over the models (`scaled`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.routing.deciding import scaled
from shared.routing.deciding.assignment import assign_all
from shared.routing.deciding.choosing import best_of, breakpoints
from shared.routing.deciding.frontier import Frontier
from shared.routing.deciding.rates import Rates, Weights
from shared.routing.deciding.selection import Expectations, choices, expectations
from shared.routing.deciding.table import Array, Encoder, RoutingTable, Text
from shared.routing.learning.clustering import distinct
from shared.routing.offline.outcomes import Outcomes, Recipe, build_table, choose, filled

Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
BLOCK = 1024
TOKENS = "tokens"
"""Name of the prompts' lengths (n,) among the features."""
STEPS = 400
"""Rates of a sweep."""
WEIGHTS = tuple(Weights(float(a), float(1.0 - a), 0.0) for a in np.linspace(0.0, 1.0, 201))
"""From cost alone to quality alone, for the score that is scaled."""


@dataclass(frozen=True, slots=True)
class Data:
    """Outcomes, and the features (prompts, …) of each text that may stand for a prompt."""

    outcomes: Outcomes
    features: Mapping[str, Array]
    encoder: Encoder

    def rows(self, rows: Rows) -> Data:
        """The same for some of the prompts."""
        return Data(
            self.outcomes.rows(rows),
            {name: values[rows] for name, values in self.features.items()},
            self.encoder,
        )


@dataclass(frozen=True, slots=True)
class RouterExpectations:
    """What a router expects of every model, and how it chooses by it."""

    of: Expectations
    novel: npt.NDArray[np.bool_] | None = None
    """(n,), where the router says so."""
    by_weights: bool = False
    """Whether it scales success and cost over the models, as Avengers-Pro does."""

    def best(self) -> Rows:
        """(n,): the model of the highest success."""
        return best_of(self.of.success, self.of.cost_usd)

    def sweep(self) -> list[Rows]:
        """Choices from cost alone to quality alone, latency left aside."""
        if not self.by_weights:
            rates = breakpoints(self.of.success, self.of.cost_usd, STEPS)
            return [choices(self.of, Rates(float(rate))) for rate in rates]
        still = np.zeros_like(self.of.cost_usd)
        points = []
        for weights in WEIGHTS:
            gain, paid, _ = scaled.terms(self.of.success, self.of.cost_usd, still, weights)
            points.append(best_of(gain - paid, self.of.cost_usd))
        return points


@dataclass(frozen=True, slots=True)
class FittedRouter:
    """A router that has learnt."""

    expect: Callable[[Mapping[str, Array]], RouterExpectations]
    """What is expected for prompts, given their features by text."""
    frontier: Frontier | None = None
    """What its rates reach, where it says so."""
    recipe: str = ""
    """What it chose to do, where it chose."""


class Router(Protocol):
    """A way to learn."""

    @property
    def looks(self) -> bool:
        """Whether prompts are looked at."""

    def fit(self, data: Data, seed: int, /) -> FittedRouter: ...


def known(success: Matrix, cost: Matrix) -> Expectations:
    """Expectations without errors or latencies."""
    return Expectations(
        success,
        np.zeros_like(success),
        cost,
        np.zeros_like(cost),
        np.zeros(success.shape, np.bool_),
    )


@dataclass(frozen=True, slots=True)
class Pointsman:
    """The product: a routing table as `pointsman table build` makes it, by the best of several
    recipes."""

    recipes: tuple[Recipe, ...]
    form: bool = True
    measure: bool = False
    """Whether it says what its rates reach."""
    looks: bool = True

    def fit(self, data: Data, seed: int) -> FittedRouter:
        count = len(data.outcomes.texts)
        features: dict[Text, Array] = {}
        for recipe in self.recipes:
            whole = data.features[recipe.text]
            features[recipe.text] = whole if self.form else whole[:, : data.encoder.dimension]
        recipes = [replace(recipe, k=min(recipe.k, max(1, count // 4))) for recipe in self.recipes]
        recipe = (
            recipes[0]
            if len(recipes) == 1
            else choose(data.outcomes, features, data.encoder, recipes, seed)
        )
        given = features[recipe.text]
        table = build_table(
            data.outcomes,
            given,
            data.encoder,
            recipe,
            seed=seed,
            source="evaluation",
            simulated=False,
            measure=self.measure,
        )
        return FittedRouter(
            lambda asked: expected_by(table, recipe.text, asked), table.frontier, str(recipe)
        )


def expected_by(table: RoutingTable, text: Text, given: Mapping[str, Array]) -> RouterExpectations:
    """What a table expects of prompts, given their features by text and their lengths."""
    features = given[text]
    tokens = given[TOKENS].astype(np.float64) if TOKENS in given else None
    return RouterExpectations(
        expectations(table, features, tokens), assign_all(table.points(features), table).novel
    )


@dataclass(frozen=True, slots=True)
class AvengersPro:
    """The recipe of arXiv 2508.12631: k-means profiles, a softmax of -sharpness times distance over
    the `top` nearest clusters.

    `shrinkage` prompts that scored a model's overall mean are added to each profile; the recipe has
    none. `by_weights`: with its own score; else its expectations are compared in true units.
    """

    k: int = 60
    top: int = 4
    sharpness: float = 9.0
    shrinkage: float = 0.0
    by_weights: bool = True
    text: Text = "prompt"
    looks: bool = True

    def fit(self, data: Data, seed: int) -> FittedRouter:
        from sklearn.cluster import KMeans

        vectors = data.features[self.text][:, : data.encoder.dimension]
        k = min(self.k, distinct(vectors))
        fitted = KMeans(k, n_init=3, random_state=seed).fit(vectors)
        member = np.eye(k)[fitted.labels_].T
        overall = np.nanmean(data.outcomes.scores, axis=0)
        sizes = member.sum(axis=1, keepdims=True)
        share = member / sizes
        profile = (sizes * (share @ filled(data.outcomes.scores)) + self.shrinkage * overall) / (
            sizes + self.shrinkage
        )
        paid = share @ data.outcomes.paid()

        def expect(given: Mapping[str, Array]) -> RouterExpectations:
            distance = fitted.transform(given[self.text][:, : data.encoder.dimension])
            near = distance.argsort(axis=1)[:, : self.top]
            weight = np.exp(-self.sharpness * np.take_along_axis(distance, near, 1))
            weight /= weight.sum(axis=1, keepdims=True)
            success = np.einsum("np,npm->nm", weight, profile[near])
            return RouterExpectations(
                known(success, np.einsum("np,npm->nm", weight, paid[near])),
                by_weights=self.by_weights,
            )

        return FittedRouter(expect)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The mean outcome of the k nearest prompts, by cosine."""

    k: int
    text: Text = "prompt"
    looks: bool = True

    def fit(self, data: Data, _seed: int) -> FittedRouter:
        vectors = data.features[self.text][:, : data.encoder.dimension]
        scores = filled(data.outcomes.scores)
        cost = data.outcomes.paid()
        k = min(self.k, len(vectors))

        def expect(given: Mapping[str, Array]) -> RouterExpectations:
            asked = given[self.text][:, : data.encoder.dimension]
            quality = []
            paid = []
            for start in range(0, len(asked), BLOCK):
                alike = asked[start : start + BLOCK] @ vectors.T
                near = np.argpartition(-alike, k - 1, axis=1)[:, :k]
                quality.append(scores[near].mean(axis=1))
                paid.append(cost[near].mean(axis=1))
            return RouterExpectations(known(np.concatenate(quality), np.concatenate(paid)))

        return FittedRouter(expect)


@dataclass(frozen=True, slots=True)
class Single:
    """Always the same model: the best on the prompts that are learnt from, or the one named."""

    model: str | None = None
    looks: bool = False

    def fit(self, data: Data, _seed: int) -> FittedRouter:
        overall = np.nanmean(data.outcomes.scores, axis=0)
        best = (
            int(overall.argmax()) if self.model is None else data.outcomes.models.index(self.model)
        )
        only = np.eye(len(overall))[best]

        def expect(given: Mapping[str, Array]) -> RouterExpectations:
            count = len(next(iter(given.values())))
            return RouterExpectations(
                known(np.tile(only, (count, 1)), np.zeros((count, len(only))))
            )

        return FittedRouter(expect)
