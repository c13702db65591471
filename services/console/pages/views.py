"""The shapes that templates are given: mypy holds the pages' functions to them.

`x`, `y` and `r` are places and sizes in a picture; `colour` is a class of the style sheet; texts
are as people read them.
"""

from __future__ import annotations

from typing import TypedDict

from services.console.layout import Label


class ModelColour(TypedDict):
    name: str
    colour: str


class TableAbout(TypedDict):
    version: str
    clusters: int
    simulated: bool
    unranked: bool
    source: str
    models: list[ModelColour]


class AcrossMark(TypedDict):
    x: float
    text: str


class UpMark(TypedDict):
    y: float
    text: str


class Dot(TypedDict):
    model: str
    named: bool
    tx: float
    ty: float
    x: float
    y: float
    r: float
    colour: str
    cost: str
    quality: str
    latency: str
    best: bool
    end: bool


class Scatter(TypedDict):
    dots: list[Dot]
    line: str
    x: list[AcrossMark]
    y: list[UpMark]


class DecisionRow(TypedDict):
    id: str
    at: str
    task: str | None
    cluster: str
    label: str
    novel: bool
    model: str
    runner_up: str
    colour: str
    confidence: str
    cost: str
    ms: int


class Numbers(TypedDict):
    count: str
    rate: str
    p50: str
    p99: str
    window: str
    """Decisions whose latencies p50 and p99 are of."""
    last: str
    """When the last decision was, where that is a while ago; else empty."""
    ranked: str
    """Decisions with a ranking: the figures below are theirs."""
    chosen: str
    single: str
    single_model: str
    saved: str
    success: str
    single_success: str
    success_less: str


class GoalRow(TypedDict):
    goal: str
    prompts: str
    cost: str
    kept: str


class Series(TypedDict):
    at: list[int]
    rate: list[int]
    p50: list[float | None]
    p99: list[float | None]


class NowPage(TypedDict):
    numbers: Numbers
    latest: list[DecisionRow]
    history: int
    goals: list[GoalRow]


class FreshRows(TypedDict):
    rows: str
    whole: bool
    numbers: str
    series: Series


class Area(TypedDict):
    id: str
    label: str
    named: Label | None
    x: float
    y: float
    r: float
    hull: str
    winner: str
    colour: str
    cost: str
    traffic: int
    """Decisions with a ranking."""
    early: int
    """Decisions made before there was any."""


class Point(TypedDict):
    x: float
    y: float
    colour: str


class MapPage(TypedDict):
    table: TableAbout
    areas: list[Area]
    rows: list[Area]
    points: list[Point]
    profile: str
    newest: int
    early: int
    wide: float
    high: float


class RankRow(TypedDict):
    model: str
    colour: str
    success: str
    low: str
    high: str
    x: float
    x1: float
    x2: float
    cost: str
    latency: str
    chosen: int


class LatestRow(TypedDict):
    task: str
    prompt: str | None
    model: str | None


class HistoryLine(TypedDict):
    model: str
    colour: str
    points: str
    first: str
    last: str


class HistoryPicture(TypedDict):
    lines: list[HistoryLine]
    x: list[AcrossMark]
    y: list[UpMark]


class ClusterName(TypedDict):
    id: str
    label: str


class ClusterPage(TypedDict):
    table: TableAbout
    id: str
    label: str
    size: int
    traffic: int
    newest: int
    tasks: list[tuple[str, int]]
    latest: list[LatestRow]
    ranking: list[RankRow]
    line: float
    by_votes: bool
    reference: str
    scatter: Scatter
    history: HistoryPicture | None
    similar: list[ClusterName]


class Cell(TypedDict):
    text: str
    heat: str
    best: bool


class HeatRow(TypedDict):
    id: str
    label: str
    cells: list[Cell]


class Pick(TypedDict):
    model: str
    colour: str


class PicksRow(TypedDict):
    id: str
    label: str
    picks: list[Pick]


class Spot(TypedDict):
    x: float
    y: float


class SinglePlace(Spot):
    model: str


class DialCurve(TypedDict):
    line: str
    here: Spot
    single: SinglePlace
    x: list[AcrossMark]
    y: list[UpMark]
    success: str
    cost: str
    kept: str
    measured: bool
    prompts: str


class ModelsPage(TypedDict):
    table: TableAbout
    models: list[str]
    heat: list[HeatRow]
    chosen: list[PicksRow]
    profiles: list[str]
    scatter: Scatter
    by_votes: bool
    reference: str
    dial: int
    rate: str
    curve: DialCurve | None


class ClusterShare(TypedDict):
    id: str
    label: str
    share: str


class TrialFacts(TypedDict):
    task: str
    source: str
    simulated: bool
    novel: bool
    clusters: list[ClusterShare]
    ms: int
    table: str


class Bars(TypedDict):
    gain: float
    cost: float
    latency: float


class ScoreRow(TypedDict):
    model: str
    colour: str
    unproven: bool
    predicted: str | None
    utility: str
    success: str
    interval: str
    cost: str
    latency: str
    gain: str
    cost_penalty: str
    latency_penalty: str
    caution: str
    bars: Bars


class RatesShown(TypedDict):
    usd: str
    s: str


class ScoreTable(TypedDict):
    rows: list[ScoreRow]
    ruled_out: tuple[tuple[str, str], ...]
    winner: str | None
    colour: str
    why: str
    confidence: str
    rates: RatesShown
    by_votes: bool
    reference: str
    cautious: bool
    traffic: DialCurve | None


class VersionRow(TypedDict):
    version: str
    at: str
    note: str
    pinned: bool
    brought: bool
    remarkable: bool
    """False: new rankings and nothing else."""
    clusters: int
    digest: str
    current: bool
