"""`pointsman evidence`: how far the votes can be relied on, by what is on the evaluations topic."""

from __future__ import annotations

import asyncio
from datetime import datetime

from services.commands.raters import show_raters
from services.judge.settings import JudgeSettings
from services.local import servers
from services.screen import as_json as print_json
from services.screen import out
from shared.adapters.kafka.client import read_all, time_of
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.evidence import facts_of
from shared.contracts.figures import usd
from shared.contracts.messages import read
from shared.contracts.topics import EVALUATIONS


def evidence(*, as_json: bool) -> int:
    """Print what raters' votes show of the raters. Returns the exit code."""
    servers.find_running()
    facts = facts_of(asyncio.run(_evaluations()), JudgeSettings().budget_usd_per_day)
    if as_json:
        print_json(facts)
    elif not facts["votes"]:
        out.print(
            'nobody has voted yet. Send prompts with [bold]"answer": true[/], and see '
            "POINTSMAN_JUDGE_RATE",
            soft_wrap=True,
        )
    else:
        if facts["simulated"]:
            out.print("[yellow]SIMULATED[/] judges are among the raters")
        show_raters(facts)
        spent = facts["spent_today_usd"]
        out.print(
            f"judging and shadow answers today (UTC): {usd(spent)} of "
            f"{usd(facts['budget_usd_per_day'])}"
        )
    return 0


async def _evaluations() -> list[Evaluated]:
    """One for each evaluation id, the newest."""
    newest: dict[str, tuple[datetime, Evaluated]] = {}
    for record in await read_all(KafkaSettings(), EVALUATIONS):
        try:
            evaluation = read(Evaluated, record.value)
        except InvalidMessage:
            continue
        at = evaluation.at or time_of(record)
        if evaluation.evaluation_id not in newest or newest[evaluation.evaluation_id][0] <= at:
            newest[evaluation.evaluation_id] = at, evaluation
    return [evaluation for _, (_, evaluation) in sorted(newest.items())]
