"""Pictures as numbers: where points, hulls, bars and lines lie. Drawn as SVG by the templates, so
they need no JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def hull(points: Floats) -> list[tuple[float, float]]:
    """The convex hull of (n, 2) points, by Andrew's monotone chain (1979); fewer than three corners
    are no hull."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return []

    def half(them: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for p in them:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    corners = half(ordered) + half(ordered[::-1])
    return corners if len(corners) > 2 else []


def _turn(o: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])


def inner(points: Floats, share: float = 0.9) -> Floats:
    """The points nearest to their median, so that a stray one does not stretch the hull."""
    if len(points) < 5:
        return points
    away = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    near: Floats = points[away <= np.quantile(away, share)]
    return near


def apart(
    places: Sequence[tuple[float, float]],
    texts: Sequence[str],
    sizes: Sequence[float],
    letter: float = 7.4,
) -> list[bool]:
    """Which labels can be written without covering another: the largest first."""
    taken: list[tuple[float, float, float, float]] = []
    shown = [False] * len(texts)
    for i in sorted(range(len(texts)), key=lambda k: -sizes[k]):
        x, y = places[i]
        half = len(texts[i]) * letter / 2
        box = (x - half, y - 11, x + half, y + 11)
        if all(box[2] < b[0] or box[0] > b[2] or box[3] < b[1] or box[1] > b[3] for b in taken):
            taken.append(box)
            shown[i] = True
    return shown


def axis(low: float, high: float, start: float, end: float) -> Any:
    """A function from values to the picture."""
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(s * power for s in (1, 2, 5, 10) if s * power >= rough))
    return [float(v) for v in np.arange(np.ceil(low / step) * step, high + step / 1e6, step)]


def decades(low: float, high: float, most: int = 7) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten between two logarithms; fewer of them where they
    would crowd."""
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [float(np.log10(step)) + power for power in powers for step in steps]
        found = [v for v in found if low <= v <= high]
        if len(found) <= most:
            break
    return found


def front(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Those that no other is both cheaper and better than, the cheapest first."""
    best = -np.inf
    kept = []
    for i in sorted(range(len(costs)), key=lambda k: (costs[k], -qualities[k])):
        if qualities[i] > best:
            best = qualities[i]
            kept.append(i)
    return kept
