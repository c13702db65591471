"""Producers, consumers and topics: the parts of Kafka that are no service's edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    DuplicateSequenceNumber,
    InvalidProducerEpoch,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
    for_code,
)

from shared.adapters.errors import BrokerUnreachable, RecordTooLarge, TopicsMissing
from shared.adapters.kafka.doorbell import Ringer, attend
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import log
from shared.contracts.topics import MAX_TABLE_BYTES, RECORD_OVERHEAD, TOPICS, Topic

TOLD_WITHIN_S = 20.0
LOOK_EVERY_S = 2.0
"""How often a consumer of an embedded broker looks for what was published without ringing."""
FETCHER_WAKES_MS = 1000
"""aiokafka's fetcher wakes for every fetch and every change of partitions; this is the timer
beside that, which is five times a second by default."""
EARLIEST_YEAR = 2000
"""Records are no older than Kafka."""
BATCH_BYTES = 64 * 1024
"""aiokafka sends one batch at a time to a partition; its own 16 KiB hold four of our messages. No
topic may take less in one go."""
LOST_COUNT = (
    OutOfOrderSequenceNumber,
    DuplicateSequenceNumber,
    UnknownProducerId,
    InvalidProducerEpoch,
    ProducerFenced,
)
"""What a broker says to a producer whose sequence numbers it can't follow."""


def time_of(record: Any) -> datetime:
    """When a record was written; now, where its time is none that a date can have."""
    try:
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    except (OverflowError, ValueError, OSError, TypeError):
        return datetime.now(UTC)
    return at if at.year >= EARLIEST_YEAR else datetime.now(UTC)


def unreachable(kafka: KafkaSettings) -> BrokerUnreachable:
    """The error for a Kafka that does not answer, or does not let us in."""
    if kafka.security_protocol != "PLAINTEXT":
        who = f" to the user {kafka.username}" if kafka.username else ""
        return BrokerUnreachable(
            f"no Kafka answers at {kafka.bootstrap_servers}{who} over {kafka.security_protocol}. "
            "If it is up, see that the password "
            "is right (POINTSMAN_KAFKA_PASSWORD), the mechanism too "
            "(POINTSMAN_KAFKA_SASL_MECHANISM), and that POINTSMAN_KAFKA_CA_FILE "
            "names the authority of its certificate; the log says what was refused"
        )
    return BrokerUnreachable(
        f"no Kafka answers at {kafka.bootstrap_servers}. Start one (`pointsman up` and "
        "`pointsman demo --keep` bring an embedded one, `docker compose up kafka` a real one), or "
        "set POINTSMAN_KAFKA_BOOTSTRAP_SERVERS"
    )


class Publisher:
    """Writes records that every replica in sync acknowledges; a retry can't write twice. Made by
    `producer`.

    aiokafka gives every batch sequence numbers and forgets those of a batch that expires while the
    broker is unreachable; the broker then refuses all that follows (OutOfOrderSequenceNumber), for
    good. So a producer that has lost count is replaced."""

    def __init__(self, kafka: KafkaSettings, guard: Callable[[], object] = lambda: None) -> None:
        """`guard` is called before every request to a broker; what it raises ends the producer, and
        nothing more is written."""
        self._kafka = kafka
        self._guard = guard
        self._ringer = Ringer(kafka.doorbell)
        self._out: AIOKafkaProducer
        self._renewing: asyncio.Task[None] | None = None
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises `BrokerUnreachable`."""
        self._out = await self._connected()

    async def _connected(self) -> AIOKafkaProducer:
        aiokafka_producer = AIOKafkaProducer(
            **self._kafka.access(),
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_TABLE_BYTES + RECORD_OVERHEAD,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=self._kafka.request_timeout_ms,
            metadata_max_age_ms=self._kafka.metadata_max_age_ms,
        )
        try:
            await aiokafka_producer.start()
        except KafkaConnectionError:
            await aiokafka_producer.stop()
            raise unreachable(self._kafka) from None
        return self._guarded(aiokafka_producer)

    def _guarded(self, aiokafka_producer: AIOKafkaProducer) -> AIOKafkaProducer:
        """aiokafka keeps records that were handed over, and would write them after its process
        was paused."""
        send = aiokafka_producer.client.send

        async def guarded(*arguments: Any, **more: Any) -> Any:
            self._guard()
            return await send(*arguments, **more)

        aiokafka_producer.client.send = guarded
        return aiokafka_producer

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Hand over a record; what is returned ends with its acknowledgement. Raises aiokafka's
        `KafkaError`s, as that does."""
        sent: asyncio.Future[Any] = await self._out.send(
            topic, value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp_ms
        )
        sent.add_done_callback(self._look)
        return sent

    async def send_and_wait(self, topic: str, value: bytes | None, **more: Any) -> Any:
        """Publish, and wait for the acknowledgement."""
        return await (await self.send(topic, value, **more))

    def _look(self, sent: asyncio.Future[Any]) -> None:
        self._ringer.ring()
        lost_count = not sent.cancelled() and isinstance(sent.exception(), LOST_COUNT)
        if lost_count and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            fresh = await self._connected()
        except (BrokerUnreachable, KafkaError, OSError):
            return  # the next sender finds out again
        old = self._out
        self._out = fresh
        log.info("replaced a producer that had lost count")
        closing = asyncio.create_task(old.stop())
        self._retired.add(closing)
        closing.add_done_callback(self._retired.discard)

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic, empty if there is none."""
        partitions: set[int] = await self._out.partitions_for(topic)
        return partitions

    async def stop(self) -> None:
        """Flush and close."""
        if self._renewing is not None:
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._out.stop()
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        self._ringer.close()


async def producer(kafka: KafkaSettings, guard: Callable[[], object] = lambda: None) -> Publisher:
    """A started publisher; `guard` as in `Publisher`. Raises `BrokerUnreachable`."""
    new_publisher = Publisher(kafka, guard)
    await new_publisher.start()
    return new_publisher


@contextmanager
def kafka_answering(kafka: KafkaSettings) -> Iterator[None]:
    """Kafka's errors go on as ours."""
    try:
        yield
    except MessageSizeTooLargeError:
        raise RecordTooLarge(
            "the record has more bytes than its topic takes; raise the topic's `max.message.bytes`"
        ) from None
    except KafkaError as error:
        raise BrokerUnreachable(
            f"Kafka at {kafka.bootstrap_servers} does not do what it is asked "
            f"({type(error).__name__}); see that it is up and that this user may"
        ) from None


@asynccontextmanager
async def publisher(kafka: KafkaSettings) -> AsyncGenerator[Publisher, None]:
    """A producer for as long as the block runs; what was sent is flushed at its end."""
    new_publisher = await producer(kafka)
    try:
        with kafka_answering(kafka):
            yield new_publisher
    finally:
        await new_publisher.stop()


@asynccontextmanager
async def reader(
    kafka: KafkaSettings, topics: Iterable[Topic], *, from_start: bool, partition: int | None = None
) -> AsyncGenerator[AIOKafkaConsumer, None]:
    """A consumer of whole topics (or one partition of each) without a group, at their beginning or
    at their end.

    Its position is fixed before the block starts, so what is published inside the block is seen.
    """
    consumer = AIOKafkaConsumer(
        **kafka.access(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=kafka.fetch_max_wait_ms,
        max_partition_fetch_bytes=8 * 1024 * 1024,
        metadata_max_age_ms=kafka.metadata_max_age_ms,
        consumer_timeout_ms=FETCHER_WAKES_MS,
    )
    try:
        await consumer.start()
    except KafkaConnectionError:
        await consumer.stop()
        raise unreachable(kafka) from None
    try:
        names = [kafka.name(topic) for topic in topics]
        parts: list[TopicPartition] = []
        for name in names:
            partitions = await _partitions(consumer, name)
            parts += [
                TopicPartition(name, p)
                for p in sorted(partitions)
                if partition is None or p == partition
            ]
        consumer.assign(parts)
        if from_start:
            await consumer.seek_to_beginning(*parts)
        else:
            await consumer.seek_to_end(*parts)
        for part in parts:
            await consumer.position(part)
        resting = asyncio.create_task(attend(lambda: consumer, kafka.doorbell, LOOK_EVERY_S))
        try:
            with kafka_answering(kafka):
                yield consumer
        finally:
            resting.cancel()
            await asyncio.gather(resting, return_exceptions=True)
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, name: str) -> set[int]:
    partitions: set[int] | None = consumer.partitions_for_topic(name)
    if not partitions:
        await consumer._client._wait_on_metadata(name)  # noqa: SLF001  # its public calls know only subscribed topics
        partitions = consumer.partitions_for_topic(name)
    return partitions or set()


async def read_all(kafka: KafkaSettings, topic: Topic) -> list[Any]:
    """Every record of a topic up to where it ends now, partition by partition."""
    found = [record async for record in each(kafka, topic)]
    return sorted(found, key=lambda r: (r.partition, r.offset))


async def each(
    kafka: KafkaSettings, topic: Topic, since: datetime | None = None
) -> AsyncGenerator[Any, None]:
    """The records of a topic up to where it ends now, each partition in its order; those from
    `since` on, by their timestamps. Holds one batch at a time."""
    async with reader(kafka, [topic], from_start=True) as consumer:
        parts = list(consumer.assignment())
        ends: Mapping[TopicPartition, int] = await consumer.end_offsets(parts)
        starts: Mapping[TopicPartition, int] = await consumer.beginning_offsets(parts)
        left = {part for part in parts if ends[part] > starts[part]}
        first_ms = 0 if since is None else int(1000 * since.timestamp())
        if since is not None and left:
            times = await consumer.offsets_for_times(dict.fromkeys(left, first_ms))
            for part in left:
                # nothing is that new; or the broker, as the embedded one, looks up no times
                found = times.get(part)
                consumer.seek(part, ends[part] - 1 if found is None else found.offset)
            unknown = {part for part in left if times.get(part) is None}
            last = await _last_timestamps(consumer, unknown, ends)
            for part in unknown:
                consumer.seek(part, starts[part] if last[part] >= first_ms else ends[part])
        async for part, batch in _batches(consumer, left, ends):
            for record in batch:
                if record.offset < ends[part] and record.timestamp >= first_ms:
                    yield record


async def _batches(
    consumer: AIOKafkaConsumer, parts: Iterable[TopicPartition], ends: Mapping[TopicPartition, int]
) -> AsyncGenerator[tuple[TopicPartition, list[Any]], None]:
    """What stands in these partitions between the consumer's positions and the ends."""
    left = {part for part in parts if await consumer.position(part) < ends[part]}
    while left:
        for part, batch in (await consumer.getmany(*left, timeout_ms=200)).items():
            yield part, batch
        left = {part for part in left if await consumer.position(part) < ends[part]}


async def _last_timestamps(
    consumer: AIOKafkaConsumer, parts: set[TopicPartition], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """In milliseconds, of the last record of each partition; 0 where the last is no record."""
    last = dict.fromkeys(parts, 0)
    async for part, batch in _batches(consumer, parts, ends):
        last[part] = max(last[part], *(record.timestamp for record in batch))
    return last


async def read_one(
    kafka: KafkaSettings, topic: Topic, partition: int, offset: int, within_s: float = 5.0
) -> bytes | None:
    """The value of one record; None if it is not, or no longer, there."""
    async with reader(kafka, [topic], from_start=True, partition=partition) as consumer:
        part = TopicPartition(kafka.name(topic), partition)
        if offset >= (await consumer.end_offsets([part]))[part]:
            return None
        consumer.seek(part, offset)
        found = await consumer.getmany(part, timeout_ms=int(1000 * within_s), max_records=1)
        return next(
            (r.value for records in found.values() for r in records if r.offset == offset), None
        )


@asynccontextmanager
async def admin(kafka: KafkaSettings) -> AsyncGenerator[AIOKafkaAdminClient, None]:
    """An admin client. Raises `BrokerUnreachable`."""
    client = AIOKafkaAdminClient(**kafka.access(), request_timeout_ms=kafka.request_timeout_ms)
    try:
        await client.start()
    except (KafkaConnectionError, OSError):
        await client.close()
        raise unreachable(kafka) from None
    try:
        yield client
    finally:
        await client.close()


async def require_topics(kafka: KafkaSettings, topics: Iterable[Topic]) -> None:
    """Raise `TopicsMissing` unless all of them are there."""
    async with admin(kafka) as client:
        there = set(await client.list_topics())
    if missing := sorted({kafka.name(t) for t in topics} - there):
        raise TopicsMissing(
            f"topics that don't exist yet: {', '.join(missing)}. Create them with `pointsman "
            "topics --create`"
        )


@dataclass(frozen=True, slots=True)
class TopicState:
    """What was found of one topic, beside what it should be. `partitions` 0: it does not exist."""

    topic: Topic
    name: str
    partitions: int
    wanted_partitions: int
    differing: Mapping[str, tuple[str, str]]
    """Setting: (as it is, as it should be)."""

    @property
    def right(self) -> bool:
        return self.partitions >= self.wanted_partitions and not self.differing


def wanted_partitions(kafka: KafkaSettings, topic: Topic) -> int:
    return topic.partitions or kafka.partitions


async def check_topics(
    kafka: KafkaSettings, topics: Iterable[Topic] = TOPICS.values()
) -> list[TopicState]:
    """Compare the cluster's topics with what they should be."""
    async with admin(kafka) as client:
        there = set(await client.list_topics())
        states = []
        for topic in topics:
            name = kafka.name(topic)
            if name not in there:
                states.append(TopicState(topic, name, 0, wanted_partitions(kafka, topic), {}))
                continue
            described = await client.describe_topics([name])
            settings = await _settings(client, name)
            wrong = {
                key: (settings[key], value)
                for key, value in topic.config().items()
                if settings.get(key, value) != value
            }
            states.append(
                TopicState(
                    topic,
                    name,
                    len(described[0]["partitions"]),
                    wanted_partitions(kafka, topic),
                    wrong,
                )
            )
    return states


OF_THE_TOPIC = 1
"""Where a setting comes from, by Kafka's protocol: it was set on the topic itself."""


async def _settings(
    client: AIOKafkaAdminClient, name: str, *, of_the_topic: bool = False
) -> dict[str, str]:
    """The settings of a topic, or only those that were set on it; none where the broker does not
    tell (the embedded one does not)."""
    try:
        responses = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    except KafkaError:
        return {}
    return {
        entry[0]: entry[1]
        for response in responses
        for resource in response.resources
        for entry in resource[4]
        if not of_the_topic or entry[3] == OF_THE_TOPIC
    }


async def create_topics(
    kafka: KafkaSettings, topics: Iterable[Topic] = TOPICS.values()
) -> list[str]:
    """Create the topics that are missing, widen those with too few partitions, correct settings.
    Returns what was done.

    Waits until the cluster tells of what was done: it answers a creation before all of it knows.
    """
    topics = list(topics)
    done = []
    async with admin(kafka) as client:
        for state in await check_topics(kafka, topics):
            if not state.partitions:
                new = NewTopic(
                    state.name,
                    state.wanted_partitions,
                    kafka.replication,
                    topic_configs=state.topic.config(),
                )
                response = await client.create_topics([new])
                for name, code, message in response.topic_errors:
                    if code and code != 36:  # 36: somebody else created it meanwhile
                        raise BrokerUnreachable(
                            f"topic {name} could not be created: "
                            f"{message or for_code(code).__name__}"
                        )
                done.append(f"created {state.name} with {state.wanted_partitions} partitions")
                continue
            if state.partitions < state.wanted_partitions:
                await client.create_partitions({state.name: NewPartitions(state.wanted_partitions)})
                widths = f"from {state.partitions} to {state.wanted_partitions} partitions"
                done.append(f"widened {state.name} {widths}; restart the services that hear it")
            if state.differing:
                wanted = {key: value for key, (_, value) in state.differing.items()}
                # what is not named goes back to the broker's default
                own = await _settings(client, state.name, of_the_topic=True)
                resource = ConfigResource(
                    ConfigResourceType.TOPIC, state.name, configs=own | state.topic.config()
                )
                for changed in await client.alter_configs([resource]):
                    for code, message, *_ in changed.resources:
                        if code:
                            raise BrokerUnreachable(
                                f"the settings of topic {state.name} could not be changed: "
                                f"{message or for_code(code).__name__}"
                            )
                done.append(
                    f"set {', '.join(f'{k}={v}' for k, v in wanted.items())} on {state.name}"
                )
    if done:
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_WITHIN_S):
                while not all(state.right for state in await check_topics(kafka, topics)):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
    return done
