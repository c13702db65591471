"""The page Try: one prompt, its decision, and what other rates would make of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.console import FLOW
from services.console.desk import Desk, PageError, PageRoute, Trial, Undecided, Viewer, form_of
from services.console.pages.common import colour
from services.console.pages.dials import START, curve, dialled, profile_of, slider
from services.console.pages.views import ScoreRow, ScoreTable, TrialFacts
from shared.contracts.figures import usd
from shared.contracts.messages import Decided, Submitted
from shared.contracts.scopes import Scope
from shared.contracts.wishes import Profile
from shared.routing.deciding.abilities import Abilities
from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.rates import MOST_S, PROFILES, Rates
from shared.routing.deciding.selection import Limits, Prediction, select
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.comparing import by_votes

TITLE = "Try"


WRITERS = {
    "llm": "a language model",
    "cache": "a language model, before",
    "foreseen": "foresight",
    "library": "the library of tasks",
    "local": "the prompt's own words",
    "prompt": "no description: this is the prompt",
}
"""Who wrote a description, as the page says it."""


def assignment_of(message: Decided, table: RoutingTable) -> Assignment:
    """Where a prompt lies in the table that it was assigned with."""
    parts = message.assignment.clusters
    clusters = np.array([table.positions[p.id] for p in parts], np.intp)
    weights, distances = (
        np.array(values, np.float32)
        for values in ([p.weight for p in parts], [p.distance for p in parts])
    )
    return Assignment(clusters, weights, distances, message.assignment.novel)


def limits_of(message: Decided, retired: frozenset[str]) -> Limits:
    """What a model must keep to for that prompt."""
    return replace(message.constraints.limits(message.needed()), retired=retired)


def trial_of(message: Decided, took_s: float) -> TrialFacts:
    """What is known of a prompt, whatever the weights."""
    parts = message.assignment.clusters
    return {
        "task": message.description.text,
        "source": WRITERS.get(message.description.origin, message.description.origin),
        "simulated": message.description.simulated,
        "novel": message.assignment.novel,
        "clusters": [{"id": p.id, "label": p.label, "share": f"{p.weight:.0%}"} for p in parts],
        "ms": round(1000 * took_s),
        "table": str(message.decision.table),
    }


def prediction_of(message: Decided, table: RoutingTable) -> Prediction | None:
    """What the table's predictor said of that prompt, as far as it counted."""
    return message.assignment.prediction(table, message.decision.predictor_share)


def ranking_of(
    table: RoutingTable,
    assignment: Assignment,
    rates: Rates,
    limits: Limits,
    abilities: Mapping[str, Abilities],
    prediction: Prediction | None = None,
    tokens: float | None = None,
) -> ScoreTable:
    """Every model's utility broken down, for one prompt and these rates."""
    selection = select(table, assignment, rates, limits, abilities, prediction, tokens)
    spans = (
        max(c.gain, min(1.0, c.cost_penalty + c.latency_penalty + c.caution))
        for c in selection.candidates
    )
    span = max(spans, default=1.0) or 1.0
    rows: list[ScoreRow] = [
        {
            "model": c.model,
            "colour": colour(c.model, table.models),
            "unproven": c.unproven,
            "predicted": None if c.predicted is None else f"{c.predicted:.0%}",
            "utility": f"{c.utility:+.3f}",
            "success": f"{c.success:.2f}",
            "interval": f"{c.success_low:.2f}–{c.success_high:.2f}",
            "cost": usd(c.cost_usd),
            "latency": f"{c.latency_s:.1f} s",
            "gain": f"{c.gain:+.3f}",
            "cost_penalty": f"{-c.cost_penalty:+.3f}",
            "latency_penalty": f"{-c.latency_penalty:+.3f}",
            "caution": f"{-c.caution:+.3f}",
            "bars": {
                "gain": round(100 * c.gain / span, 1),
                "cost": round(min(100.0, 100 * c.cost_penalty / span), 1),
                "latency": round(min(100.0, 100 * c.latency_penalty / span), 1),
            },
        }
        for c in selection.candidates
    ]
    return {
        "rows": rows,
        "ruled_out": selection.ruled_out,
        "winner": rows[0]["model"] if rows else None,
        "colour": rows[0]["colour"] if rows else "",
        "why": selection.why,
        "confidence": f"{selection.confidence:.2f}",
        "rates": {
            "usd": usd(rates.usd_per_point),
            "s": "no matter how long"
            if rates.s_per_point >= MOST_S
            else f"{rates.s_per_point:.3g} s",
        },
        "by_votes": by_votes(table),
        "reference": table.reference_model,
        "cautious": any(c.caution > 0 for c in selection.candidates),
        "traffic": None if table.frontier is None else curve(table.frontier, rates),
    }


EXAMPLES = (
    "Translate into French: the library is closed on Monday.",
    "Write a SQL query for the ten customers with the highest revenue last year.",
    "Summarise the minutes of a meeting in three sentences.",
)
TRIALS = 500
"""Trials that are kept."""


async def show(desk: Desk, _request: Request, viewer: Viewer) -> Response:
    """Where a prompt is typed."""
    return _typing(desk, viewer, "", None)


def _typing(
    desk: Desk, viewer: Viewer, prompt: str, wrong: str | None, status: int = 200
) -> Response:
    return desk.draw.page(
        "try.html",
        viewer,
        "try",
        status,
        prompt=prompt,
        trial=None,
        wrong=wrong,
        examples=EXAMPLES,
    )


async def submit(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """Have a prompt decided on."""
    prompt = (await form_of(request)).get("prompt", "")
    try:
        message = Submitted(
            request_id=f"try-{secrets.token_hex(12)}",
            prompt=prompt,
            profile=Profile.balanced,
            metadata={"sender": FLOW.name},
            submitted_at=datetime.now(UTC),
        )
    except ValueError:
        empty = not prompt.strip()
        too_long = "The prompt is too long: at most 256 KiB are taken."
        wrong = "Type a prompt first." if empty else too_long
        return _typing(desk, viewer, prompt[:10_000], wrong, 400)
    began = time.monotonic()
    try:
        decided = await desk.decide(message)
    except Undecided as late:
        stuck = (
            "it was described and not decided on" if late.described else "no service has taken it"
        )
        wrong = (
            f"No decision within {desk.settings.route_s:.0f} s: {stuck}. Do describer, embedder, "
            "assigner and selector run? Without a routing table prompts wait. `pointsman "
            "dead-letters list` shows refused prompts."
        )
        return _typing(desk, viewer, prompt, wrong, 504)
    took_s = time.monotonic() - began
    token = secrets.token_urlsafe(12)
    table = await desk.table(decided.decision.table.digest)
    desk.trials[token] = Trial(viewer.name, prompt, decided, took_s, table)
    while len(desk.trials) > TRIALS:
        desk.trials.popitem(last=False)
    return RedirectResponse(f"/try/{token}", 303)


async def show_trial(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """The decision, and what other rates would make of it."""
    token = request.path_params["token"]
    trial = desk.trials.get(token)
    if trial is None or trial.owner != viewer.name:
        raise PageError(404, "that trial is not kept any more; try the prompt again")
    dials = {name: slider(request.query_params.get(name), at) for name, at in START.items()}
    profile = profile_of(dials)
    scores = ranking_of(
        trial.table,
        assignment_of(trial.decided, trial.table),
        PROFILES[profile] if profile else dialled(**dials),
        limits_of(trial.decided, desk.retired()),
        desk.abilities(),
        prediction_of(trial.decided, trial.table),
        trial.decided.prompt_tokens(),
    )
    facts = {"scores": scores, "dials": dials, "token": token, "known": profile}
    if "hx-request" in request.headers:
        return HTMLResponse(desk.draw.part("_scores.html", **facts))
    return desk.draw.page(
        "try.html",
        viewer,
        "try",
        prompt=trial.prompt,
        trial=trial_of(trial.decided, trial.took_s),
        wrong=None,
        examples=(),
        **facts,
    )


ROUTES = (
    PageRoute("/try", show, Scope.route),
    PageRoute("/try", submit, Scope.route, method="POST"),
    PageRoute("/try/{token}", show_trial, Scope.route),
)
