"""The page Map, and the page of a cluster."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response

from services.console.desk import Desk, PageError, PageRoute, Viewer
from services.console.layout import HIGH, WIDE, labelled, on_picture
from services.console.memory import History, SeenDecision, Version
from services.console.pages.common import about, choice, colour, scatter, task_of
from services.console.pages.views import (
    AcrossMark,
    Area,
    ClusterPage,
    HistoryLine,
    HistoryPicture,
    LatestRow,
    MapPage,
    Point,
    RankRow,
)
from services.console.pictures import Floats, axis, hull, inner, ticks
from shared.contracts.figures import usd
from shared.contracts.scopes import Scope
from shared.contracts.wishes import Profile
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.selection import INTERVAL
from shared.routing.deciding.table import RoutingTable
from shared.routing.learning.comparing import by_votes
from shared.routing.learning.task2vec import similar

TITLE = "Map"


def map_of(
    memory: History, version: Version, profile: Profile, retired: frozenset[str] = frozenset()
) -> MapPage:
    """The page Map: clusters on a plane, their prompts around them."""
    table = version.table
    placed = memory.placed(table)
    seen = [s for s, _ in placed]
    nearest = np.array([table.positions[place] for _, place in placed], np.intp)
    routed = np.array([s.ranked for s in seen], np.bool_)
    k = len(table.clusters)
    traffic, early = (
        np.bincount(nearest[rows], minlength=k) if len(seen) else np.zeros(k, np.intp)
        for rows in (routed, ~routed)
    )
    size = np.sqrt((traffic + 0.25 * early) / max(1.0, float((traffic + 0.25 * early).max())))
    radii = (5 + 23 * size) * min(1.0, math.sqrt(40 / k))
    layout = memory.layout(version)
    spots = on_picture(np.array([layout[c.id] for c in table.clusters]), radii)
    dots = _around(table, seen, nearest, spots, radii)
    labels = labelled(spots, radii, [c.label for c in table.clusters], list(traffic + early))
    winners = [choice(table, c, PROFILES[profile], retired).candidates[0] for c in range(k)]
    areas: list[Area] = [
        {
            "id": cluster.id,
            "label": cluster.label,
            "named": labels[c],
            "x": round(float(spots[c][0]), 1),
            "y": round(float(spots[c][1]), 1),
            "r": round(float(radii[c]), 1),
            "hull": " ".join(f"{x:.1f},{y:.1f}" for x, y in hull(inner(dots[nearest == c]))),
            "winner": winners[c].model,
            "colour": colour(winners[c].model, table.models),
            "cost": usd(winners[c].cost_usd),
            "traffic": int(traffic[c]),
            "early": int(early[c]),
        }
        for c, cluster in enumerate(table.clusters)
    ]
    points: list[Point] = [
        {
            "x": round(float(x), 1),
            "y": round(float(y), 1),
            "colour": colour(s.model, table.models) if s.ranked else "",
        }
        for s, (x, y) in zip(seen, dots, strict=True)
    ]
    order = sorted(range(k), key=lambda i: (-traffic[i], -early[i], table.clusters[i].id))
    return {
        "table": about(version),
        "areas": areas,
        "rows": [areas[i] for i in order],
        "points": points,
        "profile": profile.value,
        "newest": len(seen),
        "early": int(early.sum()),
        "wide": WIDE,
        "high": HIGH,
    }


def _around(
    table: RoutingTable,
    seen: Sequence[SeenDecision],
    nearest: npt.NDArray[np.intp],
    spots: Floats,
    radii: Floats,
) -> Floats:
    """(n, 2): prompts around their cluster's circle, the farther the less they are like it; in the
    direction in which they differ from it."""
    if not seen:
        return np.zeros((0, 2))
    vectors = table.points_of([s.point[1] for s in seen if s.point])
    apart = np.asarray(vectors, np.float64) - table.centroids[nearest]
    two = np.random.default_rng(0).normal(size=(2, apart.shape[1]))
    flat = apart @ two.T
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    away = np.linalg.norm(apart, axis=1) / np.maximum(table.radii[nearest], 1e-6)
    placed: Floats = (
        spots[nearest] + flat * (radii[nearest] + 2 + 9 * np.clip(away, 0, 2.5))[:, None]
    )
    return placed


def cluster_of(
    memory: History, version: Version, cluster_id: str, *, prompts: bool
) -> ClusterPage | None:
    """One cluster: its prompts' descriptions, its ranking with intervals, what its models cost and
    take, its history over tables."""
    table = version.table
    if (c := table.positions.get(cluster_id)) is None:
        return None
    cluster = table.clusters[c]
    placed = memory.placed(table)
    here = [s for s, place in reversed(placed) if place == cluster_id]
    tasks = Counter(task for s in here if (task := task_of(s, prompts=prompts)) is not None)
    order = np.argsort(-table.strength[c], kind="stable")
    success = table.success[c]
    (low, high) = (ends[c] for ends in table.success_interval(INTERVAL))
    across = axis(float(low.min()), float(high.max()), 10, 390)
    chosen = Counter(s.model for s in here if s.ranked)
    ranking: list[RankRow] = [
        {
            "model": table.models[m],
            "colour": colour(table.models[m], table.models),
            "success": f"{success[m]:.2f}",
            "low": f"{low[m]:.2f}",
            "high": f"{high[m]:.2f}",
            "x": round(across(float(success[m])), 1),
            "x1": round(across(float(low[m])), 1),
            "x2": round(across(float(high[m])), 1),
            "cost": usd(float(table.cost_usd[c, m])),
            "latency": f"{table.latency_s[c, m]:.1f} s",
            "chosen": chosen[table.models[m]],
        }
        for m in order
    ]
    latest: list[LatestRow] = [
        {"task": s.task, "prompt": s.prompt if prompts else None, "model": s.model}
        for s in here[:12]
    ]
    return {
        "table": about(version),
        "id": cluster.id,
        "label": cluster.label,
        "size": cluster.size,
        "traffic": len(here),
        "newest": len(placed),
        "tasks": tasks.most_common(12),
        "latest": latest if prompts else [],
        "ranking": ranking,
        "line": round(across(float(success[table.models.index(table.reference_model)])), 1),
        "by_votes": by_votes(table),
        "reference": table.reference_model,
        "scatter": scatter(table.models, table.cost_usd[c], success, table.latency_s[c]),
        "history": history(memory, cluster_id, version),
        "similar": [
            {"id": table.clusters[i].id, "label": table.clusters[i].label}
            for i, _ in similar(table, c)
        ],
    }


def history(memory: History, cluster_id: str, version: Version) -> HistoryPicture | None:
    """The success of this cluster's models over the tables that are remembered."""
    versions = [v for v in memory.versions.values() if cluster_id in v.table.positions]
    if len(versions) < 2:
        return None
    models = version.table.models
    rows = {
        m: [
            float(v.table.success[v.table.positions[cluster_id], v.table.models.index(m)])
            if m in v.table.models
            else None
            for v in versions
        ]
        for m in models
    }
    values = [v for line in rows.values() for v in line if v is not None]
    x = axis(0, len(versions) - 1, 50, 570)
    y = axis(min(values), max(values), 200, 15)
    lines: list[HistoryLine] = [
        {
            "model": m,
            "colour": colour(m, models),
            "points": " ".join(
                f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(line) if v is not None
            ),
            "first": next((f"{v:.2f}" for v in line if v is not None), ""),
            "last": next((f"{v:.2f}" for v in reversed(line) if v is not None), ""),
        }
        for m, line in rows.items()
    ]
    marks: list[AcrossMark] = [
        {"x": round(x(i), 1), "text": str(v.published.ref)}
        for i, v in enumerate(versions)
        if i % max(1, len(versions) // 6) == 0
    ]
    return {
        "lines": lines,
        "x": marks,
        "y": [
            {"y": round(y(v), 1), "text": f"{v:.2f}"} for v in ticks(min(values), max(values), 4)
        ],
    }


async def show(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """The clusters on a plane."""
    if (version := desk.memory.current) is None:
        return desk.draw.page("no_table.html", viewer, "map")
    named = request.query_params.get("profile", Profile.quality.value)
    profile = Profile(named) if named in set(Profile) else Profile.quality
    facts = map_of(desk.memory, version, profile, desk.retired())
    return desk.draw.page("map.html", viewer, "map", profiles=list(Profile), **facts)


async def show_cluster(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """One of them."""
    if (version := desk.memory.current) is None:
        return desk.draw.page("no_table.html", viewer, "map")
    may_prompts = viewer.may(Scope.admin)
    cluster = request.path_params["cluster"]
    facts = cluster_of(desk.memory, version, cluster, prompts=may_prompts)
    if facts is None:
        text = "the current routing table has no such cluster; the Map shows those that it has"
        raise PageError(404, text)
    return desk.draw.page("cluster.html", viewer, "map", may_prompts=may_prompts, **facts)


ROUTES = (PageRoute("/map", show), PageRoute("/map/{cluster}", show_cluster))
