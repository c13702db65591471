"""What votes show of those who cast them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from services.workbench.study_report import why
from shared.contracts.evaluations import Evaluated
from shared.contracts.evidence import facts_of
from shared.contracts.raters import Abstained, Rater, RaterKind, Votes


def evaluations(count: int) -> list[Evaluated]:
    """A judge that likes the first position, and a person who agrees with the truth; every
    comparison seen by both."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        better = bool(rng.integers(0, 2))
        hits = rng.binomial(3, 0.95), rng.binomial(3, 0.55)
        straight = hits[0] if better else 3 - hits[1]
        turned = 3 - hits[1] if better else hits[0]
        judge = Votes(
            straight_first=straight,
            straight_second=3 - straight,
            turned_first=turned,
            turned_second=3 - turned,
        )
        person = Votes(straight_first=1) if better else Votes(straight_second=1)
        for kind, name, votes, cost in (
            (RaterKind.judge, "j", judge, 0.01),
            (RaterKind.human, "ada", person, 0.0),
        ):
            rater = Rater(kind=kind, name=name)
            found.append(
                Evaluated(
                    request_id=f"r{i}",
                    first="a",
                    second="b",
                    rater=rater,
                    votes=votes,
                    at=datetime.now(UTC),
                    cost_usd=cost,
                )
            )
    return found


def test_position_bias_agreement_and_money_are_shown() -> None:
    facts = facts_of(evaluations(200), 5.0)
    judge = next(row for row in facts["votes"] if row["rater"] == "judge:j")
    assert 0.25 < judge["pull"] < 0.55
    assert judge["comparisons"] == 200
    (both,) = facts["agreement"]
    assert {both["one"], both["other"]} == {"judge:j", "human:"}
    assert both["low"] <= both["kappa"] <= both["high"]
    assert both["kappa"] > 0.7
    assert abs(facts["spent_today_usd"] - 2.0) < 1e-9


def test_why_votes_could_not_be_read_is_told() -> None:
    rater = Rater(kind=RaterKind.judge, name="j")
    silent = Evaluated(
        request_id="r",
        first="a",
        second="b",
        rater=rater,
        votes=Votes(abstentions=2),
        abstained=Abstained(cut_off=2),
        cost_usd=0.01,
    )
    older = Evaluated(
        request_id="q", first="a", second="b", rater=rater, votes=Votes(abstentions=6)
    )
    (judge,) = facts_of([silent, older], 5.0)["votes"]
    assert judge["abstentions"] == 1.0
    assert judge["abstained"] == {"cut_off": 2}
    assert why(judge["abstained"]) == " (2 cut off)"
    assert why({}) == ""


def test_without_votes_there_is_nothing_to_show() -> None:
    assert facts_of([], 5.0)["votes"] == []
