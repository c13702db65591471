"""How far votes can be relied on, by the votes themselves: of each rater, of each two, and what
they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.contracts.evaluations import Evaluated
from shared.contracts.raters import RaterKind, Voter
from shared.routing.learning.bradley_terry import Comparisons, fit_votes
from shared.routing.learning.votes import Ballots, Hits, agreement, verdicts

FEWEST = 10
"""Comparisons from which a rater's accuracy and pull say more than what is assumed of
anybody."""


def facts_of(evaluations: Sequence[Evaluated], budget: float) -> dict[str, Any]:
    """What votes show: of each rater, of each two, and what they cost today."""
    models = sorted({m for e in evaluations for m in (e.first, e.second)})
    hits: dict[Voter, Hits] = {}
    if evaluations:
        data, ballots = arrays(evaluations, {m: i for i, m in enumerate(models)}, lambda _: 0)
        _, hits = fit_votes(data, ballots, 1, len(models), 0, {})
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    spent = sum(
        e.cost_usd
        for e in evaluations
        if e.rater.kind is RaterKind.judge and e.at is not None and e.at >= today
    )
    return {
        "votes": raters(evaluations, hits),
        "agreement": agreements(evaluations),
        "simulated": any(e.rater.simulated for e in evaluations),
        "spent_today_usd": spent,
        "budget_usd_per_day": budget,
    }


def arrays(
    evaluations: Sequence[Evaluated], where: Mapping[str, int], cluster: Any
) -> tuple[Comparisons, dict[Voter, tuple[npt.NDArray[np.intp], Ballots]]]:
    """Evaluations as the arithmetic takes them."""
    first: dict[str, Evaluated] = {}
    for evaluation in evaluations:
        first.setdefault(evaluation.comparison_id, evaluation)
    row = {comparison: i for i, comparison in enumerate(first)}
    prompt = {
        request: i for i, request in enumerate(dict.fromkeys(e.request_id for e in first.values()))
    }
    data = Comparisons(
        cluster=np.array([cluster(e) for e in first.values()], np.intp),
        first=np.array([where[e.first] for e in first.values()], np.intp),
        second=np.array([where[e.second] for e in first.values()], np.intp),
        weight=np.ones(len(first)),
        prompt=np.array([prompt[e.request_id] for e in first.values()], np.intp),
    )
    by_rater: dict[Voter, list[Evaluated]] = {}
    for evaluation in evaluations:
        by_rater.setdefault(rater_of(evaluation), []).append(evaluation)
    return data, {
        rater: (
            np.array([row[e.comparison_id] for e in votes], np.intp),
            Ballots.of([e.votes.counts() for e in votes]),
        )
        for rater, votes in sorted(by_rater.items())
    }


def rater_of(evaluation: Evaluated) -> Voter:
    """Judges by name; people together."""
    return Voter.of(evaluation.rater.kind, evaluation.rater.name)


def raters(evaluations: Sequence[Evaluated], hits: Mapping[Voter, Hits]) -> list[dict[str, Any]]:
    """What each rater's votes show: how many, ties, abstentions; and from `FEWEST` comparisons on,
    pull to the first position and accuracy."""
    return [
        _rater(rater, evaluations, hits[rater])
        for rater in sorted({rater_of(e) for e in evaluations})
    ]


def _rater(rater: Voter, evaluations: Sequence[Evaluated], hits: Hits) -> dict[str, Any]:
    judged = [e for e in evaluations if rater_of(e) == rater]
    votes = [e.votes for e in judged]
    seen = verdicts(
        Ballots.of([v.counts() for v in votes]),
        sum(v.ties for v in votes),
        sum(v.abstentions for v in votes),
    )
    told = seen.comparisons >= FEWEST
    return {
        "rater": str(rater),
        "kind": rater.kind.value,
        "name": rater.name,
        "comparisons": seen.comparisons,
        "votes": seen.votes,
        "ties": seen.ties / max(1, seen.votes),
        "abstentions": seen.abstentions / max(1, seen.votes),
        "abstained": _reasons(judged),
        "follows_position": seen.follows_position,
        "first_share": seen.first_share,
        "pull": hits.pull if told else None,
        "accuracy": hits.accuracy if told else None,
        "cost_usd": sum(e.cost_usd for e in judged),
    }


def _reasons(evaluations: Sequence[Evaluated]) -> dict[str, int]:
    """How many abstentions there were by which reason; those of older evaluations have none."""
    return dict(sum((Counter(e.abstained.reasons()) for e in evaluations), Counter[str]()))


def agreements(evaluations: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Cohen's kappa of each two raters that have judged the same answers, people taken together."""
    verdict: dict[Voter, dict[str, int]] = {}
    for evaluation in evaluations:
        sums = verdict.setdefault(rater_of(evaluation), {})
        sums[evaluation.comparison_id] = sums.get(evaluation.comparison_id, 0) + int(
            np.sign(evaluation.votes.lead)
        )
    names = sorted(verdict)
    rows = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a = agreement(
                {k: int(np.sign(v)) for k, v in verdict[one].items()},
                {k: int(np.sign(v)) for k, v in verdict[other].items()},
            )
            if a.both:
                rows.append(
                    {
                        "one": str(one),
                        "other": str(other),
                        "voters": (one, other),
                        "kappa": a.kappa,
                        "low": a.low,
                        "high": a.high,
                        "both": a.both,
                        "same": a.same,
                    }
                )
    return rows
