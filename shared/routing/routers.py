"""Routers to be compared: the tables that the services route by, and the baselines of the field.

Each learns from the outcomes of some prompts and says of others what it expects of every model. The choice at given weights is then
made for all of them alike, by `selection.choices`: what differs is only what they expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from shared.routing.assignment import assign_all
from shared.routing.clustering import distinct
from shared.routing.outcomes import Outcomes, Representation, build_table, filled
from shared.routing.selection import Weights, choices, performances
from shared.routing.table import Array, Encoder

Matrix = npt.NDArray[np.float64]
Text = Literal["prompt", "description", "both"]
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Data:
    """Outcomes, and the features (prompts, …) of each text that may stand for a prompt."""

    outcomes: Outcomes
    features: Mapping[str, Array]
    encoder: Encoder

    def rows(self, rows: npt.NDArray[np.intp]) -> Data:
        """The same for some of the prompts."""
        return Data(self.outcomes.rows(rows), {name: values[rows] for name, values in self.features.items()}, self.encoder)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a router expects: `performance` (n, models) on any scale that rises with quality, and `cost` (n, models) in USD.

    `novel` (n,) and `probability` (n, models) where the router says so.
    """

    performance: Matrix
    cost: Matrix
    novel: npt.NDArray[np.bool_] | None = None
    probability: Matrix | None = None

    def choices(self, weights: Weights) -> npt.NDArray[np.intp]:
        """(n,): the model chosen for each prompt at these weights, latency left aside."""
        return choices(self.performance, self.cost, np.zeros_like(self.cost), weights)


class Fitted(Protocol):
    """A router that has learnt."""

    def __call__(self, given: Mapping[str, Array], /) -> Expected:
        """What is expected for prompts, given their features by text."""


class Router(Protocol):
    """A way to learn."""

    @property
    def text(self) -> str | None:
        """What stands for a prompt; None if it is not looked at."""

    def fit(self, data: Data, seed: int, /) -> Fitted: ...


@dataclass(frozen=True, slots=True)
class Pointsman:
    """The product: a routing table as `pointsman table build` makes it."""

    text: Text = "prompt"
    representation: Representation = "plain"
    predictor: bool = False
    k: int = 60
    form: bool = True

    def fit(self, data: Data, seed: int) -> Fitted:
        features = data.features[self.text]
        if not self.form:
            features = features[:, : data.encoder.dimension]
        table = build_table(
            data.outcomes,
            features,
            data.encoder,
            representation=self.representation,
            predictor=self.predictor,
            k=min(self.k, max(1, len(features) // 4)),
            seed=seed,
            source="evaluation",
            simulated=False,
        )

        def expect(given: Mapping[str, Array]) -> Expected:
            points = table.points(given[self.text])
            performance, cost, _ = performances(table, points)
            probability = table.predictor(points)[0] if table.predictor else None
            return Expected(performance, cost, assign_all(points, table).novel, probability)

        return expect


@dataclass(frozen=True, slots=True)
class AvengersPro:
    """The recipe of arXiv 2508.12631: k-means profiles, a softmax of -sharpness times distance over the `top` nearest clusters.

    `shrinkage` prompts that scored a model's overall mean are added to each profile; the recipe has none.
    """

    k: int = 60
    top: int = 4
    sharpness: float = 9.0
    shrinkage: float = 0.0
    text: Text = "prompt"

    def fit(self, data: Data, seed: int) -> Fitted:
        from sklearn.cluster import KMeans

        vectors = data.features[self.text][:, : data.encoder.dimension]
        k = min(self.k, distinct(vectors))
        found = KMeans(k, n_init=3, random_state=seed).fit(vectors)
        member = np.eye(k)[found.labels_].T
        overall = np.nanmean(data.outcomes.scores, axis=0)
        sizes = member.sum(axis=1, keepdims=True)
        share = member / sizes
        profile = (sizes * (share @ filled(data.outcomes.scores)) + self.shrinkage * overall) / (sizes + self.shrinkage)
        paid = share @ data.outcomes.paid()

        def expect(given: Mapping[str, Array]) -> Expected:
            distance = found.transform(given[self.text][:, : data.encoder.dimension])
            near = distance.argsort(axis=1)[:, : self.top]
            weight = np.exp(-self.sharpness * np.take_along_axis(distance, near, 1))
            weight /= weight.sum(axis=1, keepdims=True)
            return Expected(np.einsum("np,npm->nm", weight, profile[near]), np.einsum("np,npm->nm", weight, paid[near]))

        return expect


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The mean outcome of the k nearest prompts, by cosine."""

    k: int
    text: Text = "prompt"

    def fit(self, data: Data, _seed: int) -> Fitted:
        vectors = data.features[self.text][:, : data.encoder.dimension]
        scores, cost = filled(data.outcomes.scores), data.outcomes.paid()
        k = min(self.k, len(vectors))

        def expect(given: Mapping[str, Array]) -> Expected:
            asked = given[self.text][:, : data.encoder.dimension]
            quality, paid = [], []
            for start in range(0, len(asked), BLOCK):
                alike = asked[start : start + BLOCK] @ vectors.T
                near = np.argpartition(-alike, k - 1, axis=1)[:, :k]
                quality.append(scores[near].mean(axis=1))
                paid.append(cost[near].mean(axis=1))
            return Expected(np.concatenate(quality), np.concatenate(paid))

        return expect


@dataclass(frozen=True, slots=True)
class Single:
    """Always the same model: the best on the prompts that are learnt from, or the one named."""

    model: str | None = None
    text: None = None

    def fit(self, data: Data, _seed: int) -> Fitted:
        overall = np.nanmean(data.outcomes.scores, axis=0)
        best = int(overall.argmax()) if self.model is None else data.outcomes.models.index(self.model)
        only = np.eye(len(overall))[best]

        def expect(given: Mapping[str, Array]) -> Expected:
            count = len(next(iter(given.values())))
            return Expected(np.tile(only, (count, 1)), np.zeros((count, len(only))))

        return expect
