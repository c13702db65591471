"""`pointsman evidence`: how far the votes can be relied on, by what is on the evaluations topic."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time
from typing import Any

from services.commands import servers
from services.commands.ranking import agreements, arrays, raters, show_raters
from services.commands.screen import as_json as print_json
from services.commands.screen import out, usd
from services.judge.settings import JudgeSettings
from shared.adapters.kafka.client import read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import read
from shared.contracts.parts import RaterKind
from shared.contracts.topics import EVALUATIONS
from shared.routing.bradley_terry import fit_votes
from shared.routing.votes import Hits


def evidence(*, as_json: bool) -> int:
    """Print what raters' votes show of the raters. Returns the exit code."""
    servers.find_running()
    facts = facts_of(asyncio.run(_evaluations()), JudgeSettings().budget_usd_per_day)
    if as_json:
        print_json(facts)
    elif not facts["votes"]:
        out.print('nobody has voted yet. Send prompts with [bold]"answer": true[/], and see POINTSMAN_JUDGE_RATE', soft_wrap=True)
    else:
        if facts["simulated"]:
            out.print("[yellow]SIMULATED[/] judges are among the raters")
        show_raters(facts)
        spent = facts["spent_today_usd"]
        out.print(f"judging and shadow answers today (UTC): {usd(spent)} of {usd(facts['budget_usd_per_day'])}")
    return 0


def facts_of(evaluations: list[Evaluated], budget: float) -> dict[str, Any]:
    """What votes show: of each rater, of each two, and what they cost today."""
    models = sorted({m for e in evaluations for m in (e.first, e.second)})
    hits: dict[str, Hits] = {}
    if evaluations:
        data, ballots = arrays(evaluations, {m: i for i, m in enumerate(models)}, lambda _: 0)
        _, hits = fit_votes(data, ballots, 1, len(models), 0, {})
    today = datetime.combine(datetime.now(UTC).date(), time(), UTC)
    spent = sum(e.cost_usd for e in evaluations if e.rater.kind is RaterKind.judge and e.at is not None and e.at >= today)
    return {
        "votes": raters(evaluations, hits),
        "agreement": agreements(evaluations),
        "simulated": any(e.rater.simulated for e in evaluations),
        "spent_today_usd": spent,
        "budget_usd_per_day": budget,
    }


async def _evaluations() -> list[Evaluated]:
    """One for each evaluation id, the newest."""
    found: dict[str, Evaluated] = {}
    for record in await read_all(KafkaSettings(), EVALUATIONS):
        try:
            evaluation = read(Evaluated, record.value)
        except InvalidMessage:
            continue
        found[evaluation.evaluation_id] = evaluation
    return sorted(found.values(), key=lambda e: e.evaluation_id)
