"""The message on `routing-tables`: one version of the routing table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import describe_error
from shared.contracts.places import TableRef
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid


class Origin(StrEnum):
    """How a version came to be published."""

    brought = "brought"
    """By a person: built from outcomes or votes, or from a file."""
    learnt = "learnt"
    """From live traffic."""
    rolled_back = "rolled_back"
    """An earlier version's table again."""
    unpinned = "unpinned"
    """The same table again, so that learning may replace it."""


class TablePublished(BaseModel):
    """One version of the routing table, published for good. Versions are ordered by epoch, then by
    sequence.

    The same table may stand under several versions: rolling back publishes an old one again.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True
    )

    schema_version: Literal[1] = 1
    epoch: Annotated[int, Field(ge=0)]
    sequence: Annotated[int, Field(ge=0)]
    digest: str
    """SHA-256 of `table`."""
    published_at: AwareDatetime
    note: str = ""
    """Why it was published, for people; nothing is decided by it."""
    origin: Origin | None = None
    """None: of a version of Pointsman that did not say. `came_by` always knows."""
    evaluations: int | None = None
    """How many evaluations of live traffic are in its rankings. None: it was not learnt from
    traffic, or by a version of Pointsman that did not say."""
    reclustered: bool = False
    """Whether its clusters were found again, and not kept."""
    remarkable: bool = True
    """False where it has new rankings and nothing else: lists of versions may pass over it."""
    pinned: bool = False
    """True while nothing learnt is to replace it: somebody has rolled back to it."""
    basis: dict[str, int] = {}
    """What it was learnt from: {"topic-partition": the offset up to which}. Empty where it was not
    learnt from topics."""
    table: str
    """The table's canonical JSON, as text, so that the digest can be checked."""

    @property
    def ref(self) -> TableRef:
        return TableRef(epoch=self.epoch, sequence=self.sequence, digest=self.digest)

    @property
    def key(self) -> bytes:
        """One key a version: compaction keeps them all."""
        return str(self.ref).encode()

    @property
    def came_by(self) -> Origin:
        """How it came to be published; of older versions, as far as their fields tell."""
        if self.origin is not None:
            return self.origin
        if self.pinned:
            return Origin.rolled_back
        if self.basis:
            return Origin.learnt
        unpinned = re.fullmatch(r"unpinned \d+\.\d+", self.note)  # all that older ones had
        return Origin.unpinned if unpinned else Origin.brought

    def read_table(self) -> RoutingTable:
        """The table itself. Raises `InvalidMessage` if it is none, or not the one that the digest
        names."""
        try:
            table = RoutingTable.from_bytes(self.table.encode())
        except TableInvalid as error:
            raise InvalidMessage(f"version {self.ref}: {error}") from None
        if table.digest != self.digest:
            raise InvalidMessage(
                f"version {self.ref}: the table's digest is {table.digest[:12]}, the message says "
                f"{self.digest[:12]}"
            )
        return table


def anchor_of(versions: Sequence[TablePublished]) -> TablePublished | None:
    """The newest version that a person has brought: learning adds to it. `versions`: oldest
    first."""
    return next((v for v in reversed(versions) if v.came_by is Origin.brought), None)


def read_version(value: bytes | None) -> TablePublished:
    """Bytes from `routing-tables`. Raises `InvalidMessage`."""
    try:
        return TablePublished.model_validate_json(value or b"")
    except ValidationError as error:
        raise InvalidMessage(describe_error(error)) from None
