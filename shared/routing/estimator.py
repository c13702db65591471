"""Expected success of every model for a prompt: the mean of several estimators that are wrong in different ways.

Clusters know what kind of prompt it is, and are best where prompts are of many kinds; regressions know how models fare along directions of
the space, and are best where all are of one kind. Which is which can't be told well from a few hundred prompts, and choosing by
cross-validation does worse than the plain mean (docs/decisions/0010-true-units.md). The members:

- a linear regression on the embedding and the prompt's form (ridge; Hoerl and Kennard 1970);
- kernel regressions with Gaussian kernels of several widths (Nystroem landmarks; Williams and Seeger 2001);
- committees of cluster profiles: several clusterings each, coarse and fine, since one clustering is one draw (bagging; Breiman 1996) of the
  profiles of Avengers-Pro (arXiv 2508.12631).

All are a few matrix products, and travel with the table. What is learnt from votes has the linear member alone, in log-odds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shared.routing.form import SIZE
from shared.routing.soft import weigh

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Link = Literal["identity", "logistic"]

EDGE = 1e-3
"""Successes are kept that far from 0 and 1."""
FORM_CLIP = 3.0
"""Standard deviations beyond which a form is as unusual as it can be."""


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """From features (n, dimension + form.SIZE) to what regressions read: the embedding, and the form standardised and weighed."""

    center: Array
    spread: Array
    weight: float
    """Length of a usual form beside the embedding, which has length 1."""

    def __call__(self, features: Array) -> Array:
        """(n, dimension + form.SIZE) float32."""
        size = features.shape[1] - SIZE
        form = np.clip((features[:, size:] - self.center) / self.spread, -FORM_CLIP, FORM_CLIP)
        return np.hstack([features[:, :size], (self.weight * 2.0 / np.sqrt(SIZE)) * form]).astype(np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class Estimator:
    """The members, for m models. Arrays are float32; a member that is not there has no rows.

    `matrix` (d, m) and `offset` (m,): linear. `landmarks` (l, d), `widths` (g,), `alphas` (g * l, m), `levels` (g, m): kernels, each
    exp(-width * squared distance). `centroids` (c, points' dimension) and `rates` (c, m) of all clusterings, one behind the other, `sizes`
    of each; `groups`: how many clusterings each committee has.
    """

    link: str
    center: Array
    spread: Array
    form_weight: float
    matrix: Array
    offset: Array
    landmarks: Array
    widths: Array
    alphas: Array
    levels: Array
    sizes: tuple[int, ...]
    groups: tuple[int, ...]
    centroids: Array
    rates: Array
    top: int
    sharpness: float
    error: Array
    """(m,): standard deviation of an estimate around the truth, beside what the members disagree by."""
    share: float
    """Part of the expected success that comes from here, 0..1; the rest comes from the clusters' rankings."""

    def __call__(self, features: Array, points: Array) -> tuple[Matrix, Matrix]:
        """Expected success of every model, and its standard deviation, (n, models) each.

        `features` (n, dimension + form.SIZE); `points` (n, the table's dimension) are the same prompts in the table's space.
        """
        members = np.stack(self.members(features, points))
        mean = members.mean(axis=0)
        spread = np.hypot(members.std(axis=0), self.error.astype(np.float64))
        if self.link == "logistic":
            chance = 1.0 / (1.0 + np.exp(-mean))
            return np.clip(chance, EDGE, 1.0 - EDGE), chance * (1.0 - chance) * spread
        return np.clip(mean, EDGE, 1.0 - EDGE), spread

    def members(self, features: Array, points: Array) -> list[Matrix]:
        """What each member expects, (n, models) each."""
        found: list[Matrix] = []
        if len(self.matrix) or len(self.landmarks):
            inputs = Inputs(self.center, self.spread, self.form_weight)(features)
            if len(self.matrix):
                found.append((inputs @ self.matrix + self.offset).astype(np.float64))
            if len(self.landmarks):
                found += self._kernels(inputs)
        return found + self._committees(points)

    def _kernels(self, inputs: Array) -> list[Matrix]:
        apart = squared_distances(inputs, self.landmarks)
        count = len(self.landmarks)
        return [
            (np.exp(-width * apart) @ self.alphas[i * count : (i + 1) * count] + self.levels[i]).astype(np.float64)
            for i, width in enumerate(self.widths)
        ]

    def _committees(self, points: Array) -> list[Matrix]:
        if not self.sizes:
            return []
        distances = np.sqrt(squared_distances(points, self.centroids))
        profiles, start = [], 0
        for size in self.sizes:
            near, weights = weigh(distances[:, start : start + size], self.top, self.sharpness)
            profiles.append(np.einsum("np,npm->nm", weights, self.rates[start : start + size][near]).astype(np.float64))
            start += size
        found, start = [], 0
        for members in self.groups:
            found.append(np.mean(profiles[start : start + members], axis=0))
            start += members
        return found


def squared_distances(a: Array, b: Array) -> Array:
    """(n, k): between rows of a (n, d) and b (k, d)."""
    squared = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("kd,kd->k", b, b) - 2.0 * (a @ b.T)
    found: Array = np.maximum(squared, 0.0)
    return found
