"""What people say of answers, as evaluations: votes on pairs, and thumbs on single answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed
from shared.contracts.raters import Abstained, Rater, RaterKind, Votes
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
    bare = {
        "abstained": Abstained(),
        "answers": (),
        "prompt": None,
        "cost_usd": 0.0,
        "study": None,
        "at": None,
    }
    return pair.model_copy(
        update={
            "rater": Rater(kind=RaterKind.human, name=rater, simulated=pair.rater.simulated),
            "votes": votes,
            **bare,
        }
    )


def overlaps(pairs: Sequence[Evaluated], table: RoutingTable | None) -> list[float]:
    """How open it is which of the two models is better where each prompt lies: 1 if nobody
    knows."""
    found = [1.0] * len(pairs)
    if table is None:
        return found
    features = {
        row: pair.embedding.features()
        for row, pair in enumerate(pairs)
        if pair.embedding is not None
        and pair.embedding.encoder.encoder() == table.encoder
        and pair.first in table.models
        and pair.second in table.models
    }
    known = [row for row, numbers in features.items() if len(numbers) >= table.inputs]
    if not known:
        return found
    places = assign(table.points_of([features[row] for row in known]), table)
    for row, place in zip(known, places, strict=True):
        i, j = (table.models.index(name) for name in (pairs[row].first, pairs[row].second))
        strength, error = table.strength[place.clusters], table.standard_error[place.clusters]
        lead = place.weights @ (strength[:, i] - strength[:, j])
        spread = np.sqrt(place.weights @ (error[:, i] ** 2 + error[:, j] ** 2))
        found[row] = float(np.exp(-0.5 * (lead / max(spread, 1e-6)) ** 2))
    return found


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
