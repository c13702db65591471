"""Where clusters lie on the map: near those that pose similar tasks, apart from all others, and
where they were on the map before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.console.pictures import Floats

WIDE, HIGH, EDGE = 1000.0, 640.0, 74.0
STEPS = 120
"""Of stress majorisation."""
MOST = 400
"""Clusters that are laid out so; of more, the others lie beside their nearest."""
STAYS = 1.0
"""How strongly a cluster is held where it was, beside what pulls it to its neighbours."""
GAP = 4.0
"""Between circles."""
LINE, LETTER, HALF = 15.0, 7.2, 22
"""Height of a line of a label, width of a letter, and letters of a line at most."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label that covers no other, no circle and no edge."""

    x: float
    y: float
    """Of the first line's foot."""
    anchor: str
    """As SVG has it."""
    lines: tuple[str, ...]


def laid_out(
    ids: Sequence[str],
    centroids: npt.NDArray[np.float32],
    before: Mapping[str, tuple[float, float]],
) -> dict[str, tuple[float, float]]:
    """Places of clusters on the unit square.

    Distances on the plane follow those between centroids (n, dimension) by stress majorisation
    (Gansner, Koren, North 2004), each weighed by 1/d². `before`: places of the map before; clusters
    that were there begin there and are held, and the whole is turned and mirrored onto them
    (Procrustes).
    """
    points = np.asarray(centroids, np.float64)
    n = len(points)
    if n < 3:
        return {name: ((i + 1) / (n + 1), 0.5) for i, name in enumerate(ids)}
    chosen = np.arange(n)[:MOST]
    some = points[chosen]
    names = [ids[i] for i in chosen]
    held = np.array([name in before for name in names])
    place = _principal(some)
    if held.any():
        place = _onto(place, names, before)
    place = _majorised(place, _apart(some), held)
    if held.any():
        place = _onto(place, names, before, move=False)
    else:
        low, high = place.min(axis=0), place.max(axis=0)
        place = (place - low) / np.maximum(high - low, 1e-9)
    found = {name: (float(x), float(y)) for name, (x, y) in zip(names, place, strict=True)}
    for i in range(MOST, n):
        near = np.argsort(np.linalg.norm(some - points[i], axis=1))[:3]
        x, y = place[near].mean(axis=0)
        found[ids[i]] = float(x), float(y)
    return found


def _apart(points: Floats) -> Floats:
    """(n, n) distances. Ranks count half: in many dimensions all distances are much alike."""
    squared = (points**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squared[:, None] + squared - 2 * points @ points.T, 0.0))
    off = ~np.eye(len(points), dtype=bool)
    ranks = np.zeros_like(distances)
    ranks[off] = np.argsort(np.argsort(distances[off])) / max(1, off.sum() - 1)
    scaled = distances / max(float(distances[off].mean()), 1e-9)
    return np.where(off, 0.5 * scaled + ranks, 0.0) + 0.05 * off


def _principal(points: Floats) -> Floats:
    """Along the two principal directions; signs are fixed."""
    centred = points - points.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    axes = axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
    flat: Floats = centred @ axes.T
    return flat / max(float(np.abs(flat).max()), 1e-9)


def _majorised(place: Floats, distances: Floats, held: npt.NDArray[np.bool_]) -> Floats:
    """Places of less and less stress, by Guttman's transform with weights."""
    n = len(place)
    weights = np.where(distances > 0, 1.0 / np.maximum(distances, 0.2) ** 2, 0.0)
    anchors = place.copy()
    pull = np.where(held, STAYS * weights.sum(axis=1), 1e-6 * weights.sum(axis=1))
    laplacian = np.diag(weights.sum(axis=1) + pull) - weights
    inverse = np.linalg.inv(laplacian)
    for _ in range(STEPS):
        gaps = np.linalg.norm(place[:, None] - place[None], axis=2)
        ratio = np.where(gaps > 1e-9, weights * distances / np.maximum(gaps, 1e-9), 0.0)
        b = -ratio
        b[np.arange(n), np.arange(n)] = ratio.sum(axis=1)
        place = inverse @ (b @ place + pull[:, None] * anchors)
    return place


def _onto(
    place: Floats,
    names: Sequence[str],
    before: Mapping[str, tuple[float, float]],
    *,
    move: bool = True,
) -> Floats:
    """Turned, mirrored, scaled and moved onto where clusters were (orthogonal Procrustes); with
    `move` those that were somewhere are put there."""
    known = [i for i, name in enumerate(names) if name in before]
    there = np.array([before[names[i]] for i in known])
    if len(known) > 1:
        mine, theirs = place[known].mean(axis=0), there.mean(axis=0)
        a, b = place[known] - mine, there - theirs
        u, s, v = np.linalg.svd(a.T @ b)
        scale = s.sum() / max(float((a**2).sum()), 1e-9)
        place = (place - mine) @ (u @ v) * scale + theirs
    elif known:
        place = place - place[known[0]] + there[0]
    if move:
        place = place.copy()
        place[known] = there
    return place


def on_picture(places: Floats, radii: Floats) -> Floats:
    """(n, 2) places on the picture, circles of these radii moved apart where they overlap."""
    low, high = places.min(axis=0), places.max(axis=0)
    size = np.array([WIDE - 2 * EDGE, HIGH - 2 * EDGE])
    spot: Floats = EDGE + (places - low) / np.maximum(high - low, 1e-9) * size
    if len(places) < 2:
        return np.array([[WIDE / 2, HIGH / 2]])[: len(places)]
    least = radii[:, None] + radii + GAP
    off = ~np.eye(len(places), dtype=bool)
    for _ in range(200 if len(places) <= MOST else 0):
        apart = spot[:, None] - spot[None]
        gaps = np.linalg.norm(apart, axis=2)
        short = np.where(off, np.maximum(0.0, least - gaps), 0.0)
        if not short.any():
            break
        # those in the very same place go apart in a direction of their own
        angle = np.arange(len(places)) * 2.399963
        own = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        away = np.where(
            gaps[..., None] > 1e-6, apart / np.maximum(gaps, 1e-6)[..., None], own[:, None]
        )
        spot = spot + 0.25 * (short[..., None] * away).sum(axis=1)
        spot = np.clip(spot, [EDGE / 2, EDGE / 2], [WIDE - EDGE / 2, HIGH - EDGE / 2])
    return spot


def labelled(
    spots: Floats, radii: Floats, texts: Sequence[str], sizes: Sequence[float]
) -> list[Label | None]:
    """Labels beside their circles, the largest clusters first; None where there is no room."""
    taken = [
        (float(x - r), float(y - r), float(x + r), float(y + r))
        for (x, y), r in zip(spots, radii, strict=True)
    ]
    labels: list[Label | None] = [None] * len(texts)
    for i in sorted(range(len(texts)), key=lambda k: -sizes[k]):
        lines = _lines(texts[i])
        wide, high = LETTER * max(map(len, lines)), LINE * len(lines)
        x, y = (float(v) for v in spots[i])
        r = float(radii[i]) + 4
        for left, top, anchor, at in (
            (x - wide / 2, y + r, "middle", x),
            (x - wide / 2, y - r - high, "middle", x),
            (x + r, y - high / 2, "start", x + r),
            (x - r - wide, y - high / 2, "end", x - r),
        ):
            box = (left, top, left + wide, top + high)
            inside = left >= 4 and top >= 4 and box[2] <= WIDE - 4 and box[3] <= HIGH - 4
            others = (b for k, b in enumerate(taken) if k != i)
            if inside and not any(_cover(box, b) for b in others):
                taken.append(box)
                labels[i] = Label(round(at, 1), round(top + 12, 1), anchor, lines)
                break
    return labels


def _cover(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _lines(text: str) -> tuple[str, ...]:
    """One line, or two where it is long; cut only between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= HALF or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < 2:
            lines.append(word)
        else:
            lines[-1] += "…"
            break
    return tuple(line if len(line) <= HALF + 1 else f"{line[:HALF]}…" for line in lines)
