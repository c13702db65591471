"""Who votes, and how."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from shared.contracts.base import Part


class RaterKind(StrEnum):
    """Who votes."""

    judge = "judge"
    """A language model."""
    human = "human"
    """A person who saw both answers and no names."""
    feedback = "feedback"
    """A sender's thumb up or down on one answer: weak evidence."""


class Voter(NamedTuple):
    """Whose votes are counted together: each judge's own; those of people, and thumbs, by kind."""

    kind: RaterKind
    name: str
    """Empty for those that are counted together."""

    @classmethod
    def of(cls, kind: RaterKind, name: str) -> Voter:
        return cls(kind, name if kind is RaterKind.judge else "")

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


class Abstention(StrEnum):
    """Why a judge's vote could not be read as one."""

    failed = "failed"
    """The call failed."""
    cut_off = "cut_off"
    """The answer reached its limit of tokens before the vote: a reasoning model that needs more of
    them."""
    empty = "empty"
    unreadable = "unreadable"
    """There was an answer, and no vote in it, or votes for several sides."""


class Rater(Part):
    """One rater. People are named by what they call themselves."""

    kind: RaterKind
    name: Annotated[str, Field(min_length=1, max_length=100)]
    simulated: bool = False


Count = Annotated[int, Field(ge=0, le=1000)]


class Abstained(Part):
    """How many votes could not be read, by why (`Abstention`)."""

    failed: Count = 0
    cut_off: Count = 0
    empty: Count = 0
    unreadable: Count = 0

    def reasons(self) -> dict[str, int]:
        """Those that there were."""
        return {name: count for name in Abstention if (count := getattr(self, name))}

    @property
    def paid(self) -> int:
        """Those of calls that did not fail."""
        return self.cut_off + self.empty + self.unreadable


class Votes(Part):
    """One rater's votes on one pair of answers. `straight`: the first model's answer was shown
    first; `turned`: the second's was."""

    straight_first: Count = 0
    """Votes for the answer in first position, while that was the first model's."""
    straight_second: Count = 0
    turned_first: Count = 0
    """Votes for the answer in first position, while that was the second model's."""
    turned_second: Count = 0
    ties: Count = 0
    abstentions: Count = 0
    """Votes that could not be read as one, and calls that failed."""

    @property
    def lead(self) -> int:
        """Votes for the first model less those for the second."""
        return self.straight_first + self.turned_second - self.straight_second - self.turned_first

    @property
    def cast(self) -> int:
        """Votes that say something, ties included; 0 of votes that were taken back."""
        return int(sum(self.counts())) + self.ties

    def counts(self) -> tuple[float, float, float, float]:
        """As `shared.routing.learning.votes.Ballots` takes them."""
        return (self.straight_first, self.straight_second, self.turned_first, self.turned_second)
