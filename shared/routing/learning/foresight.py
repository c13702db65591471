"""Foreseeing where a prompt's description would lie, without asking a language model.

A linear map leads from the embedding of a prompt to that of its description (ridge regression). Its
error is estimated from similar prompts. The leave-one-out residuals of the nearest known prompts,
added to the foreseen point, are other plausible descriptions. If the table's models would be the
same for nearly all of them, asking changes nothing. The necessary fraction is calibrated on the
known prompts themselves, each foreseen from the others; and a prompt that is like no known one is
never sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.routing.deciding.rates import PROFILES, Rates
from shared.routing.deciding.selection import routes
from shared.routing.deciding.table import Array, RoutingTable
from shared.routing.errors import RoutingError

NEIGHBOURS = 32
"""Known prompts whose residuals are tried. On public outcomes 8 were as good within the error, one
residual for all much worse."""
RIDGE = 0.3
FAMILIAR = 0.1
"""A prompt is familiar if its NEIGHBOURS-th neighbour is as near as that of all known prompts
except this fraction of them."""
CALIBRATE_ON = 1000
"""Known prompts that the calibration looks at, at the most."""
FEWEST = 50
"""Sure prompts that a calibration rests on, at the least."""
AT_ONCE = 64
"""Prompts whose possible descriptions are routed in one go; more would only take more memory."""
NEVER = np.full(len(PROFILES), 2.0)
SURE = 1.0
"""Standard errors by which the calibration keeps above the target."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """What is known of prompts and their descriptions. Made by `learn`.

    `prompts` and `residuals` (n, d) float32; `matrix` (d, d) and `offset` (d,) float64. `familiar`
    is the least similarity to the NEIGHBOURS-th known prompt, `agreement` the least fraction of
    possible descriptions that must lead to the same models; above 1: never sure. One `agreement`
    for each of `PROFILES`.
    """

    prompts: Array
    residuals: Array
    matrix: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    familiar: float
    agreement: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExpectedModels:
    """Descriptions as foreseen: `vectors` (n, d) float32, L2-normalised; `agreement` (n,) of
    possible descriptions; `sure` (n,)."""

    vectors: Array
    agreement: npt.NDArray[np.float64]
    sure: npt.NDArray[np.bool_]


def learn(
    prompts: Array,
    descriptions: Array,
    forms: Array,
    table: RoutingTable,
    target: float = 0.97,
    seed: int = 0,
) -> Foresight:
    """Learn from known prompts (n, d) and their descriptions (n, d), both L2-normalised, and the
    prompts' forms (n, form.SIZE).

    `target` is the fraction of the sure prompts that are to be routed as by their own descriptions,
    under each of the four profiles. Raises `RoutingError` if there are no more than NEIGHBOURS
    prompts.
    """
    n = len(prompts)
    if n <= NEIGHBOURS:
        raise RoutingError(f"{n} prompts are known; foreseeing needs more than {NEIGHBOURS}")
    x = prompts.astype(np.float64)
    y = descriptions.astype(np.float64)
    mean_x = x.mean(axis=0)
    mean_y = y.mean(axis=0)
    x -= mean_x
    inverse = np.linalg.inv(x.T @ x + RIDGE * np.eye(x.shape[1]))
    matrix = inverse @ (x.T @ (y - mean_y))
    # without the row itself: the residual divided by one less its leverage, its part in the mean
    # included
    leverage = np.einsum("nd,nd->n", x @ inverse, x) + 1.0 / n
    residuals = (y - mean_y - x @ matrix) / (1.0 - leverage)[:, None]
    foresight = Foresight(
        prompts, residuals.astype(np.float32), matrix, mean_y - mean_x @ matrix, -1.0, NEVER
    )

    rows = np.sort(np.random.default_rng(seed).permutation(n)[:CALIBRATE_ON])
    near, alike = _neighbours(prompts[rows], prompts, rows)
    means = (y[rows] - residuals[rows]).astype(np.float32)
    profiles = tuple(PROFILES.values())
    chosen, agreement = _agreement(means, foresight.residuals[near], forms[rows], table, profiles)
    same = chosen == _routes(descriptions[rows], forms[rows], table, profiles)
    familiar = float(np.quantile(alike, FAMILIAR))
    familiar_ones = alike >= familiar
    least = np.array(
        [
            _threshold(
                agreement[familiar_ones, p], same[familiar_ones, p].astype(np.float64), target
            )
            for p in range(len(profiles))
        ]
    )
    return Foresight(
        foresight.prompts, foresight.residuals, foresight.matrix, foresight.offset, familiar, least
    )


def foresee(
    foresight: Foresight, prompts: Array, forms: Array, table: RoutingTable, rates: Rates
) -> ExpectedModels:
    """Descriptions of prompts (n, d) with these forms (n, form.SIZE), as far as they matter to
    `table` at these rates.

    Rates that are no profile's are held to the strictest profile's agreement.
    """
    means = _mapped(foresight, prompts)
    near, alike = _neighbours(prompts, foresight.prompts)
    _, agreement = _agreement(means, foresight.residuals[near], forms, table, (rates,))
    sure_from = [
        least
        for least, profile in zip(foresight.agreement, PROFILES.values(), strict=True)
        if profile == rates
    ]
    least = sure_from[0] if sure_from else foresight.agreement.max()
    return ExpectedModels(
        _unit(means), agreement[:, 0], (alike >= foresight.familiar) & (agreement[:, 0] >= least)
    )


def same_without_edges(
    foresight: Foresight,
    whole: Array,
    views: Array,
    forms: Array,
    table: RoutingTable,
    rates: Rates,
) -> npt.NDArray[np.bool_]:
    """(n,): whether each of n prompts is routed as what is foreseen of the `whole` (n, d) also by
    each of its v `views`.

    `views` (n, v, d) are the embeddings of the prompts without an edge
    (`shared.routing.deciding.views`), where an attacker may have put something; `forms` (n,
    form.SIZE) are the whole prompts'.
    """
    n, v, d = views.shape
    means = _unit(_mapped(foresight, views.reshape(-1, d)))
    chosen = _routes(whole, forms, table, (rates,))
    others = _routes(means, np.repeat(forms, v, axis=0), table, (rates,)).reshape(n, v)
    same: npt.NDArray[np.bool_] = (others == chosen).all(axis=1)
    return same


def _neighbours(
    prompts: Array, references: Array, themselves: npt.NDArray[np.intp] | None = None
) -> tuple[npt.NDArray[np.intp], Array]:
    """(n, NEIGHBOURS): the most similar known prompts, without its `own` row each; (n,): the least
    of their similarities."""
    similar = prompts @ references.T
    if themselves is not None:
        similar[np.arange(len(themselves)), themselves] = -np.inf
    near = np.argpartition(-similar, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    return near, np.take_along_axis(similar, near, axis=1).min(axis=1)


def _agreement(
    means: Array, residuals: Array, forms: Array, table: RoutingTable, preferences: Sequence[Rates]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Both (n, preferences): the models chosen for `means` (n, d), and the fraction of possible
    descriptions that lead to the same."""
    n, tried, d = residuals.shape
    chosen = _routes(_unit(means), forms, table, preferences)
    agreement = np.empty(chosen.shape)
    for rows in (slice(i, i + AT_ONCE) for i in range(0, n, AT_ONCE)):
        possible = _unit((means[rows, None] + residuals[rows]).reshape(-1, d))
        others = _routes(
            possible, np.repeat(forms[rows], tried, axis=0), table, preferences
        ).reshape(-1, tried, chosen.shape[1])
        agreement[rows] = (others == chosen[rows, None]).mean(axis=1)
    return chosen, agreement


def _routes(
    vectors: Array, forms: Array, table: RoutingTable, preferences: Sequence[Rates]
) -> npt.NDArray[np.intp]:
    return routes(table, np.hstack([vectors, forms]), preferences)


def _mapped(foresight: Foresight, prompts: Array) -> Array:
    mapped: Array = (prompts.astype(np.float64) @ foresight.matrix + foresight.offset).astype(
        np.float32
    )
    return mapped


def _unit(vectors: Array) -> Array:
    unit: Array = (
        vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    ).astype(np.float32)
    return unit


def _threshold(
    agreement: npt.NDArray[np.float64], same: npt.NDArray[np.float64], target: float
) -> float:
    """The least agreement from which at least `target` of the routes are the same, by `SURE`
    standard errors; 2 if there is none."""
    order = np.argsort(-agreement, kind="stable")
    agreement = agreement[order]
    same = same[order]
    count = np.arange(1, len(same) + 1)
    mean = np.cumsum(same) / count
    error = np.sqrt(np.maximum(np.cumsum(same**2) / count - mean**2, 0.0) / count)
    last_of_its_kind = (
        np.append(agreement[:-1] > agreement[1:], True) if len(agreement) else np.zeros(0, np.bool_)
    )
    good = np.flatnonzero(last_of_its_kind & (count >= FEWEST) & (mean - SURE * error >= target))
    return float(agreement[good[-1]]) if len(good) else 2.0
