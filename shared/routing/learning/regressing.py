"""What comparisons tell of a single prompt: log-odds of winning that are linear in the prompt's
features.

Bradley-Terry with features: P(i's answer is better than j's) = logistic(lead), lead = a_i - a_j +
x·(b_i - b_j), where x are the main axes of the prompt's embedding and form. Which answer was better
is hidden behind votes and summed out, as in `bradley_terry`. Ridge on b and a Gaussian prior on a;
the maximum a posteriori is found by L-BFGS (scikit-learn's own choice for logistic regression;
Nocedal 1980). The strength of the ridge, and the weight beside the clusters' rankings, are those
that predict comparisons of other prompts best."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.estimator import EDGE, Estimator, Inputs
from shared.routing.deciding.predictor import logit
from shared.routing.deciding.projection import FORM_WEIGHT
from shared.routing.learning.bradley_terry import OVERALL_SPREAD, Comparisons, fit, logistic, losses

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

AXES = 64
"""Main axes that the regression reads."""
PENALTIES = (3.0, 10.0, 30.0, 100.0)
SHARES = (1.0, 0.5)
FEWEST = 200
"""Comparisons below which clusters alone are asked."""
TRY_ON = 6000
"""Comparisons that penalty and share are chosen on, at the most."""
LEARN_ON = 20_000
"""…and that the regression is fitted to: the newest."""
SURELY = 1.0
"""Standard errors by which it must predict other prompts' comparisons better than the clusters
do."""
STEPS = 100


@dataclass(frozen=True, slots=True)
class _Reduced:
    """Features on their main axes: x = (inputs - mean) @ axes."""

    inputs: Inputs
    mean: Floats
    axes: Floats

    @classmethod
    def of(cls, features: Array) -> _Reduced:
        inputs = Inputs.of(features, FORM_WEIGHT)
        read = inputs(features).astype(np.float64)
        mean = read.mean(axis=0)
        _, vectors = np.linalg.eigh((read - mean).T @ (read - mean))
        axes = vectors[:, ::-1][:, :AXES]
        return cls(
            inputs,
            mean,
            axes
            * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1.0, 1.0),
        )

    def __call__(self, features: Array) -> Floats:
        success: Floats = (self.inputs(features).astype(np.float64) - self.mean) @ self.axes
        return success


def fit_votes_estimator(
    features: Array, data: Comparisons, ratio: Floats, clusters: int, models: int, reference: int
) -> Estimator | None:
    """An estimator of the probability of winning against the reference, or None where clusters
    alone predict as well.

    `features` (n, dimension + form.SIZE) of the compared prompts, `ratio` (n,) the log-likelihood
    ratio of "first is better".
    """
    if len(data) < FEWEST:
        return None
    newest = np.arange(len(data))[-LEARN_ON:]
    features = features[newest]
    data = data.rows(newest)
    ratio = ratio[newest]
    reduced = _Reduced.of(features)
    x = reduced(features)
    some = np.arange(len(data))[:: -(-len(data) // TRY_ON)]
    penalty, share = _chosen(x[some], data.rows(some), ratio[some], clusters, models, reference)
    if share == 0.0:
        return None
    level, slope = _climb(x, data, ratio, models, penalty)
    level = level - level[reference]
    slope = slope - slope[:, [reference]]
    matrix = reduced.axes @ slope
    return Estimator(
        center=reduced.inputs.center,
        spread=reduced.inputs.spread,
        form_weight=FORM_WEIGHT,
        matrix=matrix.astype(np.float32),
        offset=(level - reduced.mean @ matrix).astype(np.float32),
        axes=np.zeros((len(matrix), 0), np.float32),
        base=np.zeros(0, np.float32),
        widths=(),
        sizes=(),
        groups=(),
        centroids=np.zeros((0, 1), np.float32),
        rates=np.zeros((0, models), np.float32),
        top=1,
        sharpness=1.0,
        slope=1.0,
        intercept=0.0,
        error=(0.25 * _errors(x, data, level, slope, penalty, reference)).astype(np.float32),
        share=share,
    )


def _chosen(
    x: Floats, data: Comparisons, ratio: Floats, clusters: int, models: int, reference: int
) -> tuple[float, float]:
    """Penalty and fraction of the least loss on comparisons of other prompts; a fraction of 0 where
    the clusters alone do as well."""
    lost = {(penalty, share): np.zeros(len(data)) for penalty in PENALTIES for share in SHARES}
    alone = np.zeros(len(data))
    for fold in (0, 1):
        held = np.flatnonzero(data.prompt % 2 == fold)
        training = np.flatnonzero(data.prompt % 2 != fold)
        if not len(held) or not len(training):
            return PENALTIES[0], 0.0
        part = data.rows(held)
        ranking = fit(data.rows(training), ratio[training], clusters, models, reference)
        ranked = logistic(ranking.strength[part.cluster])
        alone[held] = _loss(ranked, part, ratio[held])
        for penalty in PENALTIES:
            level, slope = _climb(
                x[training], data.rows(training), ratio[training], models, penalty
            )
            said = level + x[held] @ slope
            chance = logistic(said - said[:, [reference]])
            for share in SHARES:
                lost[penalty, share][held] = _loss(
                    (1.0 - share) * ranked + share * chance, part, ratio[held]
                )
    best = min(lost, key=lambda key: float(lost[key].mean()))
    better = alone - lost[best]
    sure = float(better.mean()) > SURELY * float(better.std() / np.sqrt(len(better)))
    return (best[0], best[1]) if sure else (best[0], 0.0)


def _loss(chance: Floats, data: Comparisons, ratio: Floats) -> Floats:
    """(n,): negative log-likelihood of what was voted, in nats, given the chances of winning
    against the reference (n, models)."""
    odds = logit(np.clip(chance, EDGE, 1.0 - EDGE))
    rows = np.arange(len(data))
    lead = odds[rows, data.first] - odds[rows, data.second]
    loss: Floats = data.weight * losses(lead, ratio)
    return loss


def _climb(
    x: Floats, data: Comparisons, ratio: Floats, models: int, penalty: float
) -> tuple[Floats, Floats]:
    """Levels a (models,) and slopes b (axes, models) of the maximum a posteriori."""
    from scipy.optimize import minimize

    count = x.shape[1]
    rows = np.arange(len(data))
    first = np.zeros((len(data), models))
    second = np.zeros((len(data), models))
    first[rows, data.first] = 1.0
    second[rows, data.second] = 1.0
    side = first - second

    def down(flat: Floats) -> tuple[float, Floats]:
        level = flat[:models]
        slope = flat[models:].reshape(count, models)
        lead = ((level + x @ slope) * side).sum(axis=1)
        likelihood = np.logaddexp(-np.logaddexp(0.0, -lead) + ratio, -np.logaddexp(0.0, lead))
        pull = data.weight * (logistic(lead + ratio) - logistic(lead))
        prior = 0.5 * (level**2).sum() / OVERALL_SPREAD**2 + 0.5 * penalty * (slope**2).sum()
        up = pull[:, None] * side
        gradient = np.concatenate(
            [up.sum(axis=0) - level / OVERALL_SPREAD**2, (x.T @ up - penalty * slope).ravel()]
        )
        return float(prior - (data.weight * likelihood).sum()), -gradient

    optimum = minimize(
        down,
        np.zeros(models * (count + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": STEPS},
    )
    return optimum.x[:models], optimum.x[models:].reshape(count, models)


def _errors(
    x: Floats, data: Comparisons, level: Floats, slope: Floats, penalty: float, reference: int
) -> Floats:
    """(models,): standard deviation of the log-odds against the reference, on the mean over these
    prompts (Laplace)."""
    said = level + x @ slope
    chance = logistic(
        said[np.arange(len(data)), data.first] - said[np.arange(len(data)), data.second]
    )
    weight = data.weight * chance * (1.0 - chance)
    wide = np.hstack([np.ones((len(x), 1)), x])
    prior = np.diag([1.0 / OVERALL_SPREAD**2, *np.full(x.shape[1], penalty)])
    errors = np.zeros(len(level))
    for model in range(len(level)):
        compared = (data.first == model) | (data.second == model)
        inverse = np.linalg.inv(
            (wide[compared] * weight[compared, None]).T @ wide[compared] + prior
        )
        errors[model] = np.sqrt(np.einsum("nd,de,ne->n", wide[:1000], inverse, wide[:1000]).mean())
    errors[reference] = 0.0
    return errors


def aligned(
    estimator: Estimator, known: tuple[str, ...], models: tuple[str, ...]
) -> Estimator | None:
    """An estimator of `known` models for `models`; None where it does not know one of them."""
    if any(model not in known for model in models):
        return None
    at = [known.index(model) for model in models]
    return replace(
        estimator,
        matrix=estimator.matrix[:, at],
        offset=estimator.offset[at],
        rates=estimator.rates[:, at],
        error=estimator.error[at],
    )
