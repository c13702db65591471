"""The page Models: what each model is good at, and what the dial would choose."""

from __future__ import annotations

import asyncio

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.console.desk import Desk, PageRoute, Viewer
from services.console.memory import UNKNOWN, Version
from services.console.pages.common import about, choice, colour, scatter
from services.console.pages.dials import START, curve, dialled, slider
from services.console.pages.views import HeatRow, ModelsPage, PicksRow
from shared.contracts.figures import usd
from shared.contracts.wishes import Profile
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import INTERVAL
from shared.routing.learning.comparing import by_votes

TITLE = "Models"


def models_of(
    version: Version, dial: int = 60, retired: frozenset[str] = frozenset()
) -> ModelsPage:
    """The page Models: success per cluster, cost against success, what the dial and each profile
    would choose where."""
    table = version.table
    models = sorted(table.models)
    places = [table.models.index(m) for m in models]
    rate = table.success
    low, high = table.success_interval(INTERVAL)
    known = high - low < UNKNOWN
    best = np.where(known, rate, -1.0).max(axis=1, keepdims=True)
    sizes = np.array([max(1, c.size) for c in table.clusters], np.float64)
    sizes /= sizes.sum()
    heat: list[HeatRow] = [
        {
            "id": cluster.id,
            "label": cluster.label,
            "cells": [
                {
                    "text": f"{rate[c, m]:.0%}" if known[c, m] else "?",
                    "heat": f"h{min(9, int(10 * rate[c, m]))}" if known[c, m] else "",
                    "best": bool(known[c, m] and rate[c, m] == best[c, 0]),
                }
                for m in places
            ],
        }
        for c, cluster in enumerate(table.clusters)
    ]
    chosen: list[PicksRow] = [
        {
            "id": cluster.id,
            "label": cluster.label,
            "picks": [
                {"model": name, "colour": colour(name, table.models)}
                for rates in (dialled(dial), *PROFILES.values())
                for name in [choice(table, c, rates, retired).candidates[0].model]
            ],
        }
        for c, cluster in enumerate(table.clusters)
    ]
    return {
        "table": about(version),
        "models": models,
        "heat": heat,
        "chosen": chosen,
        "profiles": [p.value for p in Profile],
        "scatter": scatter(
            table.models, sizes @ table.cost_usd, sizes @ rate, sizes @ table.latency_s
        ),
        "by_votes": by_votes(table),
        "reference": table.reference_model,
        "dial": dial,
        "rate": usd(dialled(dial).usd_per_point),
        "curve": None if table.frontier is None else curve(table.frontier, dialled(dial)),
    }


async def show(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """What each model is good at."""
    if (version := desk.memory.current) is None:
        return desk.draw.page("no_table.html", viewer, "models")
    dial = slider(request.query_params.get("dial"), START["dial"])
    facts = await asyncio.to_thread(models_of, version, dial, desk.retired())
    if "hx-request" in request.headers:
        return HTMLResponse(desk.draw.part("_dial.html", **facts))
    return desk.draw.page("models.html", viewer, "models", **facts)


ROUTES = (PageRoute("/models", show),)
