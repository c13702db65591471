"""Whether new clusters predict votes at least as well as the old."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.reclusterer.memory import Evidence
from services.reclusterer.ranking import gather
from services.reclusterer.settings import ReclustererSettings
from shared.catalog.models import Model
from shared.contracts.raters import Voter
from shared.routing.deciding.table import Array
from shared.routing.learning.bradley_terry import Comparisons, Floats, fit, losses
from shared.routing.learning.votes import Ballots, Hits, log_ratio

GUARD_TOLERANCE = 0.01
"""Nats a comparison by which new clusters may predict recent comparisons worse than the old before
they are refused."""
GUARD_SURE = 2.0
"""…and by at least this many standard errors."""
GUARD_FROM = 60
"""Comparisons below which there is nothing to guard with."""


def guard(
    memory: Evidence, old: Array, new: Array, models: Sequence[Model], settings: ReclustererSettings
) -> str:
    """Why the new centroids should not be used: recent comparisons, left out in turn, are predicted
    worse with them. Else ""."""
    names = [m.name for m in models]
    each = []
    for centroids in (old, new):
        data, ballots, *_ = gather(memory, centroids, names, settings)
        if len(data) < GUARD_FROM:
            return ""
        each.append(_held_out_losses(data, ballots, len(centroids), len(names)))
    worse = each[1] - each[0]
    error = float(worse.std() / len(worse) ** 0.5)
    if worse.mean() > max(GUARD_TOLERANCE, GUARD_SURE * error):
        return (
            f"new clusters predict comparisons worse by {worse.mean():.3f} ± {error:.3f} nats, "
            "so the old ones stay"
        )
    return ""


def _votes_ratio(
    data: Comparisons, ballots: dict[Voter, tuple[npt.NDArray[np.intp], Ballots]]
) -> Floats:
    """(n,): log-likelihood ratio of "first is better", of voters who are all taken to be alike."""
    ratio = np.zeros(len(data))
    for rows, cast in ballots.values():
        np.add.at(ratio, rows, log_ratio(cast, Hits()))
    return ratio


def _held_out_losses(
    data: Comparisons,
    ballots: dict[Voter, tuple[npt.NDArray[np.intp], Ballots]],
    clusters: int,
    models: int,
) -> Floats:
    """(n,): loss, in nats, of each comparison, predicted from those of other prompts, in two
    folds."""
    ratio = _votes_ratio(data, ballots)
    lost = np.zeros(len(data))
    for fold in (0, 1):
        held = np.flatnonzero(data.prompt % 2 == fold)
        training = np.flatnonzero(data.prompt % 2 != fold)
        ranking = fit(data.rows(training), ratio[training], clusters, models, 0)
        lead = (
            ranking.strength[data.cluster[held], data.first[held]]
            - ranking.strength[data.cluster[held], data.second[held]]
        )
        lost[held] = data.weight[held] * losses(lead, ratio[held])
    return lost
