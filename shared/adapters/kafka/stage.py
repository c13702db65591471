"""What one service does between two topics, and a record on its way through it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from aiokafka import ConsumerRecord

from shared.adapters import tracing
from shared.adapters.kafka.progress import Lane
from shared.contracts.flow import Flow
from shared.contracts.messages import Submitted
from shared.contracts.topics import Topic


class Keyed(Protocol):
    """A message that knows its Kafka key; every contract is one."""

    @property
    def key(self) -> bytes: ...

    def model_dump_json(self, *, exclude_none: bool = False) -> str: ...


In = TypeVar("In", bound=Submitted)
Out = TypeVar("Out", bound=Keyed)

Record: TypeAlias = ConsumerRecord
Outcome: TypeAlias = Out | Sequence[Out] | Exception
"""The results of one message: a message, any number of them, or the error that goes to
`dead-letters` with it."""
Work = Callable[[Sequence[In]], Awaitable[Sequence[Out | Sequence[Out] | Exception]]]
"""Takes messages and gives an `Outcome` for each."""


@dataclass(frozen=True, slots=True)
class Stage(Generic[In, Out]):
    """What one service does between two topics."""

    flow: Flow
    work: Work[In, Out]
    receive: Callable[[Record], In] | None = None
    """How a record becomes a message; by default, by the topic's contract. Raises
    `ContractError`."""
    batch: int = 64
    """The most records worked on together."""
    window_s: float = 0.0
    """How long a record waits for company while they come closer together than that; one that comes
    alone never waits."""
    workers: int = 1
    """Batches worked on at the same time."""
    lifespan: Callable[[], Any] | None = None
    """An async context manager entered before the first record and left after the last."""
    patience_s: float = 0.0
    """How long one record may rightly take."""

    @property
    def service(self) -> str:
        return self.flow.name

    @property
    def consumes(self) -> Topic:
        """What the service hears. Raises `ValueError` for one that hears nothing in a group."""
        if self.flow.hears is None:
            raise ValueError(f"the {self.flow.name} hears no topic, so it is no stage")
        return self.flow.hears

    @property
    def publishes(self) -> Topic:
        return self.flow.says[0]


@dataclass(slots=True)
class Taken(Generic[In]):
    """A record that was taken and is not done."""

    record: Record
    lane: Lane
    at: float
    """When it was taken, on the monotonic clock."""
    message: In | None = None
    error: str | None = None
    """Why it can't be read."""
    attempts: int = 1
    span: tracing.Work | None = None

    @property
    def ours(self) -> bool:
        """Whether its partition is still this process's; else it is not committed, and the
        partition's new owner does it."""
        if self.lane.lost and self.span is not None:
            self.span.failed("left to another")
        return not self.lane.lost
