"""What people say of answers, as evaluations: votes on pairs, and thumbs on single answers."""

from __future__ import annotations

from typing import Literal

import numpy as np

from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed
from shared.contracts.raters import Rater, RaterKind, Votes
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.table import RoutingTable

Opinion = Literal["a", "b", "tie", "bad"]
"""A is better, B is better, neither, both bad."""


def judged(pair: Evaluated, rater: str, opinion: Opinion, *, straight: bool) -> Evaluated:
    """A person's vote on `pair`. `straight`: the first model's answer was shown as A. A tie and
    "both bad" say that neither is better. On what a simulated judge was shown it is marked as
    simulated, too: it is worth nothing once models are real."""
    if opinion in {"a", "b"}:
        place = f"{'straight' if straight else 'turned'}_{'first' if opinion == 'a' else 'second'}"
        votes = Votes.model_validate({place: 1})
    else:
        votes = Votes(ties=1)
    bare = {"answers": (), "prompt": None, "cost_usd": 0.0, "study": None, "at": None}
    return pair.model_copy(
        update={
            "rater": Rater(kind=RaterKind.human, name=rater, simulated=pair.rater.simulated),
            "votes": votes,
            **bare,
        }
    )


def overlap(pair: Evaluated, table: RoutingTable | None) -> float:
    """How open it is which of the two models is better where this prompt lies: 1 if nobody
    knows."""
    if table is None or pair.embedding is None or pair.embedding.encoder.encoder() != table.encoder:
        return 1.0
    if pair.first not in table.models or pair.second not in table.models:
        return 1.0
    features = pair.embedding.features()[None]
    if features.shape[1] < table.inputs:
        return 1.0
    place = assign(table.points(features), table)[0]
    i = table.models.index(pair.first)
    j = table.models.index(pair.second)
    lead = place.weights @ (table.strength[place.clusters, i] - table.strength[place.clusters, j])
    error = np.sqrt(
        place.weights
        @ (
            table.standard_error[place.clusters, i] ** 2
            + table.standard_error[place.clusters, j] ** 2
        )
    )
    return float(np.exp(-0.5 * (lead / max(error, 1e-6)) ** 2))


def thumbed(
    message: Completed, thumb: Literal["up", "down"], better: str | None, sender: str
) -> Evaluated:
    """Thumb up: the model that answered beats the other; down: the other way. The other is
    `better`, or the next in line.

    Raises `InvalidMessage` if there is no other.
    """
    answered = message.completion.answers[0].model
    other = better or next(
        (c.model for c in message.decision.candidates if c.model != answered), None
    )
    if other is None or other == answered:
        raise InvalidMessage(
            "there is no other model that this answer could be compared with; name one as `better`"
        )
    first, second = sorted((answered, other))
    winner = answered if thumb == "up" else other
    votes = Votes(straight_first=1) if winner == first else Votes(straight_second=1)
    return Evaluated(
        request_id=message.request_id,
        first=first,
        second=second,
        rater=Rater(
            kind=RaterKind.feedback,
            name=sender,
            simulated=message.completion.answers[0].simulated,
        ),
        votes=votes,
        description=message.description.text,
        embedding=message.embedding,
    )
