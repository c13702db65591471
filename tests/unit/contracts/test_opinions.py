"""What people say of answers."""

import numpy as np
import pytest
from answered import NAMES, answer, completed
from support import table

from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.opinions import judged, overlaps, thumbed
from shared.contracts.raters import Rater, RaterKind, Votes
from tests.unit.services.test_reclusterer import embedding


def test_people_vote_blind_and_their_votes_stand_under_the_pair_they_saw() -> None:
    shown = tuple(Shown(model=m, cost_usd=0.0, latency_s=1.0, text=m) for m in ("large", "small"))
    pair = Evaluated(
        request_id="r",
        first="large",
        second="small",
        rater=Rater(kind=RaterKind.judge, name="j"),
        votes=Votes(),
        prompt="p",
        answers=shown,
    )
    for key, straight, lead in (
        ("a", True, 1),
        ("b", True, -1),
        ("a", False, -1),
        ("b", False, 1),
        ("t", True, 0),
        ("n", False, 0),
    ):
        mine = judged(pair, "ada", key, straight=straight)
        assert mine.votes.lead == lead
        assert mine.rater == Rater(kind=RaterKind.human, name="ada")
        assert mine.comparison_id == pair.comparison_id
        assert mine.evaluation_id != pair.evaluation_id
        assert mine.prompt is None
    tab = table(1, NAMES, strength=np.array([[0.0, 0.0, 5.0]]), standard_error=np.full((1, 3), 0.5))
    close, far = (
        pair.model_copy(update={"first": a, "second": b, "embedding": embedding(np.ones(4))})
        for a, b in (("middle", "small"), ("large", "small"))
    )
    elsewhere = pair.model_copy(update={"first": "stranger", "embedding": embedding(np.ones(4))})
    open_, settled, unknown, bare = overlaps([close, far, elsewhere, pair], tab)
    assert open_ > 10 * settled
    assert (unknown, bare) == (1.0, 1.0)
    assert overlaps([close], None) == [1.0]


def test_a_thumb_is_weak_evidence_for_or_against_the_model_that_answered() -> None:
    message = completed(answer("large"))
    up, down = (thumbed(message, thumb, "small", "me") for thumb in ("up", "down"))  # type: ignore[arg-type]
    assert (up.first, up.second, up.votes.lead, down.votes.lead) == ("large", "small", 1, -1)
    assert up.evaluation_id == down.evaluation_id
    assert thumbed(message, "up", None, "me").second != "large"
    with pytest.raises(InvalidMessage, match="better"):
        thumbed(message, "up", "large", "me")
