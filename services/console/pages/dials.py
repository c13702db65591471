"""The dials of Try and Models: what a point of success is worth, and the quality-cost curve."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from services.console.pages.views import DialCurve
from services.console.pictures import axis, decades, ticks
from shared.contracts.figures import usd
from shared.routing.deciding.frontier import Frontier
from shared.routing.deciding.rates import MOST_S, MOST_USD, PROFILES, Rates

DIAL = (1e-4, MOST_USD)
"""USD that a point of success is worth at the ends of the dial."""
WAIT = (MOST_S, 1.0)
"""Seconds that it is worth at the ends of the other."""


def dialled(dial: int, wait: int = 0) -> Rates:
    """The rates at these places of the two dials, 0 to 100, logarithmic."""
    usd_per_point = DIAL[0] * (DIAL[1] / DIAL[0]) ** (dial / 100)
    return Rates(usd_per_point, WAIT[0] * (WAIT[1] / WAIT[0]) ** (wait / 100))


def places_of(rates: Rates) -> dict[str, int]:
    """Where the dials stand for these rates."""
    dial = 100 * math.log(max(rates.usd_per_point, DIAL[0]) / DIAL[0]) / math.log(DIAL[1] / DIAL[0])
    wait = 100 * math.log(max(rates.s_per_point, WAIT[1]) / WAIT[0]) / math.log(WAIT[1] / WAIT[0])
    return {"dial": round(min(100.0, dial)), "wait": round(min(100.0, max(0.0, wait)))}


def profile_of(places: Mapping[str, int]) -> str | None:
    """The profile at these places of the dials, if one stands there."""
    return next(
        (name for name, rates in PROFILES.items() if places_of(rates) == dict(places)), None
    )


def curve(frontier: Frontier, rates: Rates) -> DialCurve:
    """The quality-cost curve of a table, and where these rates stand on it."""
    cost = np.maximum(frontier.cost_usd.astype(np.float64), 1e-9)
    success = frontier.success.astype(np.float64)
    logs = np.log10(cost)
    at = math.log(rates.usd_per_point)
    grid = np.log(frontier.usd_per_point.astype(np.float64))
    here_cost = float(np.exp(np.interp(at, grid, np.log(cost))))
    here = float(np.interp(at, grid, success))
    low = min(float(success.min()), frontier.single_success)
    high = max(float(success.max()), frontier.single_success)
    pad = 0.08 * ((high - low) or 1.0)
    single = math.log10(max(frontier.single_cost_usd, 1e-9))
    x = axis(min(float(logs.min()), single) - 0.05, max(float(logs.max()), single) + 0.05, 60, 580)
    y = axis(low - pad, high + pad, 300, 20)
    return {
        "line": " ".join(
            f"{x(float(a)):.1f},{y(float(b)):.1f}" for a, b in zip(logs, success, strict=True)
        ),
        "here": {"x": round(x(math.log10(here_cost)), 1), "y": round(y(here), 1)},
        "single": {
            "x": round(x(single), 1),
            "y": round(y(frontier.single_success), 1),
            "model": frontier.single,
        },
        "x": [
            {"x": round(x(v), 1), "text": usd(1000 * 10**v)}
            for v in decades(float(logs.min()) - 0.1, float(logs.max()) + 0.1)
        ],
        "y": [{"y": round(y(v), 1), "text": f"{v:.2f}"} for v in ticks(low, high, 4)],
        "success": f"{here:.3f}",
        "cost": usd(1000 * here_cost),
        "kept": f"{here / frontier.single_success:.1%}" if frontier.single_success > 0 else "–",
        "measured": frontier.measured,
        "prompts": f"{frontier.prompts:,}",
    }


START = places_of(PROFILES["balanced"])
"""Where the dials stand at first."""


def slider(text: str | None, start: int) -> int:
    """A dial's place from a form: 0 to 100; `start` where there is none."""
    given = text and text.isascii() and text.isdigit() and len(text) < 4
    return min(100, int(text)) if text and given else start
