"""The page Evidence: how far votes can be relied on, and what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.console.desk import Desk, PageRoute, Viewer
from services.console.memory import History
from shared.contracts.evaluations import Evaluated
from shared.contracts.evidence import facts_of
from shared.contracts.figures import usd
from shared.contracts.scopes import Scope

TITLE = "Evidence"


def evidence_of(evaluations: Sequence[Evaluated], budget_usd: float) -> dict[str, Any]:
    """What the votes show, and what judging costs."""
    facts = facts_of(sorted(evaluations, key=lambda e: e.evaluation_id), budget_usd)
    facts["simulated_votes"] = facts.pop("simulated")
    return facts | {"share": min(1.0, facts["spent_today_usd"] / budget_usd) if budget_usd else 0.0}


def spending_of(memory: History, now: datetime) -> list[tuple[str, str]]:
    """What was spent today (UTC) on each key, the most first."""
    today = now.astimezone(UTC).date().isoformat()
    keys = sorted(
        ((key, amount) for (day, key), amount in memory.spent.items() if day == today),
        key=lambda k: -k[1],
    )
    return [(key, usd(amount)) for key, amount in keys]


async def show(desk: Desk, _request: Request, viewer: Viewer) -> Response:
    """How far votes can be relied on. Computed again only when more have arrived."""
    heard = desk.evaluations_heard
    if desk.evidence is None or desk.evidence[0] != heard:
        evaluations = list(desk.memory.evaluations.values())
        budget = desk.settings
        found = await asyncio.to_thread(evidence_of, evaluations, budget.budget_usd_per_day)
        desk.evidence = heard, found
    keys = spending_of(desk.memory, datetime.now(UTC)) if viewer.may(Scope.admin) else None
    people = desk.rating.agreement()
    facts = desk.evidence[1]
    return desk.draw.page("evidence.html", viewer, "evidence", keys=keys, people=people, **facts)


ROUTES = (PageRoute("/evidence", show),)
