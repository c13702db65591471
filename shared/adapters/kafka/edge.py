"""The one owner of every Kafka edge: from a topic, through a service's work, to the next topic.

A record is committed only after what came of it is acknowledged by all in-sync replicas. What is
wrong with a record itself goes to `dead-letters` and the partition goes on; what can pass (a broker
that is away) is waited for. Records are worked on as they come, in batches of what is waiting; the
offset that is committed never passes one that is not done. Records with the same key stay in order.

Nothing stands still in silence: what is raised while a record is taken becomes its dead letter;
what is raised while records are fetched is logged; and a partition whose committed offset does not
move while records wait is named, counted, and makes the service not ready.

A process that stood still for longer than its session (stopped, swapped out, a paused machine)
publishes nothing more: others have its partitions by then. It ends, and its supervisor starts it
anew. aiokafka's transactions could not fence it (TxnOffsetCommit v0).

FastStream consumes; its batch subscriber sleeps a whole batch timeout when it finds nothing, so
records come one by one from aiokafka's prefetch and are gathered here. Publishing is aiokafka's own
producer, since FastStream's headers are text and a dead letter keeps the original bytes
(docs/decisions/0003-kafka-edge.md).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka import Topic as FastStreamTopic
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from faststream.specification import AsyncAPI

from shared.adapters import tracing
from shared.adapters.errors import (
    AdapterError,
    BrokerUnreachable,
    CacheUnreachable,
    EncoderInvalid,
    SessionLost,
    TopicsMissing,
)
from shared.adapters.kafka.client import (
    Publisher,
    last,
    position,
    producer,
    require_topics,
    time_of,
)
from shared.adapters.kafka.fetching import Fetching
from shared.adapters.kafka.progress import Lane, Progress
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.standing import Standing, Waiting
from shared.adapters.telemetry import (
    BATCH,
    IN_FLIGHT,
    LAG,
    READY,
    RECORDS,
    SECONDS,
    STALLED,
    TelemetrySettings,
    log,
    where,
)
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.errors import ContractError, InvalidMessage
from shared.contracts.messages import Decided, Submitted, read, to_json, unknown_fields
from shared.contracts.topics import DEAD_LETTERS, REPLIES, Topic
from shared.routing.errors import RoutingError


class Keyed(Protocol):
    """A message that knows its Kafka key; every contract is one."""

    @property
    def key(self) -> bytes: ...

    def model_dump_json(self, *, exclude_none: bool = False) -> str: ...


In = TypeVar("In", bound=Submitted)
Out = TypeVar("Out", bound=Keyed)

Record: TypeAlias = ConsumerRecord
Work = Callable[[Sequence[In]], Awaitable[Sequence[Out | Sequence[Out] | Exception]]]
"""Takes messages and gives, for each, what comes of it: a message, any number of them, or the error
that goes to `dead-letters` with it."""

COMMIT_EVERY_S, COMMIT_WITHIN_S = 0.2, 5.0
DRAIN_WITHIN_S = 8.0
ATTEMPTS = 3
"""How often a record is tried that makes the work fail in a way nobody foresaw."""
PUBLISH_WITHIN_S = 120.0
"""How long a broker may refuse what is published before the service gives up and leaves restarting
to its supervisor."""
WATCH_EVERY_S = 5.0
"""How often partitions are looked at that might stand still."""
GAP_WEIGHT = 0.1
"""What the newest gap counts in the mean."""
TWIN_JOINS, TWIN_SESSIONS = 6, 3.0
"""Joins within so many sessions that look as if two processes took a name from each other."""
HEARTBEATS = 20
"""How often in a session a service looks whether it has stood still."""
PASSING = (BrokerUnreachable, CacheUnreachable, TopicsMissing)
"""What work may fail with, beside Kafka's own errors, that is worth waiting for."""
REPLY_WITHIN_S = 5.0
"""How long a reply may take to be acknowledged; its decision is published by then, and is not held
up."""
NO_REPLIES_S = 15.0
"""How long no further replies are tried after one that was not taken."""
REFUSALS = (MessageSizeTooLargeError, ValueError, AssertionError)
"""What aiokafka raises for a record that no waiting makes acceptable: too large, or for a partition
that there is not."""
TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage"})


@dataclass(frozen=True, slots=True)
class Stage(Generic[In, Out]):
    """What one service does between two topics."""

    service: str
    about: str
    consumes: Topic
    publishes: Topic
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
    replies: bool = False
    """Copy what is published to where the message's `reply_to` says."""
    lifespan: Callable[[], Any] | None = None
    """An async context manager entered before the first record and left after the last."""
    patience_s: float = 0.0
    """How long one record may rightly take."""


@dataclass(slots=True)
class _Taken(Generic[In]):
    record: Record
    lane: Lane
    at: float
    message: In | None = None
    error: str | None = None
    attempts: int = 1
    work: tracing.Work | None = None


@dataclass(slots=True)
class _Outgoing:
    topic: Topic
    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    message: Keyed | None = None
    sent: asyncio.Future[Any] | None = None
    refused: Exception | None = None


@dataclass(slots=True)
class Edge(ConsumerRebalanceListener, Generic[In, Out]):
    """The running half of a `Stage`. Made by `connect`."""

    stage: Stage[In, Out]
    kafka: KafkaSettings
    telemetry: TelemetrySettings
    queue: deque[_Taken[In]] = field(default_factory=deque)
    progress: Progress[TopicPartition] = field(default_factory=Progress)
    busy: dict[bytes, asyncio.Future[None]] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    draining: bool = False
    failed: BaseException | None = None
    alive_at: float = field(default_factory=time.monotonic)
    taken_at: float = 0.0
    member: bool = False
    """Whether it has been given partitions."""
    standing: dict[TopicPartition, float] = field(default_factory=dict)
    """Partitions that stand still, and for how many seconds."""
    no_replies_until: float = 0.0
    joined: deque[float] = field(default_factory=lambda: deque(maxlen=TWIN_JOINS))
    """When it became a member of late."""
    gap_s: float = 1.0
    """Mean time between records of late."""
    out: Publisher = field(init=False)
    fetching: Fetching = field(init=False)
    consumer: Callable[[], Any] = field(
        default=lambda: None
    )  # set by `connect`: FastStream makes it when it starts
    exit: Callable[[], None] = field(default=lambda: None)  # set by `connect`: ends the application

    def __post_init__(self) -> None:
        self.fetching = Fetching(self.stage.service, self.stage.consumes.name, self.telemetry)

    @property
    def capacity(self) -> int:
        return 2 * self.stage.batch * self.stage.workers

    # 1. taking

    async def take(self, record: Record) -> None:
        """Called by FastStream for a record, and takes with it what else was fetched; returns as
        soon as there is room for it."""
        part = TopicPartition(record.topic, record.partition)
        lane = self.progress.lane(part)
        await self._room()
        if lane is self.progress.get(
            part
        ):  # else it went to another meanwhile, who gets the record too
            self._queue(record)
            await self._draw(record, part)

    async def _draw(self, record: Record, part: TopicPartition) -> None:
        """Take what was fetched behind this record, of its partition only.

        Where one partition can't be read, aiokafka forgets what it took of others in the same call.
        """
        consumer, room = self.consumer(), self.capacity - self.progress.in_flight
        if consumer is None or self.draining or room <= 0:
            return
        try:
            fetched = await consumer.getmany(part, timeout_ms=0, max_records=room)
        except (
            Exception
        ):  # told again to whoever asks for one record; those before it must not be passed over
            with suppress(KafkaError):
                consumer.seek(part, record.offset + 1)
        else:
            for more in fetched.get(part, ()):
                self._queue(more)

    async def _room(self) -> None:
        while self.progress.in_flight >= self.capacity and not self.draining:
            self.moved.clear()
            await self.moved.wait()

    def _queue(self, record: Record) -> None:
        if self.draining:
            return  # not committed, so whoever has the partition next gets it again
        lane = self.progress.lane(TopicPartition(record.topic, record.partition))
        lane.take(record.offset)
        work = self._traced(record)
        now = time.monotonic()
        self.gap_s += GAP_WEIGHT * (min(now - self.taken_at, 1.0) - self.gap_s)
        self.taken_at = now
        self.queue.append(_Taken(record, lane, now, work=work))
        self.arrived.set()

    def _traced(self, record: Record) -> tracing.Work | None:
        """The record's span. A record is worked on with or without one."""
        if (traced := tracing.live()) is None:
            return None
        try:
            return traced.taken(
                record.headers, self.stage.consumes.name, record.partition, record.offset
            )
        except Exception as error:
            log.warning("a record is not traced", error=where(error, self.telemetry))
            return None

    # 2. working

    async def _work(self) -> None:
        while True:
            batch = await self._next()
            turn = asyncio.get_running_loop().create_future()
            await self._in_turn(batch, turn)
            try:
                if mine := [taken for taken in batch if self._ours(taken)]:
                    await self._run(mine)
            finally:
                turn.set_result(None)
                for taken in batch:
                    key = taken.record.key
                    if key is not None and self.busy.get(key) is turn:
                        del self.busy[key]

    async def _in_turn(self, batch: list[_Taken[In]], turn: asyncio.Future[None]) -> None:
        """With several workers, wait for those that have records of the same keys."""
        if self.stage.workers > 1:
            keys = {taken.record.key for taken in batch if taken.record.key is not None}
            earlier = {self.busy[key] for key in keys if key in self.busy}
            self.busy |= dict.fromkeys(keys, turn)
            if earlier:
                await asyncio.wait(earlier)

    def _ours(self, taken: _Taken[In]) -> bool:
        """Whether its partition is still this process's; else it is not committed, and whoever has
        the partition now does it."""
        if taken.lane.lost and taken.work is not None:
            taken.work.failed("left to another")
        return not taken.lane.lost

    async def _next(self) -> list[_Taken[In]]:
        while not self.queue:
            self.arrived.clear()
            await self.arrived.wait()
        if len(self.queue) == 1 and self.gap_s < self.stage.window_s:
            await asyncio.sleep(self.stage.window_s)
        return [self.queue.popleft() for _ in range(min(len(self.queue), self.stage.batch))]

    async def _run(self, batch: list[_Taken[In]]) -> None:
        BATCH.labels(self.stage.service).observe(len(batch))
        good = [taken for taken in batch if self._read(taken)]
        results = await self._results(good) if good else []
        bad = [taken for taken in batch if taken.message is None]
        await self._finish(
            [
                *zip(good, results, strict=True),
                *((taken, ContractError(taken.error or "")) for taken in bad),
            ]
        )
        IN_FLIGHT.labels(self.stage.service).set(self.progress.in_flight)

    def _read(self, taken: _Taken[In]) -> bool:
        try:
            receive = self.stage.receive or self._receive
            taken.message = receive(taken.record)
        except (ContractError, RoutingError) as error:
            taken.error = str(error)
        except (
            Exception
        ) as error:  # whatever is wrong with one record is its own fault, and no other's
            log.error("a record can't be read", error=where(error, self.telemetry))
            taken.error = (
                f"internal error ({type(error).__name__}) while the record was read; "
                "the service's log says where"
            )
        return taken.message is not None

    def _receive(self, record: Record) -> In:
        return read(cast("type[In]", self.stage.consumes.message), record.value)

    async def _results(self, batch: list[_Taken[In]]) -> Sequence[Out | Sequence[Out] | Exception]:
        """The work's results; where it fails as a whole, each record is tried alone, so that one
        can't spoil the others.

        What is wrong outside is no record's fault: a broker or a cache that is away is waited for,
        and an encoder that fails on anything is left to a restart.
        """
        try:
            return await self._waiting(batch)
        except Exception as error:
            if isinstance(error, EncoderInvalid) or _passing(error):
                self._fail(error)
                raise
            log.error("work failed", error=where(error, self.telemetry), records=len(batch))
            if len(batch) > 1:
                return [(await self._results([taken]))[0] for taken in batch]
            if batch[0].attempts >= ATTEMPTS:
                return [
                    ContractError(
                        f"internal error ({type(error).__name__}), {ATTEMPTS} times; the service's "
                        "log says where"
                    )
                ]
            batch[0].attempts += 1
            await asyncio.sleep(random.uniform(0, 0.1 * 2 ** batch[0].attempts))
            return await self._results(batch)

    async def _waiting(self, batch: list[_Taken[In]]) -> Sequence[Out | Sequence[Out] | Exception]:
        """The work's results, tried again while something outside is away."""
        deadline, wait = time.monotonic() + PUBLISH_WITHIN_S, 0.1
        while True:
            try:
                return await self.stage.work([t.message for t in batch if t.message is not None])
            except Exception as error:
                if not _passing(error) or time.monotonic() > deadline:
                    raise
                log.warning(
                    "trying again",
                    error=type(error).__name__,
                    records=len(batch),
                    wait_s=round(wait, 2),
                )
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(2 * wait, 5.0)

    # 3. publishing

    async def _finish(
        self, ended: Iterable[tuple[_Taken[In], Out | Sequence[Out] | Exception]]
    ) -> None:
        """Publish what came of a batch, all of it handed over before the first acknowledgement is
        waited for."""
        mine: list[tuple[_Taken[In], Out | Sequence[Out] | Exception, list[_Outgoing]]] = []
        for taken, result in ended:
            if self._ours(taken):
                mine.append((taken, *self._ready_to_go(taken, result)))
        await self._publish([one for _, _, outgoing in mine for one in outgoing])
        await self._answer(
            [
                reply
                for _, _, outgoing in mine
                for one in outgoing
                if not one.refused and (reply := self._reply(one)) is not None
            ]
        )
        for taken, result, outgoing in mine:
            refused = next((one.refused for one in outgoing if one.refused), None)
            if refused and isinstance(
                result, Exception
            ):  # not even as a dead letter: an operator has to see to that topic
                self._fail(refused)
                raise refused
            if refused:
                size = max(len(one.value) for one in outgoing)
                error = (
                    f"with what {self.stage.service} adds it has {size} bytes, more than the "
                    "topic takes"
                )
                await self._finish([(taken, ContractError(error))])
            else:
                self._done(taken, result)

    def _ready_to_go(
        self, taken: _Taken[In], result: Out | Sequence[Out] | Exception
    ) -> tuple[Out | Sequence[Out] | Exception, list[_Outgoing]]:
        """What came of a record, as it is published; what can't be written becomes the record's
        dead letter."""
        try:
            return result, self._outgoing(taken, result)
        except Exception as error:
            log.error("what came of a record can't be written", error=where(error, self.telemetry))
            text = (
                f"internal error ({type(error).__name__}): what came of it can't be written; "
                "the service's log says where"
            )
            failed = ContractError(text)
            return failed, [self._dead_letter(taken, text)]

    async def _answer(self, replies: list[_Outgoing]) -> None:
        """Publish copies for askers, as far as their topic takes them: the original stands on its
        topic all the same."""
        if not replies:
            return
        error: BaseException | None = None
        if time.monotonic() < self.no_replies_until:
            error = TimeoutError()
        else:
            try:
                async with asyncio.timeout(REPLY_WITHIN_S):
                    await self._publish(replies)
            except TimeoutError as late:
                error, self.no_replies_until = late, time.monotonic() + NO_REPLIES_S
        for reply in replies:
            if (refused := reply.refused or error) is not None:
                log.warning(
                    "reply not sent", partition=reply.partition, error=type(refused).__name__
                )

    def _outgoing(
        self, taken: _Taken[In], result: Out | Sequence[Out] | Exception
    ) -> list[_Outgoing]:
        """What is to be published for one record."""
        if isinstance(result, Exception):
            return [self._dead_letter(taken, str(result))]
        headers = [
            (name, text)
            for name, text in taken.record.headers
            if name in TRACE_HEADERS and text is not None
        ]
        if taken.work is not None:
            own = taken.work.headers()
            headers = own + [(name, text) for name, text in headers if name not in dict(own)]
        results = result if isinstance(result, Sequence) else (result,)
        return [
            _Outgoing(self.stage.publishes, to_json(one), one.key, headers, message=one)
            for one in results
        ]

    def _reply(self, published: _Outgoing) -> _Outgoing | None:
        """The copy for the asker's partition, where one is asked for."""
        one = published.message
        if not self.stage.replies or not isinstance(one, Submitted) or one.reply_to is None:
            return None
        if not isinstance(one, Decided) and not one.reply_to.described:
            return None
        return _Outgoing(
            REPLIES,
            published.value,
            one.request_id.encode(),
            published.headers,
            one.reply_to.partition,
        )

    def _dead_letter(self, taken: _Taken[In], error: str) -> _Outgoing:
        r = taken.record
        letter = DeadLetter(
            value=r.value,
            key=r.key,
            topic=self.stage.consumes.name,
            partition=r.partition,
            offset=r.offset,
            service=self.stage.service,
            error=error,
            attempts=taken.attempts,
            headers=tuple((name, text or b"") for name, text in r.headers),
        )
        log.warning("dead letter", id=letter.id, error=error)
        return _Outgoing(DEAD_LETTERS, letter.value or b"", letter.key, list(letter.to_headers()))

    async def _publish(self, outgoing: list[_Outgoing]) -> None:
        """Return once each is acknowledged by all replicas in sync, or has `refused` set: that will
        never be taken."""
        for one in outgoing:
            with suppress(KafkaError, *REFUSALS):  # said again, and seen to, where it is waited for
                await self._hand_over(one)
        for one in outgoing:
            try:
                await self._acknowledged(one)
            except REFUSALS as error:
                one.refused = error

    async def _hand_over(self, one: _Outgoing) -> asyncio.Future[Any]:
        self._require_session()
        one.sent = await self.out.send(
            self.kafka.name(one.topic),
            one.value,
            key=one.key,
            headers=one.headers,
            partition=one.partition,
        )
        return one.sent

    async def _acknowledged(self, one: _Outgoing) -> None:
        deadline, wait = time.monotonic() + PUBLISH_WITHIN_S, 0.1
        while True:
            try:
                await (one.sent or await self._hand_over(one))
                return
            except REFUSALS:
                raise
            except KafkaError as error:
                one.sent = None
                if time.monotonic() > deadline:
                    self._fail(error)
                    raise
                log.warning(
                    "publishing again",
                    topic=one.topic.name,
                    error=type(error).__name__,
                    wait_s=round(wait, 2),
                )
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(2 * wait, 5.0)

    def _require_session(self) -> None:
        """Raise `SessionLost` once this process has stood still for longer than its session."""
        still = time.monotonic() - self.alive_at
        if self.failed is None and still > self.kafka.session_timeout_ms / 1000:
            self._fail(
                SessionLost(
                    f"stood still for {still:.0f} s, longer than a session; what was taken is "
                    "another's by now"
                )
            )
        if isinstance(self.failed, SessionLost):
            raise self.failed

    def _may_write(self) -> None:
        """Raise `SessionLost` if what was handed over before a standstill must not be written any
        more."""
        if isinstance(self.failed, SessionLost) or any(not task.done() for task in self.tasks):
            self._require_session()

    async def _look_alive(self) -> None:
        while True:
            self._require_session()
            self.alive_at = time.monotonic()
            await asyncio.sleep(self.kafka.session_timeout_ms / 1000 / HEARTBEATS)

    # 4. committing

    def _done(self, taken: _Taken[In], result: Out | Sequence[Out] | Exception) -> None:
        if isinstance(result, Exception):
            outcome = "dead_letter"
        else:
            outcome = "passed" if isinstance(result, Sequence) and not result else "published"
        if taken.work is not None and isinstance(result, Exception):
            taken.work.failed("dead letter")
        elif taken.work is not None:
            taken.work.done(result if isinstance(result, Sequence) else (result,))
        taken.lane.done(taken.record.offset)
        RECORDS.labels(self.stage.service, outcome).inc()
        SECONDS.labels(self.stage.service).observe(time.monotonic() - taken.at)
        self.moved.set()

    async def _commit(self) -> None:
        offsets = self.progress.uncommitted()
        consumer = self.consumer()
        if offsets and consumer is not None:
            try:
                async with asyncio.timeout(
                    COMMIT_WITHIN_S
                ):  # aiokafka goes on for ever where a partition is gone
                    await consumer.commit(offsets)
                self.progress.committed(offsets)
            except (
                KafkaError,
                TimeoutError,
                # a rebalance, or a broker that is away: the next commit says the same or more
            ) as error:
                log.info("commit postponed", error=type(error).__name__)
                self._leave_behind(consumer)

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit()
            LAG.labels(self.stage.service).set(self._lag())

    def _leave_behind(self, consumer: Any) -> None:
        """Let go of partitions that the topic no longer has: one commit with such a partition fails
        for all."""
        there = consumer.partitions_for_topic(self.kafka.name(self.stage.consumes))
        if there and (gone := [part for part in self.progress if part.partition not in there]):
            log.warning(
                "the topic has fewer partitions now",
                topic=self.stage.consumes.name,
                gone=sorted(p.partition for p in gone),
            )
            self.progress.drop(gone)
            self.moved.set()

    def _lag(self) -> int:
        """Records up to the end of our partitions, as the last fetch told it, that are not done."""
        consumer, behind = self.consumer(), 0
        for part in consumer.assignment() if consumer is not None else ():
            end, lane = last(consumer, part), self.progress.get(part)
            done = position(consumer, part) if lane is None or lane.idle else lane.position
            if end is not None and done is not None:
                behind += max(0, end - done)
        return behind

    def _waiting_in(self, consumer: Any, part: TopicPartition) -> Waiting:
        """How far one of our partitions is committed; as far as it is fetched, where all of that is
        committed."""
        lane, end = self.progress.get(part), last(consumer, part)
        committed = (
            position(consumer, part)
            if lane is None or (lane.idle and lane.position == lane.committed)
            else lane.committed
        )
        if committed is None and lane is not None and lane.waiting:
            committed = next(iter(lane.waiting))
        return Waiting(
            committed, None if end is None or committed is None else max(0, end - committed)
        )

    async def _watch(self) -> None:
        """Name partitions that stand still, and be ready only while there are none."""
        standing: Standing[TopicPartition] = Standing(self.kafka.stalled_s + self.stage.patience_s)
        while True:
            await asyncio.sleep(min(WATCH_EVERY_S, self.kafka.stalled_s / 4))
            consumer = self.consumer()
            if consumer is None or self.draining:
                continue
            now = {part: self._waiting_in(consumer, part) for part in consumer.assignment()}
            before, self.standing = self.standing, standing.look(now)
            for part in self.standing.keys() - before.keys():
                log.error(
                    "a partition stands still",
                    topic=self.stage.consumes.name,
                    partition=part.partition,
                    offset=now[part].offset,
                    behind=now[part].behind,
                    for_s=round(self.standing[part]),
                    fetch_error=self.fetching.error or None,
                )
            for part in before.keys() - self.standing.keys():
                log.warning(
                    "a partition goes on", topic=self.stage.consumes.name, partition=part.partition
                )
            if not self.standing:
                self.fetching.error = ""
            STALLED.labels(self.stage.service).set(len(self.standing))
            self._say_ready()

    def _say_ready(self) -> None:
        READY.labels(self.stage.service).set(
            int(self.member and not self.draining and not self.standing)
        )

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what was taken from these partitions, commit, and let go of them."""
        lanes = [self.progress[p] for p in revoked if p in self.progress]
        await self._until(lambda: all(lane.idle for lane in lanes))
        await self._commit()
        self.progress.drop(revoked)
        self.moved.set()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.member = True
        self._say_ready()
        log.info("taking records", partitions=len(assigned))
        self.joined.append(time.monotonic())
        if (
            self.kafka.instance
            and len(self.joined) == TWIN_JOINS
            and self.joined[-1] - self.joined[0]
            < TWIN_SESSIONS * self.kafka.session_timeout_ms / 1000
        ):
            log.warning(
                "joined again and again: another process may bear the same name "
                "(POINTSMAN_KAFKA_INSTANCE)",
                name=self.kafka.instance,
            )

    # 5. beginning and end

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Open before the consumer starts; on leaving, wait for what was taken, commit it, and
        close."""
        self.out = await producer(self.kafka, self._may_write)
        try:
            await require_topics(
                self.kafka, (self.stage.consumes, self.stage.publishes, DEAD_LETTERS)
            )
            loops = [self._work() for _ in range(self.stage.workers)] + [
                self._commit_often(),
                self._look_alive(),
                self._watch(),
            ]
            self.alive_at = time.monotonic()
            self.tasks = [asyncio.create_task(loop) for loop in loops]
            for task in self.tasks:
                task.add_done_callback(self._ended)
            yield
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.out.stop()

    async def drain(self) -> None:
        """Take nothing more, finish what was taken, commit it. The consumer is still there."""
        self.draining = True
        self._say_ready()
        self.moved.set()
        await self._until(lambda: self.progress.in_flight == 0)
        await self._commit()
        leave(self.consumer())
        log.info("drained", unfinished=self.progress.in_flight)

    async def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DRAIN_WITHIN_S
        while not condition() and time.monotonic() < deadline and self.failed is None:
            self.moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.moved.wait(), 0.05)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """What we can't mend is left to a restart: nothing uncommitted is lost."""
        if self.failed is None:
            self.failed = error
            known = isinstance(error, AdapterError)  # its text is ours and quotes nothing
            log.error(
                "giving up; restart me", error=str(error) if known else where(error, self.telemetry)
            )
            self.exit()


def _passing(error: Exception) -> bool:
    """Whether what the work failed with is outside and may pass. What Kafka refuses for good is the
    record's own fault."""
    return isinstance(error, (KafkaError, *PASSING)) and not isinstance(error, REFUSALS)


def connect(
    stage: Stage[In, Out],
    kafka: KafkaSettings | None = None,
    telemetry: TelemetrySettings | None = None,
) -> FastStream:
    """Wire a stage to Kafka and return the application that `faststream run --factory` and
    `pointsman run` start."""
    kafka, telemetry = kafka or KafkaSettings(), telemetry or TelemetrySettings()
    broker = consuming(stage.service, kafka)
    edge: Edge[In, Out] = Edge(stage, kafka, telemetry)
    subscriber = broker.subscriber(
        FastStreamTopic(kafka.name(stage.consumes), declare=False),
        **kafka.membership(stage.service),
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=kafka.fetch_max_wait_ms,
        max_partition_fetch_bytes=stage.consumes.max_bytes * 2,
        listener=edge,
        no_reply=True,
        parser=parse_record,
        decoder=decode_record,
        title=f"{stage.service}.hears.{stage.consumes.name}",
        description=f"{stage.consumes.about}. {stage.about}",
    )
    subscriber(_annotated(edge.take, stage))
    subscriber.get_msg = edge.fetching.record
    broker.publisher(
        FastStreamTopic(kafka.name(stage.publishes), declare=False),
        title=f"{stage.service}.says.{stage.publishes.name}",
        description=stage.publishes.about,
        schema=stage.publishes.message,
    )

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(edge.running())
            if stage.lifespan is not None:
                await stack.enter_async_context(stage.lifespan())
            yield
        if edge.failed is not None:
            raise edge.failed

    specification = AsyncAPI(
        title=f"Pointsman {stage.service}", version=version("pointsman"), description=stage.about
    )
    app = FastStream(
        broker,
        logger=None,
        lifespan=lifespan,
        on_shutdown=[edge.drain],
        specification=specification,
    )
    edge.consumer, edge.exit = (lambda: subscriber.consumer), app.exit
    return app


def consuming(service: str, kafka: KafkaSettings) -> KafkaBroker:
    """FastStream's broker for a service that consumes through it and publishes by itself."""
    return KafkaBroker(
        kafka.servers,
        security=_security(kafka),
        client_id=f"pointsman-{service}",
        consumer_only=True,
        allow_auto_create_topics=False,
        request_timeout_ms=kafka.request_timeout_ms,
        metadata_max_age_ms=kafka.metadata_max_age_ms,
        logger=None,
        apply_types=False,
    )


def leave(consumer: Any) -> None:
    """Say goodbye when `consumer` stops, also if it has a name: who ends in order does not come
    back under it.

    aiokafka leaves the partitions of a named member to nobody until its session ends.
    """
    if consumer is not None:
        consumer._coordinator._group_instance_id = None  # noqa: SLF001  # what aiokafka asks before it says goodbye; it has no public way


def _security(kafka: KafkaSettings) -> BaseSecurity:
    """FastStream's name for what `KafkaSettings.access` says."""
    tls = kafka.tls()
    if not kafka.security_protocol.startswith("SASL"):
        return BaseSecurity(tls, use_ssl=tls is not None)
    kinds: dict[str, type[SASLPlaintext | SASLScram256 | SASLScram512]] = {
        "PLAIN": SASLPlaintext,
        "SCRAM-SHA-256": SASLScram256,
        "SCRAM-SHA-512": SASLScram512,
    }
    kind = kinds[kafka.sasl_mechanism]
    return kind(kafka.username, kafka.password.get_secret_value(), tls, use_ssl=tls is not None)


def _annotated(
    take: Callable[[Record], Awaitable[None]], stage: Stage[In, Out]
) -> Callable[[Any], Awaitable[None]]:
    """FastStream's handler. Its annotation is the topic's contract, which is what the AsyncAPI
    document shows."""

    async def handler(message: Any) -> None:
        await take(message)

    handler.__annotations__["message"] = stage.consumes.message
    handler.__name__ = stage.service
    return handler


async def parse_record(record: Record) -> KafkaMessage:
    """FastStream's own parser decodes headers as UTF-8 and fails on a foreign producer's bytes."""
    return KafkaMessage(
        body=record.value or b"",
        raw_message=record,
        message_id=f"{record.partition}-{record.offset}",
        consumer=FAKE_CONSUMER,
    )


async def decode_record(message: KafkaMessage) -> Record:
    """The record itself."""
    return message.raw_message


def receive_submitted(record: Record, kafka: KafkaSettings) -> Submitted:
    """A producer's record as a message, with the defaults that only the record knows. Raises
    `InvalidMessage`."""
    message = read(Submitted, record.value)
    known: dict[str, Any] = {"ignored": unknown_fields(Submitted, record.value)}
    if not message.request_id:
        known["request_id"] = f"{record.topic}-{record.partition}-{record.offset}"
    if message.submitted_at is None:
        known["submitted_at"] = time_of(record)
    if message.reply_to is not None and message.reply_to.topic != kafka.name(REPLIES):
        raise InvalidMessage(f"reply_to.topic: copies go to {kafka.name(REPLIES)} and nowhere else")
    return message.model_copy(update=known)
