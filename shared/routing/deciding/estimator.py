"""Expected success of every model for a prompt: the plain mean of a regression and committees of
clusters, calibrated.

Clusters know what kind of prompt it is, and are best where prompts are of many kinds; a regression
knows how models fare along directions of the space, and is best where all are of one kind. Some
hundreds of prompts can't decide between them. Every way to choose or weigh them did worse than
their mean somewhere (docs/decisions/0010-true-units.md). The members:

- a logistic regression for each model on the embedding and the prompt's form;
- committees of cluster profiles, in the space of the embedding and in the contrastive one
  (`projection.contrastive`). Each has several clusterings, coarse and fine, since one clustering is
  one draw (bagging; Breiman 1996) of the profiles of Avengers-Pro (arXiv 2508.12631).

All are a few matrix products, and travel with the table. What is learnt from votes has the
regression alone: the probability of winning against the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.form import SIZE
from shared.routing.deciding.predictor import squashed
from shared.routing.deciding.projection import FORM_CLIP
from shared.routing.deciding.soft import soft

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

EDGE = 1e-3
"""Successes are kept that far from 0 and 1."""


@dataclass(frozen=True, eq=False, slots=True)
class Inputs:
    """From features (n, dimension + form.SIZE) to what regressions read: the embedding, and the
    form standardised and weighed."""

    center: Array
    spread: Array
    weight: float
    """Length of a usual form beside the embedding, which has length 1."""

    @classmethod
    def of(cls, features: Array, weight: float) -> Inputs:
        """Standardised as the forms of these features want it."""
        form = features[:, features.shape[1] - SIZE :]
        return cls(
            form.mean(axis=0).astype(np.float32),
            np.maximum(form.std(axis=0), 0.02).astype(np.float32),
            weight,
        )

    def __call__(self, features: Array) -> Array:
        """(n, dimension + form.SIZE) float32."""
        size = features.shape[1] - SIZE
        form = np.clip((features[:, size:] - self.center) / self.spread, -FORM_CLIP, FORM_CLIP)
        return (np.hstack([features[:, :size], form]) * self.weights(features.shape[1])).astype(
            np.float32
        )

    def weights(self, wide: int) -> Array:
        """(wide,): what each of this many numbers is multiplied by."""
        return np.repeat(
            np.array([1.0, self.weight * 2.0 / np.sqrt(SIZE)], np.float32), [wide - SIZE, SIZE]
        )


@dataclass(frozen=True, eq=False, slots=True)
class Estimator:
    """The members, for m models. Arrays are float32; where there are no committees, what belongs to
    them has no rows.

    `matrix` (d, m) and `offset` (m,): log-odds of success, linear in the inputs. `axes` (d, s) and
    `base` (s,) lead to the spaces of the committees, one beside the other, `widths` of each; each
    space has equally many committees. `centroids` (c, width) and `rates` (c, m) of all clusterings,
    one behind the other, `sizes` of each; `groups`: how many clusterings each committee has.
    """

    center: Array
    spread: Array
    form_weight: float
    matrix: Array
    offset: Array
    axes: Array
    base: Array
    widths: tuple[int, ...]
    sizes: tuple[int, ...]
    groups: tuple[int, ...]
    centroids: Array
    rates: Array
    top: int
    sharpness: float
    slope: float
    intercept: float
    """One line for all models that makes probabilities of the log-odds of the mean (Platt 1999)."""
    error: Array
    """(m,): standard deviation of an estimate around the truth, beside what the members disagree
    by."""
    share: float
    """Part of the expected success that comes from here, 0..1; the rest comes from the clusters'
    rankings."""

    def __call__(self, features: Array) -> tuple[Matrix, Matrix]:
        """Expected success of every model, and its standard deviation, (n, models) each; `features`
        (n, dimension + form.SIZE)."""
        members = np.stack(self.members(features))
        success = squashed(self.slope, self.intercept, members.mean(axis=0))
        return np.clip(success, EDGE, 1.0 - EDGE), np.hypot(
            members.std(axis=0), self.error.astype(np.float64)
        )

    def members(self, features: Array) -> list[Matrix]:
        """What each member expects, (n, models) each: the regression's first."""
        inputs = Inputs(self.center, self.spread, self.form_weight)(features)
        odds = (inputs @ self.matrix + self.offset).astype(np.float64)
        return [1.0 / (1.0 + np.exp(-odds)), *self._committees(inputs)]

    def _committees(self, inputs: Array) -> list[Matrix]:
        committees: list[Matrix] = []
        if not self.sizes:
            return committees
        points = inputs @ self.axes + self.base
        each = len(self.groups) // len(self.widths)
        clusterings = iter(self.sizes)
        column = 0
        row = 0
        for space, width in enumerate(self.widths):
            own = points[:, column : column + width]
            column += width
            for count in self.groups[space * each : (space + 1) * each]:
                profiles = []
                for size in (next(clusterings) for _ in range(count)):
                    profiles.append(self._profile(own, slice(row, row + size), width))
                    row += size
                committees.append(np.mean(profiles, axis=0))
        return committees

    def _profile(self, points: Array, rows: slice, width: int) -> Matrix:
        """What one clustering expects, (n, models)."""
        centroids = self.centroids[rows, :width]
        near, weights, _ = soft(
            points, centroids, np.einsum("kd,kd->k", centroids, centroids), self.top, self.sharpness
        )
        profile: Matrix = np.einsum("np,npm->nm", weights, self.rates[rows][near]).astype(
            np.float64
        )
        return profile
