"""Fitting a `Predictor` to outcomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shared.routing.clustering import kmeans
from shared.routing.predictor import Matrix, Predictor, calibrated
from shared.routing.table import Array

RESOLUTIONS = (0.5, 0.67, 0.83, 1.0, 1.0, 1.25, 1.5, 2.0)
"""Clusters of each member of the committee, in units of the table's."""
SHRINKAGE = 3.0
"""Prompts that a model's mean over all of them counts for in a profile; less than in one clustering, since averaging calms too."""
FOLDS = 3
SHARE = 1.0


def fit_predictor(
    points: Array, scores: Matrix, k: int, *, seed: int = 0, top: int = 4, sharpness: float = 9.0, share: float = SHARE
) -> Predictor:
    """Learn from points (n, dimension) and scores (n, models); calibrated on prompts left out, in `FOLDS` folds."""
    fold = np.random.default_rng(seed).permutation(len(points)) % FOLDS
    expected = np.full(scores.shape, np.nan)
    for held in range(FOLDS) if len(points) >= 4 * FOLDS else ():
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        if not np.isfinite(scores[train]).any(axis=0).all():
            continue
        part = _profiles(points[train], scores[train], max(1, k // 2), seed, top, sharpness, share, RESOLUTIONS[1::3])
        expected[test] = np.mean(part.profiles(points[test]), axis=0)
    whole = _profiles(points, scores, k, seed, top, sharpness, share, RESOLUTIONS)
    seen = np.isfinite(expected).all(axis=1)
    slope, intercept = calibrated(expected[seen], scores[seen]) if seen.any() else (1.0, 0.0)
    return replace(whole, slope=slope, intercept=intercept)


def _profiles(
    points: Array, scores: Matrix, k: int, seed: int, top: int, sharpness: float, share: float, resolutions: tuple[float, ...]
) -> Predictor:
    centroids, rates = [], []
    for i, times in enumerate(resolutions):
        found = kmeans(points, max(1, min(len(points), round(k * times))), seed * 1000 + i, tries=1)
        centroids.append(found.centroids)
        rates.append(success_rates(scores, found.labels, len(found.centroids), SHRINKAGE)[0].astype(np.float32))
    sizes = tuple(len(c) for c in centroids)
    return Predictor(sizes, np.concatenate(centroids), np.concatenate(rates), 1.0, 0.0, top, sharpness, share)


def success_rates(scores: Matrix, labels: npt.NDArray[np.int64], k: int, shrinkage: float) -> tuple[Matrix, Matrix]:
    """Shrunk success rates and numbers of scores, both (k, models). Rates are kept off 0 and 1 by half a prompt."""
    known = np.isfinite(scores)
    overall = np.nanmean(scores, axis=0)
    member = np.eye(k)[labels].T
    counts = member @ known
    rates = (member @ np.where(known, scores, 0.0) + shrinkage * overall) / (counts + shrinkage)
    edge = 0.5 / (counts + shrinkage + 1.0)
    return np.clip(rates, edge, 1.0 - edge), counts
