"""Fitting an `Estimator` to outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.estimator import Array, Estimator, Inputs, Matrix
from shared.routing.deciding.projection import FORM_WEIGHT, OUTCOME_WEIGHT, contrastive
from shared.routing.learning.bradley_terry import logistic
from shared.routing.learning.clustering import kmeans

PENALTY = 2.0
"""Ridge on the regression's slopes. 1 to 4 did alike."""
STEPS = 12
STILL = 1e-2
"""Change of the log-odds below which Newton's steps end."""
COMMITTEES = (25, 60)
"""Clusters at the middle of each committee, as far as there are prompts for them."""
PULLS = (0.0, OUTCOME_WEIGHT)
"""How far outcomes pull prompts apart in the space of each pair of committees; without any it has
the embedding's main axes."""
PROMPTS_PER_CLUSTER = 4
RESOLUTIONS = (0.5, 0.67, 0.83, 1.0, 1.0, 1.25, 1.5, 2.0)
"""Clusters of each member of a committee, in units of its middle."""
SHRINKAGE = 3.0
"""Prompts that a model's mean over all of them counts for in a profile; less than in one
clustering, since averaging calms too."""
SHARE = 1.0


def fit_estimator(
    features: Array,
    scores: Matrix,
    *,
    seed: int = 0,
    top: int = 4,
    sharpness: float = 9.0,
    share: float = SHARE,
) -> Estimator:
    """Learn from features (n, dimension + form.SIZE) and scores (n, models), NaN where not known.
    Calibrate it on prompts left out."""
    count = len(scores)
    known = np.isfinite(scores)
    level = np.nanmean(scores, axis=0)
    inputs = Inputs.of(features, FORM_WEIGHT)
    read = inputs(features)
    line = fit_logistic(read.astype(np.float64), scores)
    axes = []
    base = []
    widths = []
    centroids = []
    rates = []
    groups = []
    for pull in PULLS:
        to = contrastive(features, scores, outcome_weight=pull).projection
        axes.append(to.matrix / inputs.weights(features.shape[1])[:, None])
        base.append(to.offset)
        widths.append(to.matrix.shape[1])
        points = read @ axes[-1] + base[-1]
        for middle in (min(k, max(1, count // PROMPTS_PER_CLUSTER)) for k in COMMITTEES):
            for i, times in enumerate(RESOLUTIONS):
                clustering = kmeans(
                    points, max(1, min(count, round(middle * times))), seed * 1000 + i, tries=1
                )
                centroids.append(clustering.centroids)
                rates.append(
                    success_rates(scores, clustering.labels, len(clustering.centroids), SHRINKAGE)[
                        0
                    ].astype(np.float32)
                )
            groups.append(len(RESOLUTIONS))
    return Estimator(
        center=inputs.center,
        spread=inputs.spread,
        form_weight=inputs.weight,
        matrix=line.matrix.astype(np.float32),
        offset=line.offset.astype(np.float32),
        axes=np.hstack(axes).astype(np.float32),
        base=np.concatenate(base).astype(np.float32),
        widths=tuple(widths),
        sizes=tuple(len(c) for c in centroids),
        groups=tuple(groups),
        centroids=np.concatenate(
            [np.pad(c, ((0, 0), (0, max(widths) - c.shape[1]))) for c in centroids]
        ),
        rates=np.concatenate(rates),
        top=top,
        sharpness=sharpness,
        slope=1.0,
        intercept=0.0,
        error=np.sqrt(
            np.clip(level * (1.0 - level), 0.01, None) / np.maximum(known.sum(axis=0), 1)
        ).astype(np.float32),
        share=share,
    )


@dataclass(frozen=True, slots=True)
class Logistic:
    """A regression of log-odds: `matrix` (d, m) and `offset` (m,)."""

    matrix: Matrix
    offset: Matrix


def fit_logistic(inputs: Matrix, scores: Matrix, penalty: float = PENALTY) -> Logistic:
    """A ridge logistic regression for each column of scores (n, m) in 0..1, NaN where not known, on
    inputs (n, d), by Newton's method."""
    mean = inputs.mean(axis=0)
    wide = np.hstack([inputs - mean, np.ones((len(inputs), 1))])
    ridge = np.full(wide.shape[1], penalty)
    ridge[-1] = 1e-6
    lines = []
    for score in scores.T:
        measured = np.isfinite(score)
        x = wide[measured]
        y = score[measured]
        line = np.zeros(wide.shape[1])
        usual = float(np.clip(y.mean(), 1e-2, 1.0 - 1e-2))
        line[-1] = np.log(usual / (1.0 - usual))
        for _ in range(STEPS):
            chance = logistic(x @ line)
            curvature = (x * (chance * (1.0 - chance))[:, None]).T @ x + np.diag(ridge)
            step = np.linalg.solve(curvature, x.T @ (y - chance) - ridge * line)
            line = line + step
            if np.abs(x @ step).max() < STILL:
                break
        lines.append(line)
    coefficients = np.stack(lines, axis=1)
    return Logistic(coefficients[:-1], coefficients[-1] - mean @ coefficients[:-1])


def success_rates(
    scores: Matrix, labels: npt.NDArray[np.int64], k: int, shrinkage: float
) -> tuple[Matrix, Matrix]:
    """Shrunk success rates and numbers of scores, both (k, models). Rates are kept off 0 and 1 by
    half a prompt."""
    measured = np.isfinite(scores)
    overall = np.nanmean(scores, axis=0)
    member = np.eye(k)[labels].T
    counts = member @ measured
    rates = (member @ np.where(measured, scores, 0.0) + shrinkage * overall) / (counts + shrinkage)
    edge = 0.5 / (counts + shrinkage + 1.0)
    return np.clip(rates, edge, 1.0 - edge), counts
