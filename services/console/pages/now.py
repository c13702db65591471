"""The page Now: what happens, and what it cost."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.console.desk import Desk, PageError, PageRoute, Viewer
from services.console.memory import SECONDS, History, SeenDecision, Totals
from services.console.pages.common import colour, cut_short, task_of
from services.console.pages.views import DecisionRow, FreshRows, GoalRow, NowPage, Numbers, Series
from shared.contracts.figures import percentile, usd
from shared.contracts.scopes import Scope
from shared.routing.deciding.rates import Goal
from shared.routing.deciding.selection import INTERVAL

TITLE = "Now"
BATCH_S = 0.25
"""Decisions that came meanwhile are drawn together."""
LOOK_AGAIN_S = 5.0
"""How often a page that stays open shows that its key still holds."""
IDLE_S = 60.0
"""Seconds without a decision after which the page shows the last window that had any."""
SHOWN = 25
"""Decisions listed on Now."""


def row(seen: SeenDecision, models: Sequence[str], *, prompts: bool) -> DecisionRow:
    """One decision of the list; `prompts`: for somebody who may see them."""
    return {
        "id": seen.request_id,
        "at": datetime.fromtimestamp(seen.at, UTC).strftime("%H:%M:%S"),
        "task": task_of(seen, prompts=prompts),
        "cluster": seen.cluster,
        "label": cut_short(seen.label, 48),
        "novel": seen.novel,
        "model": seen.model or "no eligible model",
        "runner_up": seen.runner_up or "nobody",
        "colour": colour(seen.model, models),
        "confidence": f"{seen.confidence:.2f}",
        "cost": usd(seen.cost_usd),
        "ms": round(1000 * seen.took_s),
    }


def _singles(totals: Totals) -> str:
    """The best single model, or how it was one part of the time."""
    if not totals.count:
        return "the best single model"
    ((name, count),) = totals.singles.most_common(1)
    return name if count == totals.count else f"{name} (best for {count / totals.count:.0%})"


def window_end(memory: History, now: float) -> float:
    """Until when figures and charts go: now, or a while after the last decision if that is long
    ago."""
    last = memory.decisions[-1].at if memory.decisions else now
    return now if now - last < IDLE_S else last + 2


def ago(seconds: float) -> str:
    """A time span for people."""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "a moment"


def numbers(memory: History, now: float) -> Numbers:
    """The figures at the head of Now."""
    until = window_end(memory, now)
    idle = until < now
    recent = list(memory.last_seconds(until, 10))
    latencies = [t for _, second in memory.last_seconds(until, 60) for t in second]
    p50 = percentile(latencies, 0.5)
    p99 = percentile(latencies, 0.99)
    totals = memory.totals
    saved = 1 - totals.chosen_usd / totals.single_usd if totals.single_usd > 0 else None
    success = totals.success / totals.compared if totals.compared else None
    single = totals.single_success / totals.compared if totals.compared else None
    return {
        "count": f"{memory.count:,}",
        "rate": f"{sum(len(s) for _, s in recent) / 10:.1f}",
        "p50": f"{1000 * p50:.0f} ms" if latencies else "–",
        "p99": f"{1000 * p99:.0f} ms" if latencies else "–",
        "last": f"{ago(now - memory.decisions[-1].at)} ago" if idle and memory.decisions else "",
        "ranked": f"{totals.count:,}",
        "chosen": usd(totals.chosen_usd),
        "single": usd(totals.single_usd),
        "single_model": _singles(totals),
        "window": f"{len(latencies):,}",
        "success": "–" if success is None else f"{success:.2f}",
        "single_success": "–" if single is None else f"{single:.2f}",
        "success_less": "" if success is None or single is None else f"{success - single:+.2f}",
        "saved": "–"
        if saved is None
        else f"{saved:.0%} less"
        if saved >= 0
        else f"{-saved:.0%} more",
    }


GOAL_PROMPTS = 2000
"""The newest decisions of a goal, over which it is to be met."""


def goals_of(memory: History) -> list[GoalRow]:
    """Each goal beside what was reached, over its newest decisions, with 95% intervals."""
    by_goal: dict[Goal, list[SeenDecision]] = {}
    for seen in reversed(memory.decisions):
        if (
            seen.goal is not None
            and len(decisions := by_goal.setdefault(seen.goal, [])) < GOAL_PROMPTS
        ):
            decisions.append(seen)
    return [_goal_row(goal, decisions, memory) for goal, decisions in by_goal.items()]


def _goal_row(goal: Goal, decisions: Sequence[SeenDecision], memory: History) -> GoalRow:
    gains, single_gains, times = memory.corrections(decisions).T
    cost = 1000 * times * np.array([s.cost_usd for s in decisions])
    row: GoalRow = {
        "goal": goal.text,
        "prompts": f"{len(decisions):,}",
        "cost": _spread(cost, usd),
        "kept": "–",
    }
    both = np.array(
        [
            (s.success + gain, s.single_success + single_gain)
            for s, gain, single_gain in zip(decisions, gains, single_gains, strict=True)
            if s.success is not None and s.single_success is not None
        ]
    )
    if not len(both) or not both[:, 1].sum():
        return row
    ratio = float(both[:, 0].sum() / both[:, 1].sum())
    error = float(
        np.std(both[:, 0] - ratio * both[:, 1]) / both[:, 1].mean() / math.sqrt(len(both))
    )
    kept = f"{ratio:.1%} ({ratio - INTERVAL * error:.1%} to {ratio + INTERVAL * error:.1%})"
    return {**row, "kept": kept}


def _spread(values: np.ndarray, form: Callable[[float], str]) -> str:
    """The mean and its 95% interval."""
    mean = float(values.mean())
    error = float(values.std() / math.sqrt(len(values)))
    return (
        f"{form(mean)} ({form(max(0.0, mean - INTERVAL * error))} to "
        f"{form(mean + INTERVAL * error)})"
    )


def series(memory: History, now: float, since: int | None = None) -> Series:
    """The last two minutes second by second (or from the second `since` on): decisions, p50 and p99
    in ms."""
    at: list[int] = []
    rate: list[int] = []
    p50: list[float | None] = []
    p99: list[float | None] = []
    for second, latencies in memory.last_seconds(
        now, SECONDS if since is None else max(0, min(SECONDS, int(now) - since))
    ):
        at.append(second)
        rate.append(len(latencies))
        for share, values in ((0.5, p50), (0.99, p99)):
            latency_ms = 1000 * percentile(latencies, share)
            values.append(round(latency_ms, 1) if latencies else None)
    return {"at": at, "rate": rate, "p50": p50, "p99": p99}


def now(memory: History, at: float, *, prompts: bool) -> NowPage:
    """The page Now."""
    models = memory.current.table.models if memory.current else ()
    latest = [
        row(memory.decisions[-1 - i], models, prompts=prompts)
        for i in range(min(SHOWN, len(memory.decisions)))
    ]
    return {
        "numbers": numbers(memory, at),
        "latest": latest,
        "history": len(memory.decisions),
        "goals": goals_of(memory),
    }


async def show(desk: Desk, _request: Request, viewer: Viewer) -> Response:
    """What happens."""
    at = time.time()
    facts = now(desk.memory, at, prompts=viewer.may(Scope.admin))
    shown = series(desk.memory, window_end(desk.memory, at))
    return desk.draw.page("now.html", viewer, "now", **facts, series=shown)


async def listen(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """The same as it goes on, several decisions at a time."""
    most = desk.settings.viewers
    if desk.watching >= most:
        raise PageError(503, f"{most} people watch already (POINTSMAN_CONSOLE_VIEWERS)")
    happening = _happening(desk, request, prompts=viewer.may(Scope.admin))
    return StreamingResponse(
        happening, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _happening(desk: Desk, request: Request, *, prompts: bool) -> AsyncIterator[str]:
    seen = -1
    second = int(time.time())
    looked = time.monotonic()
    desk.watching += 1
    try:
        yield "retry: 2000\n\n"
        while not desk.stopping.is_set():
            at = time.time()
            if desk.memory.count != seen or int(at) > second:
                event = news(desk, seen, second, at, prompts=prompts)
                yield f"data: {json.dumps(event)}\n\n"
                seen = desk.memory.count
                second = int(at)
            if time.monotonic() - looked > LOOK_AGAIN_S:
                if not desk.admitted(request):
                    return
                looked = time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(desk.stopping.wait(), BATCH_S)
    finally:
        desk.watching -= 1


def news(desk: Desk, seen: int, second: int, at: float, *, prompts: bool) -> FreshRows:
    """What is new to a page that has shown `seen` decisions and the seconds up to `second`."""
    memory = desk.memory
    models = memory.current.table.models if memory.current else ()
    unseen = memory.count - seen if seen >= 0 else SHOWN
    fresh = min(SHOWN, len(memory.decisions), unseen)
    rows = [row(memory.decisions[-1 - i], models, prompts=prompts) for i in range(fresh)]
    return {
        "rows": desk.draw.part("_rows.html", latest=rows),
        "whole": seen < 0 or fresh == SHOWN,
        "numbers": desk.draw.part("_numbers.html", numbers=numbers(memory, at)),
        "series": series(memory, at, since=second),
    }


ROUTES = (PageRoute("/now", show), PageRoute("/now/events", listen))
