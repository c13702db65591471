"""The predictor of tables of format 1: a committee of cluster profiles at several resolutions,
calibrated.

Read and not made any more: `estimator` is what tables have now.

One clustering is one draw: another seed cuts the same prompts otherwise, and near a border the
choice of a model is chance. Profiles of several clusterings, coarse and fine, averaged, keep what
they agree on; that is bagging (Breiman 1996) on the profiles of Avengers-Pro (arXiv 2508.12631).
One logistic line for all models makes probabilities of the averages (Platt 1999); since it is the
same for all, it never changes which model is best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.soft import soft

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

EDGE = 1e-4
"""Probabilities are kept that far from 0 and 1."""
BINS = 15
NEWTON_STEPS = 25


@dataclass(frozen=True, eq=False, slots=True)
class Predictor:
    """`centroids` (k, dimension) and `rates` (k, models) of all resolutions, one behind the other;
    `sizes` says where each ends."""

    sizes: tuple[int, ...]
    centroids: Array
    rates: Array
    slope: float
    intercept: float
    top: int
    """Clusters of each resolution that a prompt is compared with."""
    sharpness: float
    """Weights are a softmax of -sharpness times distance, as in assignments."""
    share: float
    """Part of the expected performance that comes from here, 0..1; the rest comes from the
    clusters' rankings."""

    def __call__(self, points: Array) -> tuple[Matrix, Matrix]:
        """Probability that each model succeeds, and the committee's standard deviation on it; each
        (n, models)."""
        raw = np.stack(self.profiles(points))
        mean = squashed(self.slope, self.intercept, raw.mean(axis=0))
        return mean, squashed(self.slope, self.intercept, raw).std(axis=0)

    def profiles(self, points: Array) -> list[Matrix]:
        """What each resolution expects, (n, models) each, before calibration."""
        found = []
        start = 0
        for size in self.sizes:
            centroids = self.centroids[start : start + size]
            rates = self.rates[start : start + size]
            norms = np.einsum("kd,kd->k", centroids, centroids)
            near, weights, _ = soft(points, centroids, norms, self.top, self.sharpness)
            found.append(np.einsum("np,npm->nm", weights, rates[near]).astype(np.float64))
            start += size
        return found


def logit(p: Matrix) -> Matrix:
    """Log-odds, of probabilities kept off 0 and 1."""
    clipped = np.clip(p, EDGE, 1.0 - EDGE)
    logits: Matrix = np.log(clipped) - np.log1p(-clipped)
    return logits


def squashed(slope: float, intercept: float, p: Matrix) -> Matrix:
    """Probabilities p with their log-odds put on that line."""
    probabilities: Matrix = 1.0 / (1.0 + np.exp(-(slope * logit(p) + intercept)))
    return probabilities


def calibrated(predicted: Matrix, scores: Matrix) -> tuple[float, float]:
    """Slope and intercept that make probabilities of `predicted`, both (n, models); scores that are
    NaN are left out.

    Maximum likelihood by Newton's method, with scores between 0 and 1 as fractions of a success.
    The slope stays above 0.1.
    """
    measured = np.isfinite(scores)
    x = logit(predicted)[measured]
    y = scores[measured]
    line = np.array([1.0, 0.0])
    inputs = np.stack([x, np.ones_like(x)])
    for _ in range(NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-(line @ inputs)))
        curvature = (inputs * (p * (1.0 - p))) @ inputs.T + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, inputs @ (y - p))
        line = line + step
        if np.abs(step).max() < 1e-8:
            break
    return max(0.1, float(line[0])), float(line[1])


def calibration_error(predicted: Matrix, scores: Matrix, bins: int = BINS) -> float:
    """The expected calibration error, ECE (Guo et al. 2017), over all models' probabilities (n,
    models), in equal bins."""
    measured = np.isfinite(scores)
    p = predicted[measured]
    y = scores[measured]
    place = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    gaps = np.abs(np.bincount(place, p, bins) - np.bincount(place, y, bins))
    return float(gaps.sum() / count.sum())
