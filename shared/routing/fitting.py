"""Fitting an `Estimator` to outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.clustering import kmeans
from shared.routing.estimator import Array, Estimator, Inputs, Matrix, squared_distances
from shared.routing.form import SIZE

FORM_WEIGHT = 0.2
WIDTHS = (1.0, 4.0)
"""Of the Gaussian kernels: exp(-width * squared distance), between points about 1 apart."""
LANDMARKS = 500
"""Prompts that kernels are spanned by, at the most."""
COMMITTEES = (25, 60)
"""Clusters at the middle of each committee, as far as there are prompts for them."""
PROMPTS_PER_CLUSTER = 4
RESOLUTIONS = (0.5, 0.67, 0.83, 1.0, 1.0, 1.25, 1.5, 2.0)
"""Clusters of each member of a committee, in units of its middle."""
SHRINKAGE = 3.0
"""Prompts that a model's mean over all of them counts for in a profile; less than in one clustering, since averaging calms too."""
PENALTIES = np.logspace(-1.5, 3.5, 21)
RANK = 1e-8
"""Eigenvalues below this part of the largest are none."""
SHARE = 1.0


def fit_estimator(
    features: Array, points: Array, scores: Matrix, *, seed: int = 0, top: int = 4, sharpness: float = 9.0, share: float = SHARE
) -> Estimator:
    """Learn from features (n, dimension + form.SIZE), the same prompts' points (n, …) and scores (n, models), NaN where not known."""
    level = np.nanmean(scores, axis=0)
    known = np.where(np.isfinite(scores), scores, level)
    count = len(known)
    form = features[:, features.shape[1] - SIZE :]
    inputs = Inputs(form.mean(axis=0), np.maximum(form.std(axis=0), 0.02), FORM_WEIGHT)
    read = inputs(features).astype(np.float64)
    line = _ridge(read, known)
    landmarks = np.ascontiguousarray(inputs(features[np.sort(np.random.default_rng(seed).permutation(count)[:LANDMARKS])]))
    apart, between = (squared_distances(x, landmarks).astype(np.float64) for x in (landmarks, inputs(features)))
    kernels = [_kernel(np.exp(-width * apart), np.exp(-width * between), known) for width in WIDTHS]
    centroids, rates, groups = [], [], []
    for middle in dict.fromkeys(min(k, max(1, count // PROMPTS_PER_CLUSTER)) for k in COMMITTEES):
        for i, times in enumerate(RESOLUTIONS):
            found = kmeans(points, max(1, min(count, round(middle * times))), seed * 1000 + i, tries=1)
            centroids.append(found.centroids)
            rates.append(success_rates(scores, found.labels, len(found.centroids), SHRINKAGE)[0].astype(np.float32))
        groups.append(len(RESOLUTIONS))
    return Estimator(
        link="identity",
        center=inputs.center.astype(np.float32),
        spread=inputs.spread.astype(np.float32),
        form_weight=FORM_WEIGHT,
        matrix=line.matrix.astype(np.float32),
        offset=line.offset.astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        widths=np.array(WIDTHS, np.float32),
        alphas=np.concatenate([matrix for matrix, _ in kernels]).astype(np.float32),
        levels=np.stack([offset for _, offset in kernels]).astype(np.float32),
        sizes=tuple(len(c) for c in centroids),
        groups=tuple(groups),
        centroids=np.concatenate(centroids),
        rates=np.concatenate(rates),
        top=top,
        sharpness=sharpness,
        error=line.error.astype(np.float32),
        share=share,
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A ridge regression: `matrix` (d, m), `offset` (m,), and the standard errors of what it says (m,), on the mean."""

    matrix: Matrix
    offset: Matrix
    error: Matrix


def _ridge(inputs: Matrix, wanted: Matrix) -> Line:
    """Regress (n, m) on inputs (n, d). What all models have in common and how they differ have each a penalty of its own.

    Penalties are those of the least leave-one-out error (in closed form; Allen 1974).
    """
    mean_x, mean_y = inputs.mean(axis=0), wanted.mean(axis=0)
    x, y = inputs - mean_x, wanted - mean_y
    values, vectors = np.linalg.eigh(x.T @ x)
    values = np.maximum(values, 0.0)
    turned = x @ vectors
    squares = turned**2
    common = y.mean(axis=1, keepdims=True)
    matrix, spent = np.zeros((x.shape[1], y.shape[1])), 0.0
    for part in (common, y - common):
        onto = turned.T @ part
        errors = [_left_out(turned, squares, onto, part, values + penalty) for penalty in PENALTIES]
        best = PENALTIES[int(np.argmin(errors))]
        matrix = matrix + vectors @ (onto / (values + best)[:, None])
        spent = max(spent, float((values / (values + best)).sum()))
    rest = (y - x @ matrix).std(axis=0)
    return Line(matrix, mean_y - mean_x @ matrix, rest * np.sqrt((spent + 1.0) / len(x)))


def _left_out(turned: Matrix, squares: Matrix, onto: Matrix, part: Matrix, values: Matrix) -> float:
    fitted = turned @ (onto / values[:, None])
    leverage = np.minimum(squares @ (1.0 / values) + 1.0 / len(turned), 0.999)[:, None]
    return float((((part - fitted) / (1.0 - leverage)) ** 2).mean())


def _kernel(among: Matrix, between: Matrix, wanted: Matrix) -> tuple[Matrix, Matrix]:
    """Weights of the landmarks (l, m) and an offset (m,), from kernels among landmarks (l, l) and of prompts with them (n, l)."""
    values, vectors = np.linalg.eigh(among)
    kept = values > RANK * values[-1]
    root = vectors[:, kept] / np.sqrt(values[kept])
    line = _ridge(between @ root, wanted)
    return root @ line.matrix, line.offset


def success_rates(scores: Matrix, labels: npt.NDArray[np.int64], k: int, shrinkage: float) -> tuple[Matrix, Matrix]:
    """Shrunk success rates and numbers of scores, both (k, models). Rates are kept off 0 and 1 by half a prompt."""
    known = np.isfinite(scores)
    overall = np.nanmean(scores, axis=0)
    member = np.eye(k)[labels].T
    counts = member @ known
    rates = (member @ np.where(known, scores, 0.0) + shrinkage * overall) / (counts + shrinkage)
    edge = 0.5 / (counts + shrinkage + 1.0)
    return np.clip(rates, edge, 1.0 - edge), counts
