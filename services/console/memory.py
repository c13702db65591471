"""What the pages show: the newest decisions, all votes, the newest routing tables. No framework, no
adapter."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from services.console.layout import laid_out
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Decided
from shared.contracts.places import Source
from shared.contracts.raters import RaterKind
from shared.contracts.spending import Spent
from shared.contracts.tables import TablePublished
from shared.routing.deciding.assignment import assign
from shared.routing.deciding.rates import Goal
from shared.routing.deciding.table import Array, Encoder, RoutingTable

PROMPT_CHARS = 600
"""Kept of a prompt."""
EVALUATIONS = 200_000
"""Evaluations kept, the newest; without their texts, about 1 KB each."""
PAIRS = 5000
"""Pairs kept with their texts, the newest, to be rated."""
BILLED_DAYS = 3
"""Days whose bills are kept."""
UNKNOWN = 0.9
"""A 95% interval of success as wide as this says nothing."""
SECONDS = 120
"""How far back rates and latencies are counted second by second."""


@dataclass(slots=True)
class SeenDecision:
    """One decision, as far as pages show it."""

    request_id: str
    at: float
    """Seconds since 1970."""
    took_s: float
    ranked: bool
    """Something was known of at least one model; else all were alike, and the cheapest was
    chosen."""
    task: str
    own_words: bool
    """The description was made of the prompt's own words, so that it is to be shown only to those
    who may see prompts."""
    cluster: str
    label: str
    novel: bool
    model: str | None
    runner_up: str | None
    confidence: float
    cost_usd: float
    single: str
    """The best single model, by the table that decided."""
    single_usd: float | None
    """What the best single model would have been expected to cost."""
    success: float | None
    """What the selected model was expected to score, or its probability of winning; None where the
    table has older units."""
    single_success: float | None
    goal: Goal | None
    """What the sender wanted to reach, if it was a goal."""
    usd_per_point: float | None
    """What a point of success was worth."""
    version: tuple[int, int]
    """Of the table that decided."""
    why: str
    prompt: str | None
    """Its beginning, as long as it is among the newest."""
    simulated: bool
    point: tuple[Encoder, Array] | None = None
    placed: tuple[str, str] | None = None
    """A table's digest, and where this prompt lies in it."""


@dataclass(slots=True)
class Totals:
    """Sums over the decisions in memory that were ranked and name the figures of the best single
    model."""

    count: int = 0
    singles: Counter[str] = field(default_factory=Counter)
    """Which model was the best single one, by the table of each decision."""
    chosen_usd: float = 0.0
    """What the selected models were expected to cost."""
    single_usd: float = 0.0
    """What the best single one was."""
    compared: int = 0
    """Of these, those whose success is known in true units."""
    success: float = 0.0
    single_success: float = 0.0

    def add(self, seen: SeenDecision, sign: int) -> None:
        """Count a decision in, or out."""
        if not seen.ranked or seen.single_usd is None:
            return
        self.count += sign
        self.singles[seen.single] += sign
        self.chosen_usd += sign * seen.cost_usd
        self.single_usd += sign * seen.single_usd
        if seen.success is not None and seen.single_success is not None:
            self.compared += sign
            self.success += sign * seen.success
            self.single_success += sign * seen.single_success


@dataclass(slots=True)
class Version:
    """One published table."""

    published: TablePublished
    table: RoutingTable


class History:
    """Told of records as they come."""

    def __init__(self, history: int, points: int, tables: int) -> None:
        self.decisions: deque[SeenDecision] = deque(maxlen=history)
        self.points: deque[SeenDecision] = deque(maxlen=points)
        self.count = 0
        """Decisions told of, those that are forgotten included."""
        self.totals = Totals()
        self.seconds: dict[int, list[float]] = {}
        """Latencies by the second in which the decision was made."""
        self.evaluations: dict[str, Evaluated] = {}
        self.pairs: dict[str, Evaluated] = {}
        """By comparison: those with both texts, to be rated."""
        self.people: dict[str, dict[str, int]] = {}
        """By comparison: each person's lead."""
        self.versions: OrderedDict[tuple[int, int], Version] = OrderedDict()
        self.known: dict[tuple[int, int], tuple[TablePublished, int]] = {}
        """All versions, without their tables, and how many clusters each has."""
        self.spent: dict[tuple[str, str], float] = {}
        """USD by day and key."""
        self._forgotten: set[str] = set()
        self._billed: dict[str, set[str]] = {}
        self._tables = tables
        self._single: str | None = None
        self._layouts: dict[str, dict[str, tuple[float, float]]] = {}

    def layout(self, version: Version) -> Mapping[str, tuple[float, float]]:
        """Where this version's clusters lie on the map. Each version's map follows from that of the
        one before, so that clusters stay where they were."""
        before: dict[str, tuple[float, float]] = {}
        last: RoutingTable | None = None
        known = {v.table.digest for v in self.versions.values()}
        self._layouts = {d: places for d, places in self._layouts.items() if d in known}
        for one in self.versions.values():
            digest = one.table.digest
            if digest not in self._layouts:
                ids = [cluster.id for cluster in one.table.clusters]
                same = last is not None and np.array_equal(last.centroids, one.table.centroids)
                self._layouts[digest] = (
                    {i: before[i] for i in ids}
                    if same and before.keys() >= set(ids)
                    else laid_out(ids, one.table.centroids, before)
                )
            last = one.table
            before |= self._layouts[digest]  # clusters that went may come back
            if one is version:
                break
        return self._layouts[version.table.digest]

    @property
    def current(self) -> Version | None:
        return next(reversed(self.versions.values()), None)

    def decided(self, message: Decided, at: float) -> None:
        """A decision that was published at `at`."""
        if message.request_id in self._forgotten:
            return
        decision = message.decision
        cluster = message.assignment.clusters[0]
        best = decision.candidates[0] if decision.candidates else None
        named = decision.single or self._single
        single = next((c for c in decision.candidates if c.model == named), None)
        seen = SeenDecision(
            request_id=message.request_id,
            at=at,
            ranked=any(c.success_high - c.success_low < UNKNOWN for c in decision.candidates),
            took_s=max(0.0, at - message.submitted_at.timestamp()) if message.submitted_at else 0.0,
            task=message.description.text,
            own_words=message.description.origin in {Source.local, Source.prompt},
            cluster=cluster.id,
            label=cluster.label,
            novel=message.assignment.novel,
            model=decision.model,
            runner_up=decision.runner_up,
            confidence=decision.confidence,
            cost_usd=best.cost_usd if best else 0.0,
            single=named or "",
            single_usd=single.cost_usd if best and single else None,
            success=best.success if best and decision.rates else None,
            single_success=single.success if best and single and decision.rates else None,
            goal=decision.rates.goal() if decision.rates else None,
            usd_per_point=decision.rates.usd_per_point if decision.rates else None,
            version=decision.table.version,
            why=decision.why,
            prompt=message.task_text()[:PROMPT_CHARS],
            simulated=decision.simulated_rankings or message.description.simulated,
            point=(message.embedding.encoder.encoder(), message.embedding.features()),
        )
        if len(self.decisions) == self.decisions.maxlen:
            self._forget(self.decisions[0])
        if len(self.points) == self.points.maxlen and self.points:
            self.points[0].point = self.points[0].prompt = None
        self.decisions.append(seen)
        self.points.append(seen)
        self.count += 1
        self.totals.add(seen, 1)
        self._second(int(at)).append(seen.took_s)

    def corrections(self, decisions: Sequence[SeenDecision]) -> np.ndarray:
        """(n, 3): how the pacer corrects what was expected.

        What to add to the success of the selected model; what to add to that of the best single
        one; and what to multiply the cost by. Nothing where the table is not among the newest.
        """
        found = np.tile([0.0, 0.0, 1.0], (len(decisions), 1))
        for version, known in self.versions.items():
            frontier = known.table.frontier
            rows = [
                i
                for i, seen in enumerate(decisions)
                if seen.version == version and seen.usd_per_point is not None
            ]
            if frontier is None or not rows:
                continue
            rates = np.array([decisions[i].usd_per_point for i in rows], np.float64)
            gain, times = frontier.corrections(rates)
            single = [decisions[i].single == frontier.single for i in rows]
            found[rows] = np.stack(
                [gain, np.multiply(single, frontier.single_correction), times], 1
            )
        return found

    def placed(self, table: RoutingTable) -> list[tuple[SeenDecision, str]]:
        """The newest decisions, and in which of this table's clusters each lies, whichever table it
        was made with."""
        comparable = [
            s
            for s in self.points
            if s.point is not None
            and s.point[0] == table.encoder
            and len(s.point[1]) >= table.inputs
        ]
        new = [s for s in comparable if s.placed is None or s.placed[0] != table.digest]
        if new:
            points = table.points_of([s.point[1] for s in new if s.point is not None])
            for seen, place in zip(new, assign(points, table), strict=True):
                seen.placed = table.digest, table.clusters[int(place.clusters[0])].id
        return [(s, s.placed[1]) for s in comparable if s.placed is not None]

    def _forget(self, seen: SeenDecision) -> None:
        self.totals.add(seen, -1)

    def _second(self, second: int) -> list[float]:
        """Where the latencies of that second are kept; of one that is older than all that are kept,
        nowhere."""
        mine = self.seconds.setdefault(second, [])
        while len(self.seconds) > 2 * SECONDS:
            del self.seconds[min(self.seconds)]
        return mine

    def evaluated(self, evaluation: Evaluated, at: datetime) -> None:
        """Votes; a rater's later ones on the same pair replace the earlier, in whatever order they
        are told."""
        stamped = evaluation if evaluation.at else evaluation.model_copy(update={"at": at})
        before = self.evaluations.get(evaluation.evaluation_id)
        if evaluation.request_id in self._forgotten or (
            before and before.at and stamped.at and before.at > stamped.at
        ):
            return
        comparison = evaluation.comparison_id
        if (
            evaluation.prompt
            and len(evaluation.answers) == 2
            and all(a.text for a in evaluation.answers)
        ):
            self.pairs.setdefault(comparison, evaluation)
            while len(self.pairs) > PAIRS:
                del self.pairs[next(iter(self.pairs))]
        if evaluation.rater.kind is RaterKind.human:
            mine = self.people.setdefault(comparison, {})
            if evaluation.votes.cast:
                mine[evaluation.rater.name] = evaluation.votes.lead
            else:  # taken back
                mine.pop(evaluation.rater.name, None)
        self.evaluations[evaluation.evaluation_id] = stamped.model_copy(
            update={"answers": (), "prompt": None, "embedding": None}
        )
        while len(self.evaluations) > EVALUATIONS:
            oldest = self.evaluations.pop(next(iter(self.evaluations)))
            self.people.pop(oldest.comparison_id, None)

    def forget(self, request_id: str) -> None:
        """Drop what is known of a request, and take nothing more of it."""
        self._forgotten.add(request_id)
        for seen in self.decisions:
            if seen.request_id == request_id:
                self._forget(seen)
        for decisions in (self.decisions, self.points):
            for seen in [s for s in decisions if s.request_id == request_id]:
                decisions.remove(seen)
        gone = {
            e.comparison_id
            for e in (*self.evaluations.values(), *self.pairs.values())
            if e.request_id == request_id
        }
        self.evaluations = {
            key: e for key, e in self.evaluations.items() if e.request_id != request_id
        }
        for comparison in gone:
            self.pairs.pop(comparison, None)
            self.people.pop(comparison, None)

    def published(self, published: TablePublished, table: RoutingTable) -> None:
        """A version of the routing table, in the log's order: one that is not newer than those
        before it never counts."""
        version = published.ref.version
        if self.known and version <= max(self.known):
            return
        bare = published.model_copy(update={"table": ""})
        self.known[version] = bare, len(table.clusters)
        self.versions[version] = Version(bare, table)
        while len(self.versions) > self._tables:
            self.versions.popitem(last=False)
        self._single = best_single(table)

    def forgotten(self, version: str) -> None:
        """A version that the topic does not keep any more."""
        for key in [k for k, (published, _) in self.known.items() if str(published.ref) == version]:
            del self.known[key]

    def billed(self, spent: Spent) -> None:
        """A bill; the same one again counts once."""
        day = spent.at.astimezone(UTC).date().isoformat()
        billed_ids = self._billed.setdefault(day, set())
        if spent.request_id not in billed_ids:
            billed_ids.add(spent.request_id)
            self.spent[day, spent.spender] = (
                self.spent.get((day, spent.spender), 0.0) + spent.cost_usd
            )
        while len(self._billed) > BILLED_DAYS:
            gone = min(self._billed)
            del self._billed[gone]
            self.spent = {key: amount for key, amount in self.spent.items() if key[0] != gone}

    def last_seconds(self, now: float, count: int = SECONDS) -> Iterator[tuple[int, list[float]]]:
        """(second, latencies of its decisions), the latest last; the second that is not over yet is
        left out."""
        for second in range(int(now) - count, int(now)):
            yield second, self.seconds.get(second, [])


def best_single(table: RoutingTable) -> str:
    """The model that is best over all tasks, each weighed by its prompts; what the table's frontier
    says, where it has one."""
    if table.frontier is not None:
        return table.frontier.single
    sizes = np.array([max(1, c.size) for c in table.clusters], np.float64)
    strength = table.strength - table.strength.mean(axis=1, keepdims=True)
    return table.models[int((sizes @ strength).argmax())]
