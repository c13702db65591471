"""Which topics a service reads (`hears`) and writes (`says`): one `Flow` a service, from which
everything else is derived.

From it come the Kafka wiring, `pointsman rights`, what `pointsman forget` searches and the order in
which `pointsman up` starts them. The AsyncAPI document, and the drawing and table of
docs/architecture.md, come from it too. Compose, Helm, Prometheus and the import contracts are
checked against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.topics import DEAD_LETTERS, DECISIONS, PROMPTS, REPLIES, Topic


class RedisKeys(StrEnum):
    """How the keys in Redis begin, by what they are for; behind the installation's prefix."""

    tables = "{tables}"
    """The hot copy of routing tables; in braces: one slot of a Redis Cluster."""
    description = "description"
    answer = "answer"
    asking = "asking"
    """Claims on a call that is under way."""
    judged = "judged"
    judge_budget = "budget:judge"
    key_budget = "budget:key"
    rate = "rate"
    conversation = "conversation"
    response = "response"
    """Responses that may be gone on from (`POST /v1/responses`)."""
    answered = "answered"
    """Where the completion of a request stands, for feedback on it."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What one service takes in and gives out."""

    name: str
    about: str
    """One sentence."""
    hears: Topic | None = None
    """The topic whose records are its work: read in the consumer group of its name, each committed
    when it is done, or a dead letter."""
    says: tuple[Topic, ...] = ()
    """What it publishes; first the results of its work."""
    reads: tuple[Topic, ...] = ()
    """What it follows besides, without a group."""
    single_writer: Topic | None = None
    """The topic whose one partition decides which instance may write."""
    replies: bool = False
    """Whether it copies what it says to where `reply_to` asks for it."""
    keys: tuple[RedisKeys, ...] = ()
    port: int | None = None
    """The default port of its HTTP server; None: it has none, except for metrics."""

    def __post_init__(self) -> None:
        """A service that reads a topic publishes its results. Raises `ValueError`."""
        if self.hears is not None and not self.says:
            raise ValueError(
                f"the {self.name} hears {self.hears.name} and says nothing: name a topic"
            )

    @property
    def grouped(self) -> bool:
        """Whether it is a member of the consumer group of its name."""
        return self.hears is not None or self.single_writer is not None

    @property
    def read(self) -> tuple[Topic, ...]:
        """Every topic it reads."""
        return _once((self.hears, *self.reads, self.single_writer))

    @property
    def written(self) -> tuple[Topic, ...]:
        """Every topic it writes."""
        replies = REPLIES if self.replies else None
        dead = DEAD_LETTERS if self.hears else None
        return _once((*self.says, replies, dead))

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Every topic it reads or writes."""
        return _once((*self.read, *self.written))

    @property
    def needed(self) -> tuple[Topic, ...]:
        """The topics that must be there before its work begins: without another it can begin."""
        if self.hears is None:
            return self.topics
        return _once((self.hears, *self.says, DEAD_LETTERS))


def _once(topics: Iterable[Topic | None]) -> tuple[Topic, ...]:
    return tuple(dict.fromkeys(topic for topic in topics if topic is not None))


def in_order(flows: Iterable[Flow]) -> tuple[Flow, ...]:
    """As a prompt passes them; then those that only learn; those with an HTTP server last."""
    all_flows = tuple(flows)
    depth = _depths(all_flows)

    def place(flow: Flow) -> tuple[int, float, str]:
        return flow.port or 0, depth.get(flow.hears, float("inf")), flow.name

    return tuple(sorted(all_flows, key=place))


def hot_path(flows: Iterable[Flow]) -> tuple[Flow, ...]:
    """From a prompt to its decision: the services without which nothing is decided."""
    ordered = in_order(flows)
    depth = _depths(ordered)
    return tuple(f for f in ordered if depth.get(f.hears, depth[DECISIONS]) < depth[DECISIONS])


def _depths(flows: Iterable[Flow]) -> dict[Topic | None, int]:
    """How many services lie between a producer and each topic that a prompt passes."""
    depth: dict[Topic | None, int] = {PROMPTS: 0}
    waiting = list(flows)
    while ready := [flow for flow in waiting if flow.hears in depth]:
        for flow in ready:
            for topic in flow.says:
                depth.setdefault(topic, depth[flow.hears] + 1)
            waiting.remove(flow)
    return depth


def heard_by(flows: Iterable[Flow], topics: Iterable[Topic]) -> Iterator[tuple[Topic, list[str]]]:
    """For each topic the services whose work it is."""
    ordered = in_order(flows)
    for topic in topics:
        yield topic, [flow.name for flow in ordered if flow.hears is topic]
