"""The topics: what each carries, how long, in how many partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import BaseModel

from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import (
    MAX_MESSAGE_BYTES,
    MAX_STAGE_BYTES,
    Completed,
    Decided,
    Described,
    Embedded,
    Placed,
    Submitted,
)
from shared.contracts.spending import Spent
from shared.contracts.tables import TablePublished

PART_HEADER = "pointsman-part"
"""A header of records on `replies`: the name of the topic that the record is a copy of."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MAX_TABLE_BYTES = 32 * 1024 * 1024
"""10,000 clusters of 384 dimensions and 20 models take 25 MB: 10,000 * (384 + 4 * 20) float32 in
base64."""
RECORD_OVERHEAD = 16 * 1024
"""Room for key, headers and batch framing beside the value."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the code names it; an installation may put a prefix before `name`."""

    name: str
    message: type[BaseModel] | None
    """None: the records are not all of one kind."""
    about: str
    partitions: int | None = None
    """None: as many as the installation says (POINTSMAN_KAFKA_PARTITIONS)."""
    retention_ms: int = 3 * DAY_MS
    compacted: bool = False
    max_bytes: int = MAX_STAGE_BYTES

    def config(self) -> dict[str, str]:
        """The topic's settings, by Kafka's own names."""
        policy = (
            {"cleanup.policy": "compact", "segment.ms": str(HOUR_MS)}  # what is newer stays whole
            if self.compacted
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        )
        return policy | {"max.message.bytes": str(self.max_bytes + RECORD_OVERHEAD)}


PROMPTS = Topic(
    "prompts",
    Submitted,
    "What other systems want answered",
    retention_ms=7 * DAY_MS,
    max_bytes=MAX_MESSAGE_BYTES,
)
DESCRIPTIONS = Topic("descriptions", Described, "Prompts with their task description")
EMBEDDINGS = Topic(
    "embeddings",
    Embedded,
    "Prompts with the embedding of their task description",
    retention_ms=7 * DAY_MS,
)
ASSIGNMENTS = Topic("assignments", Placed, "Prompts assigned to clusters of one routing table")
DECISIONS = Topic(
    "decisions", Decided, "Prompts with the model selected for them", retention_ms=7 * DAY_MS
)
COMPLETIONS = Topic(
    "completions",
    Completed,
    "Decisions with the answers of the models called",
    retention_ms=7 * DAY_MS,
)
EVALUATIONS = Topic(
    "evaluations",
    Evaluated,
    "Votes of judges and people on pairs of answers",
    retention_ms=365 * DAY_MS,
)
ROUTING_TABLES = Topic(
    "routing-tables",
    TablePublished,
    "Every version of the routing table",
    partitions=1,
    compacted=True,
    max_bytes=MAX_TABLE_BYTES,
)
REPLIES = Topic(
    "replies", Decided, "Copies for those who asked with reply_to", retention_ms=HOUR_MS
)
SPENDING = Topic(
    "spending",
    Spent,
    "What requests at the gateway cost, and on whose key",
    retention_ms=2 * DAY_MS,
    max_bytes=64 * 1024,
)
DEAD_LETTERS = Topic(
    "dead-letters",
    None,
    "Records that a service could not take, as they came",
    retention_ms=30 * DAY_MS,
)

TOPICS: Mapping[str, Topic] = MappingProxyType(
    {
        t.name: t
        for t in (
            PROMPTS,
            DESCRIPTIONS,
            EMBEDDINGS,
            ASSIGNMENTS,
            DECISIONS,
            COMPLETIONS,
            EVALUATIONS,
            ROUTING_TABLES,
            REPLIES,
            SPENDING,
            DEAD_LETTERS,
        )
    }
)
