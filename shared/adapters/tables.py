"""The routing tables as a service of the hot path sees them: in memory, refreshed behind its back.

The order of places is memory, Redis, topic. Redis tells of a new version and is asked every few
seconds besides, since its notifications may be lost. While it is unreachable the tables in memory
go on; when it comes back empty it is filled again from the topic. A version older than the one in
use is never taken."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from shared.adapters.errors import AdapterError, CacheUnreachable, NoRoutingTable
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import append, end, find, versions
from shared.adapters.redis.client import RedisSettings
from shared.adapters.redis.tables import HotTables
from shared.adapters.telemetry import TABLE, TABLE_AT, log
from shared.contracts.errors import InvalidMessage
from shared.contracts.places import TableRef
from shared.contracts.tables import Origin, TablePublished
from shared.routing.deciding.table import Encoder, RoutingTable

KEEP = 8
"""Tables kept in memory: an assignment names the one it was made with, and may have waited in a
topic since."""
ASK_EVERY_S = 2.0
FIRST_WAIT_S = 0.2
"""While there is no table at all; half as long again at each look."""
LOOK_AT_TOPIC_EVERY_S = 10.0
"""Redis may have been away when a version was published; then only the topic knows."""
QUIET_S = 5.0
"""How long to wait for the first table without a word."""


async def publish(
    kafka: KafkaSettings,
    redis: RedisSettings,
    table: RoutingTable,
    note: str,
    origin: Origin = Origin.brought,
    *,
    evaluations: int | None = None,
    reclustered: bool = False,
    remarkable: bool = True,
    epoch: int | None = None,
    basis: dict[str, int] | None = None,
    pinned: bool = False,
    after: tuple[int, int] | None = None,
) -> TablePublished:
    """Publish `table` as the next version: on the topic, then in Redis, which tells everybody.

    Without Redis the services find it on the topic within seconds. Raises `PublishConflict` if
    another writer was faster.
    """
    version = await append(
        kafka,
        table,
        note,
        origin,
        evaluations=evaluations,
        reclustered=reclustered,
        remarkable=remarkable,
        epoch=epoch,
        basis=basis,
        pinned=pinned,
        after=after,
    )
    hot = HotTables(redis)
    try:
        await hot.put(version)
    except CacheUnreachable as error:
        log.warning(
            "published on the topic, but Redis is unreachable",
            redis=redis.address,
            error=type(error).__name__,
        )
    finally:
        await hot.close()
    return version


async def roll_back(kafka: KafkaSettings, redis: RedisSettings, name: str) -> TablePublished:
    """Publish an old version's table as the next version, and pin it. Raises `NoRoutingTable` if
    there is no such version."""
    old = await find(kafka, name)
    note = f"rolled back to {old.ref}"
    return await publish(kafka, redis, old.read_table(), note, Origin.rolled_back, pinned=True)


async def unpin(kafka: KafkaSettings, redis: RedisSettings) -> TablePublished:
    """Publish the current table again, so that what is learnt may replace it again. Raises
    `NoRoutingTable` if there is none."""
    now = await find(kafka, "current")
    note = f"unpinned {now.ref}"
    return await publish(kafka, redis, now.read_table(), note, Origin.unpinned, basis=now.basis)


class Tables:
    """The current routing table, and the last few. Use inside `running`."""

    def __init__(self, service: str, kafka: KafkaSettings, redis: RedisSettings) -> None:
        self._service = service
        self._kafka = kafka
        self._address = redis.address
        self._hot = HotTables(redis)
        self._known: OrderedDict[str, RoutingTable] = OrderedDict()
        self._refs: dict[str, TableRef] = {}
        """Versions of the known tables, by digest."""
        self._current: TableRef | None = None
        self._redis_away = False
        self._first = asyncio.Event()
        self.looked = asyncio.Event()
        """Set once the first look for a table has ended, with or without a table."""
        self._looked_at = 0.0
        self._end = -1

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Keep up with new tables while the block runs."""
        task = asyncio.create_task(self._keep_up())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._hot.close()

    async def current(self) -> tuple[TableRef, RoutingTable]:
        """The version in use and its table; waits for the first one, and prompts wait in their
        topic meanwhile."""
        if self._current is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._first.wait(), QUIET_S)
            if self._current is None:
                log.info(
                    "waiting for the first routing table: a re-clusterer makes it, or `pointsman "
                    "table build`"
                )
                await self._first.wait()
        assert self._current is not None
        return self._current, self._known[self._current.digest]

    def at_hand(self) -> tuple[TableRef, RoutingTable] | None:
        """The version in use and its table, if there is one already."""
        return None if self._current is None else (self._current, self._known[self._current.digest])

    def of_space(self, encoder: Encoder) -> tuple[TableRef, RoutingTable] | None:
        """The version in use if it lies in this encoder's space; else the newest that is still
        known and does, for what was embedded before the space was another."""
        here = [
            (self._refs[digest], table)
            for digest, table in self._known.items()
            if table.encoder == encoder
        ]
        return max(here, key=lambda one: one[0].version, default=None)

    async def get(self, ref: TableRef) -> RoutingTable:
        """The very table that `ref` names: from memory, else Redis, else the topic. Raises
        `NoRoutingTable`."""
        if ref.digest in self._known:
            self._known.move_to_end(ref.digest)
            return self._known[ref.digest]
        version = None
        with suppress(CacheUnreachable):
            version = await self._hot.by_digest(ref.digest)
        if version is None:
            version = next(
                (v for v in reversed(await versions(self._kafka)) if v.digest == ref.digest), None
            )
        if version is None:
            raise NoRoutingTable(
                f"routing table {ref} ({ref.digest[:12]}) is in neither Redis nor the topic any "
                "more; replay the prompt"
            )
        return self._remember(version)

    def _remember(self, version: TablePublished) -> RoutingTable:
        table = self._known.get(version.digest) or version.read_table()
        self._known[version.digest] = table
        self._refs[version.digest] = version.ref
        self._known.move_to_end(version.digest)
        while len(self._known) > KEEP:
            oldest = next(
                d for d in self._known if self._current is None or d != self._current.digest
            )
            del self._known[oldest]
            del self._refs[oldest]
        return table

    def _adopt(self, version: TablePublished) -> None:
        if self._current is not None and version.ref.version <= self._current.version:
            return
        table = self._remember(version)
        if self._current is not None:
            TABLE.remove(self._service, str(self._current.epoch), self._current.digest[:12])
        self._current = version.ref
        self._first.set()
        TABLE.labels(self._service, str(version.epoch), version.digest[:12]).set(version.sequence)
        TABLE_AT.labels(self._service).set(version.published_at.timestamp())
        log.info(
            "routing table in use",
            version=str(version.ref),
            digest=version.digest[:12],
            clusters=len(table.clusters),
        )

    async def _refresh(self) -> bool:
        """Take the newest version there is; returns whether there is one at all."""
        try:
            newest = await self._hot.current_version()
            if newest is not None and (self._current is None or newest[:2] > self._current.version):
                version = await self._hot.by_digest(newest[2])
                if version is None:  # the pointer outlived its table
                    await self._rebuild()
                else:
                    self._adopt(version)
            elif newest is None or (
                self._current is not None and newest[:2] < self._current.version
            ):
                await self._rebuild()
            self._note_redis(away=False)
        except CacheUnreachable:
            self._note_redis(away=True)
            if self._current is None:
                await self._from_topic()
        except (AdapterError, InvalidMessage) as error:
            log.warning("routing table not refreshed", error=str(error))
        await self._look_at_topic()
        return self._current is not None

    async def _look_at_topic(self) -> None:
        """At intervals, see whether the topic has moved on without Redis."""
        if time.monotonic() - self._looked_at < LOOK_AT_TOPIC_EVERY_S:
            return
        self._looked_at = time.monotonic()
        ends = await end(self._kafka)
        if ends != self._end:
            self._end = ends
            with suppress(CacheUnreachable):
                await self._rebuild()

    async def _from_topic(self) -> TablePublished | None:
        published = await versions(self._kafka)
        if published:
            self._adopt(published[-1])
        return published[-1] if published else None

    async def _rebuild(self) -> None:
        """Redis is empty or behind: fill it from the topic."""
        if (version := await self._from_topic()) is not None and await self._hot.put(version):
            log.info("filled Redis from the topic", version=str(version.ref))

    async def _keep_up(self) -> None:
        while True:
            try:
                news = await self._hot.listen()
                async with news:
                    wait_s = FIRST_WAIT_S
                    while True:
                        there = await self._refresh()
                        self.looked.set()
                        await news.wait(ASK_EVERY_S if there else wait_s)
                        wait_s = min(1.5 * wait_s, ASK_EVERY_S)
            except CacheUnreachable:
                self._note_redis(away=True)
                with suppress(Exception):  # the broker is unreachable too; the table in use goes on
                    await self._refresh()
                self.looked.set()
                await asyncio.sleep(ASK_EVERY_S / 2)
            except Exception as error:  # no broker, for example: the table in use goes on
                log.warning("routing table not refreshed", error=type(error).__name__)
                await asyncio.sleep(ASK_EVERY_S)

    def _note_redis(self, *, away: bool) -> None:
        if away != self._redis_away:
            self._redis_away = away
            if away:
                log.warning("no Redis; going on with the table in memory", redis=self._address)
            else:
                log.info("Redis is back", redis=self._address)
