"""Blind rating: which pair a person sees next, on which sides, and what becomes of the vote."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from services.console.memory import History
from shared.contracts.evaluations import Evaluated
from shared.contracts.opinions import Opinion, judged, overlaps
from shared.contracts.raters import Votes

HELD_S = 600.0
"""How long a pair that somebody sees is kept from others."""
UNDONE = 20
"""Votes that can be taken back."""


@dataclass(slots=True)
class ShownPair:
    """A pair on somebody's screen. Its token says nothing of it."""

    token: str
    pair: Evaluated
    straight: bool
    """The first model's answer is A."""
    at: float


@dataclass(slots=True)
class RatingSession:
    """One person's rating session."""

    rater: str
    shown: dict[str, ShownPair] = field(default_factory=dict)
    done: list[tuple[ShownPair, Opinion]] = field(default_factory=list)
    """The last votes, for taking back."""
    skipped: dict[str, None] = field(default_factory=dict)
    """Comparisons put off, in that order."""
    voted: set[str] = field(default_factory=set)
    """Comparisons voted on here, that may not have come back over the topic yet."""
    count: int = 0


class Rating:
    """All desks, by rater."""

    def __init__(
        self, memory: History, rate_twice: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory = memory
        self._twice = rate_twice
        self._clock = clock
        self._desks: dict[str, RatingSession] = {}
        self._openness: tuple[str, dict[str, float]] = "", {}
        """How open each comparison is, by the table of that digest."""

    def desk(self, rater: str) -> RatingSession:
        return self._desks.setdefault(rater, RatingSession(rater))

    def twice(self, comparison: str) -> bool:
        """Whether that pair is for two people: drawn by its id, so that all consoles draw alike."""
        return (
            int(hashlib.sha256(f"twice {comparison}".encode()).hexdigest()[:8], 16) / 2**32
            < self._twice
        )

    def open(self, rater: str) -> list[Evaluated]:
        """What this person may be shown: pairs that they have not rated, and for which a rater is
        wanting; the most open question first."""
        desk = self.desk(rater)
        now = self._clock()
        others = [d for d in self._desks.values() if d is not desk]
        held = {
            s.pair.comparison_id for d in others for s in d.shown.values() if now - s.at < HELD_S
        }
        openness = self._open_by_table()
        candidates: list[tuple[float, Evaluated]] = []
        for comparison, pair in self._memory.pairs.items():
            raters = self._memory.people.get(comparison, {})
            wanting = (2 if self.twice(comparison) else 1) - len(set(raters) - {rater})
            if rater in raters or comparison in desk.voted or wanting < 1 or comparison in held:
                continue
            second = 1.0 if raters else 0.0  # half done first: agreement needs both
            later = (
                3.0 + list(desk.skipped).index(comparison) if comparison in desk.skipped else 0.0
            )
            candidates.append((second - later + openness[comparison], pair))
        return [pair for _, pair in sorted(candidates, key=lambda f: (-f[0], f[1].comparison_id))]

    def _open_by_table(self) -> dict[str, float]:
        """How open each comparison is. Only what is new, or the table's first time, is computed."""
        table = self._memory.current.table if self._memory.current else None
        digest = "" if table is None else table.digest
        if self._openness[0] != digest:
            self._openness = digest, {}
        known = self._openness[1]
        pairs = self._memory.pairs
        new = [comparison for comparison in pairs if comparison not in known]
        known |= zip(new, overlaps([pairs[comparison] for comparison in new], table), strict=True)
        for comparison in [one for one in known if one not in pairs]:
            del known[comparison]
        return known

    def forget(self, request_id: str) -> None:
        """Drop that request's pairs from every screen, and from the votes that can be undone."""
        for desk in self._desks.values():
            desk.shown = {
                token: shown
                for token, shown in desk.shown.items()
                if shown.pair.request_id != request_id
            }
            desk.done = [vote for vote in desk.done if vote[0].pair.request_id != request_id]

    def at(self, rater: str) -> ShownPair | None:
        """What is on this person's screen: what was shown last and not rated, else the next pair,
        with random sides."""
        desk = self.desk(rater)
        if desk.shown:
            return next(reversed(desk.shown.values()))
        pairs = self.open(rater)
        return self._show(desk, pairs[0], secrets.randbelow(2) == 0) if pairs else None

    def _show(self, desk: RatingSession, pair: Evaluated, straight: bool) -> ShownPair:
        shown = ShownPair(secrets.token_urlsafe(12), pair, straight, self._clock())
        desk.shown[shown.token] = shown
        return shown

    def ballot(self, rater: str, token: str, opinion: Opinion) -> Evaluated | None:
        """The vote as a message, to be published before it is `cast`; None if that pair is not on
        this person's screen any more."""
        shown = self.desk(rater).shown.get(token)
        return (
            None if shown is None else judged(shown.pair, rater, opinion, straight=shown.straight)
        )

    def cast(self, rater: str, token: str, opinion: Opinion) -> None:
        """The vote is published."""
        desk = self.desk(rater)
        if (shown := desk.shown.pop(token, None)) is None:
            return
        desk.done.append((shown, opinion))
        del desk.done[:-UNDONE]
        desk.voted.add(shown.pair.comparison_id)
        desk.count += 1

    def skip(self, rater: str, token: str) -> None:
        """Show it again after all others."""
        desk = self.desk(rater)
        if (shown := desk.shown.pop(token, None)) is not None:
            desk.skipped.pop(shown.pair.comparison_id, None)
            desk.skipped[shown.pair.comparison_id] = None

    def withdrawal(self, rater: str) -> Evaluated | None:
        """An empty vote in place of this person's last one, to be published before it is `undone`;
        None if there is none."""
        desk = self.desk(rater)
        if not desk.done:
            return None
        shown, opinion = desk.done[-1]
        return judged(shown.pair, rater, opinion, straight=shown.straight).model_copy(
            update={"votes": Votes()}
        )

    def undone(self, rater: str) -> None:
        """The withdrawal is published: the same pair is on the screen again, on the same sides."""
        desk = self.desk(rater)
        if desk.done:
            shown, _ = desk.done.pop()
            desk.voted.discard(shown.pair.comparison_id)
            desk.count -= 1
            self._show(desk, shown.pair, shown.straight)

    def agreement(self) -> tuple[int, int]:
        """(pairs that two people have rated, those on which they said the same)."""
        both = [list(leads.values()) for leads in self._memory.people.values() if len(leads) > 1]
        return len(both), sum(_sign(leads[0]) == _sign(leads[1]) for leads in both)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
