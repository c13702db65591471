"""The topic `routing-tables`: the truth about routing tables, one record a version."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.adapters.errors import NoRoutingTable, PublishConflict
from shared.adapters.kafka.client import each, publisher, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import log
from shared.contracts.errors import InvalidMessage
from shared.contracts.tables import Origin, TablePublished, anchor_of, read_version
from shared.contracts.topics import ROUTING_TABLES
from shared.routing.deciding.table import RoutingTable

KEEP = 50
"""Versions kept; older ones get a tombstone, which compaction turns into room."""


async def versions(kafka: KafkaSettings) -> list[TablePublished]:
    """Every version that counts, oldest first.

    Of two records with the same version the first in the log counts. A record that is older than an
    earlier one never counts: its writer had lost the right to write.
    """
    counted: dict[tuple[int, int], TablePublished] = {}
    newest = (-1, -1)
    async for record in each(kafka, ROUTING_TABLES):
        if not record.value:
            _forget(counted, record.key)
            continue
        try:
            version = read_version(record.value)
        except InvalidMessage as error:
            log.warning(
                "ignored a record of routing-tables", offset=record.offset, error=str(error)
            )
            continue
        if version.ref.version > newest:
            counted[version.ref.version] = version
            newest = version.ref.version
    return list(counted.values())


async def end(kafka: KafkaSettings) -> int:
    """The offset at which the topic ends now: it moves when a version is published."""
    async with reader(kafka, [ROUTING_TABLES], from_start=False) as consumer:
        return sum((await consumer.end_offsets(list(consumer.assignment()))).values())


def _forget(counted: dict[tuple[int, int], TablePublished], key: bytes | None) -> None:
    for version, published in list(counted.items()):
        if published.key == key:
            del counted[version]


async def find(kafka: KafkaSettings, name: str) -> TablePublished:
    """The version called `name`: "current", a version such as "0.3", or the beginning of a digest.
    Raises `NoRoutingTable`."""
    published = await versions(kafka)
    if not published:
        raise NoRoutingTable(
            "no routing table has been published yet; build one with `pointsman table build`"
        )
    if name == "current":
        return published[-1]
    matching = [v for v in published if str(v.ref) == name] or [
        v for v in published if v.digest.startswith(name)
    ]
    if not matching:
        raise NoRoutingTable(f"there is no version {name}; `pointsman table list` lists them")
    return matching[-1]


async def append(
    kafka: KafkaSettings,
    table: RoutingTable,
    note: str,
    origin: Origin,
    *,
    evaluations: int | None = None,
    reclustered: bool = False,
    remarkable: bool = True,
    epoch: int | None = None,
    basis: dict[str, int] | None = None,
    pinned: bool = False,
    after: tuple[int, int] | None = None,
) -> TablePublished:
    """Write `table` to the topic as the next version. Raises `PublishConflict` if another writer
    was faster, or is of a later epoch.

    `after` is the version that it was made from: if another has come since, it is not written.
    `epoch` is the writer's own; None goes on in the current one, as a person's command does.
    """
    published = await versions(kafka)
    current, sequence = published[-1].ref.version if published else (0, 0)
    if after is not None and (current, sequence) != after:
        raise PublishConflict(
            f"version {current}.{sequence} was published meanwhile; what was learnt is added to it "
            "next"
        )
    if epoch is not None and epoch < current:
        raise PublishConflict(f"epoch {epoch} is over; another writer has begun epoch {current}")
    if epoch is not None and epoch > current:
        current = epoch
        sequence = 0
    version = TablePublished(
        epoch=current,
        sequence=sequence + 1,
        digest=table.digest,
        published_at=datetime.now(UTC),
        note=note,
        origin=origin,
        evaluations=evaluations,
        reclustered=reclustered,
        remarkable=remarkable,
        basis=basis or {},
        pinned=pinned,
        table=table.to_bytes().decode(),
    )
    async with publisher(kafka) as out:
        # the embedded broker makes every topic with four partitions; all versions stand in the
        # first
        await out.send_and_wait(
            kafka.name(ROUTING_TABLES),
            version.model_dump_json().encode(),
            key=version.key,
            partition=0,
        )
        anchor = anchor_of([*published, version])  # learning adds to it, however old it is
        for old in published[: max(0, len(published) + 1 - KEEP)]:
            if old is anchor:
                continue
            await out.send_and_wait(kafka.name(ROUTING_TABLES), None, key=old.key, partition=0)
    written = next((v for v in await versions(kafka) if v.ref.version == version.ref.version), None)
    if written is None or written.digest != version.digest:
        raise PublishConflict(
            f"another writer published version {version.ref} at the same moment; look at it and "
            "publish again"
        )
    return version
