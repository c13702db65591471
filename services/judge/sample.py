"""Which pairs of answers are compared."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.judge.settings import JudgeSettings
from shared.contracts.answers import in_words
from shared.contracts.messages import Completed
from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.chance import chance
from shared.routing.learning.sampling import Pair, pairs

FADE = 0.98
NOVEL_BOOST = 3.0
"""How much more a comparison on a novel prompt is taken to teach."""


@dataclass(slots=True)
class Sampler:
    """Remembers what comparisons have been worth lately, so that a rate of 5% stays about 5%."""

    settings: JudgeSettings
    usual: float = field(default=0.0)

    def choose(
        self, message: Completed, table: RoutingTable, costs: Mapping[str, float]
    ) -> list[Pair]:
        """The pairs of this completion that are to be compared; mostly none. All pairs where the
        sender wants models compared. None where answers may call tools, which a judge can't see.

        `costs` says of each possible challenger what an answer is expected to cost, in USD.
        The draw follows from the request id: a repeated message is sampled alike.
        """
        answers = message.completion.answers
        if not in_words(message.parameters):
            return []
        if message.compare:
            names = sorted(answer.model for answer in answers)
            return [Pair(a, b, 0.0) for a, b in itertools.combinations(names, 2)]
        if not answers or not self.settings.rate:
            return []
        limits = message.constraints
        eligible = [
            m for m in costs if m not in limits.deny and (limits.allow is None or m in limits.allow)
        ]
        candidates = pairs(
            table,
            assignment(message, table),
            answers[0].model,
            sorted({*eligible, answers[0].model}),
            costs,
        )
        if not candidates:
            return []
        worth = candidates[0].worth * (NOVEL_BOOST if message.assignment.novel else 1.0)
        self.usual = worth if not self.usual else FADE * self.usual + (1 - FADE) * worth
        share = 1.0 - (1.0 - self.settings.rate) ** (worth / self.usual if self.usual else 1.0)
        return (
            self._draw(message, candidates) if chance("sample", message.request_id) < share else []
        )

    def _draw(self, message: Completed, candidates: list[Pair]) -> list[Pair]:
        """Some of the pairs, by worth: the best most often, the others often enough to notice what
        has changed."""
        left = list(candidates)
        drawn = []
        for turn in range(min(self.settings.pairs, len(candidates))):
            worth = np.array([p.worth for p in left]) + 1e-12
            edges = np.cumsum(0.8 * worth / worth.sum() + 0.2 / len(left))
            place = int(np.searchsorted(edges, chance(f"pair{turn}", message.request_id)))
            drawn.append(left.pop(min(place, len(left) - 1)))
        return drawn


def assignment(message: Completed, table: RoutingTable) -> Assignment:
    """The clusters of the message that `table` still has; all clusters alike if it has none of
    them."""
    clusters = [c for c in message.assignment.clusters if c.id in table.positions]
    if not clusters:
        count = len(table.clusters)
        return Assignment(
            np.arange(count),
            np.full(count, 1 / count, np.float32),
            np.zeros(count, np.float32),
            True,
        )
    weights = np.array([c.weight for c in clusters], np.float32)
    where = np.array([table.positions[c.id] for c in clusters], np.intp)
    return Assignment(
        where,
        weights / max(weights.sum(), 1e-9),
        np.array([c.distance for c in clusters], np.float32),
        message.assignment.novel,
    )
