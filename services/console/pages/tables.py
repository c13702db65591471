"""The page Tables: versions, what changed between two, rolling back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.console.desk import Desk, PageError, PageRoute, Viewer, form_of
from services.console.memory import History, Version
from services.console.pages.views import VersionRow
from shared.contracts.scopes import Scope
from shared.contracts.tables import Origin
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.comparing import differences

TITLE = "Tables"
MOVED = 20
"""Strengths that moved most, listed in a difference."""


def tables_of(memory: History) -> list[VersionRow]:
    """All versions, the newest first."""
    rows: list[VersionRow] = []
    for published, clusters in (memory.known[v] for v in sorted(memory.known, reverse=True)):
        at = published.published_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        row: VersionRow = {
            "version": str(published.ref),
            "at": at,
            "note": published.note,
            "pinned": published.pinned,
            "brought": published.came_by is Origin.brought,
            "remarkable": published.remarkable or not rows,
            "clusters": clusters,
            "digest": published.digest[:12],
            "current": not rows,
        }
        rows.append(row)
    return rows


def diff_of(before: Version, after: Version) -> dict[str, Any]:
    """Two versions side by side."""
    moved = sorted(_moved(before.table, after.table), key=lambda r: -abs(r.by))[:MOVED]
    return {
        "changes": differences(before.table, after.table),
        "equal": before.table == after.table,
        "moved": moved,
    }


@dataclass(frozen=True, slots=True)
class Moved:
    """A success in two tables."""

    cluster: str
    label: str
    model: str
    was: float
    now: float
    error: float
    """Standard error of the difference."""

    @property
    def by(self) -> float:
        return self.now - self.was


def _moved(before: RoutingTable, after: RoutingTable) -> Iterator[Moved]:
    for j, cluster in enumerate(after.clusters):
        if (i := before.positions.get(cluster.id)) is None:
            continue
        for m, model in enumerate(after.models):
            if model in before.models:
                k = before.models.index(model)
                was = float(before.success[i, k])
                is_now = float(after.success[j, m])
                errors = (
                    was * (1 - was) * float(before.standard_error[i, k]),
                    is_now * (1 - is_now) * float(after.standard_error[j, m]),
                )
                yield Moved(cluster.id, cluster.label, model, was, is_now, math.hypot(*errors))


async def show(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """All versions."""
    done = request.query_params.get("done", "")
    rows = tables_of(desk.memory)
    note = next((row["note"] for row in rows if row["version"] == done), "") if done else ""
    may_roll = viewer.may(Scope.admin)
    whole = "all" in request.query_params
    return desk.draw.page(
        "tables.html",
        viewer,
        "tables",
        rows=rows,
        shown=[row for row in rows if whole or row["remarkable"]],
        whole=whole,
        folded=sum(not row["remarkable"] for row in rows),
        done=done,
        note=note,
        may_roll=may_roll,
    )


async def compare(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """Two of them."""
    old, new = (request.query_params.get(which, "") for which in ("old", "new"))
    before = await desk.version(old)
    after = await desk.version(new)
    if before is None or after is None:
        raise PageError(404, "there is no such version; choose two of the list")
    facts = diff_of(before, after)
    rows = tables_of(desk.memory)
    return desk.draw.page("diff.html", viewer, "tables", old=old, new=new, rows=rows, **facts)


async def roll_back(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """Publish an old version again."""
    name = (await form_of(request)).get("version", "")
    if not any(row["version"] == name for row in tables_of(desk.memory)):
        raise PageError(404, "there is no such version; choose one of the list")
    version = await desk.roll_back(name, viewer)
    return RedirectResponse(f"/tables?done={version.ref}", 303)


async def unpin(desk: Desk, _request: Request, viewer: Viewer) -> Response:
    """Let what is learnt replace it again."""
    version = await desk.unpin(viewer)
    return RedirectResponse(f"/tables?done={version.ref}", 303)


ROUTES = (
    PageRoute("/tables", show),
    PageRoute("/tables/diff", compare),
    PageRoute("/tables/rollback", roll_back, Scope.admin, method="POST"),
    PageRoute("/tables/unpin", unpin, Scope.admin, method="POST"),
)
