"""How the edge gathers records and publishes the results, without a broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    UnsupportedCodecError,
)
from support import described, embedded, submitted

from shared.adapters import retrying
from shared.adapters.errors import BrokerUnreachable, EncoderInvalid, SessionLost
from shared.adapters.kafka.client import BATCH_BYTES
from shared.adapters.kafka.edge import Edge, Stage
from shared.adapters.kafka.following import Following
from shared.adapters.kafka.replies import Replies
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import Work
from shared.adapters.kafka.standing import Standing, Waiting
from shared.adapters.telemetry import UNREAD, TelemetrySettings
from shared.contracts.errors import ContractError
from shared.contracts.flow import Flow
from shared.contracts.messages import Described, Embedded, to_json
from shared.contracts.topics import DEAD_LETTERS, DESCRIPTIONS, EMBEDDINGS, REPLIES, TOPICS
from shared.contracts.wishes import ReplyTo

PART = TopicPartition("descriptions", 0)


class Producer:
    """Takes records; those that `refuse` names by key fail, the first time or always."""

    def __init__(self, once: Sequence[bytes] = (), always: Sequence[bytes] = ()) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self._once, self._always = set(once), set(always)

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes = b"", **_: Any
    ) -> asyncio.Future[Any]:
        if topic == EMBEDDINGS.name and key in self._always:
            raise MessageSizeTooLargeError
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if key in self._once:
            self._once.discard(key)
            done.set_exception(KafkaTimeoutError())
        else:
            self.sent.append((topic, key))
            done.set_result(None)
        return done


def record(number: int) -> ConsumerRecord:
    message = described(submitted().model_copy(update={"request_id": f"r-{number}"}))
    return ConsumerRecord(
        "descriptions", 0, number, 0, 0, message.key, to_json(message), None, 0, 0, ()
    )


async def work(batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
    return [ContractError("no good") if m.request_id == "r-3" else embedded(m) for m in batch]


def edge(
    producer: Producer,
    window_s: float = 0.0,
    work: Work[Described, Embedded] = work,
    *,
    replies: bool = False,
) -> Edge[Described, Embedded]:
    flow = Flow("embedder", "", hears=DESCRIPTIONS, says=(EMBEDDINGS,), replies=replies)
    stage = Stage(flow, work, window_s=window_s)
    made: Edge[Described, Embedded] = Edge(stage, KafkaSettings(), TelemetrySettings())
    made.outbox.publisher = producer  # type: ignore[assignment]
    return made


def failing(error: Exception) -> Work[Described, Embedded]:
    """Work that fails with this, whatever it is given."""

    async def fail(batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        raise error

    return fail


async def test_a_lone_record_waits_only_while_others_come() -> None:
    crowded, alone = edge(Producer(), window_s=0.05), edge(Producer(), window_s=0.05)
    crowded.intake.mean_gap_s, alone.intake.mean_gap_s = 0.001, 1.0
    taken = []
    for made in (crowded, alone):
        made.intake.put(record(0))
        made.intake.mean_gap_s = 0.001 if made is crowded else 1.0
        task = asyncio.create_task(made.intake.next())
        await asyncio.sleep(0.01)
        made.intake.put(record(1))
        taken.append(len(await task))
    assert taken == [2, 1]


async def test_each_record_of_a_batch_ends_in_its_own_way() -> None:
    """Published, published at the second try, too large and so a dead letter, refused by the work
    and so a dead letter."""
    producer = Producer(once=[b"r-1"], always=[b"r-2"])
    made = edge(producer)
    for number in range(4):
        made.intake.put(record(number))
    await made.run(await made.intake.next())
    assert sorted(producer.sent) == [
        (DEAD_LETTERS.name, b"r-2"),
        (DEAD_LETTERS.name, b"r-3"),
        (EMBEDDINGS.name, b"r-0"),
        (EMBEDDINGS.name, b"r-1"),
    ]
    assert made.progress.uncommitted() == {PART: 4}
    assert made.progress.in_flight == 0


async def test_a_record_that_is_not_acknowledged_is_handed_over_again_at_every_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 0.001)

    class Stubborn(Producer):
        handed_over = 0

        async def send(self, *given: Any, **more: Any) -> asyncio.Future[Any]:
            self.handed_over += 1
            if self.handed_over <= 3:
                self._once.add(b"r-1")
            return await super().send(*given, **more)

    producer = Stubborn()
    made = edge(producer)
    made.intake.put(record(1))
    await made.run(await made.intake.next())
    assert producer.handed_over == 4
    assert producer.sent == [(EMBEDDINGS.name, b"r-1")]


async def test_what_was_taken_of_a_lost_partition_is_left_to_others() -> None:
    producer = Producer()
    made = edge(producer)
    made.intake.put(record(0))
    batch = await made.intake.next()
    made.progress.drop([PART])
    await made.run(batch)
    assert producer.sent == []


async def test_a_record_takes_with_it_what_was_fetched_and_never_more_than_there_is_room_for() -> (
    None
):
    made = edge(Producer())
    waiting = [record(number) for number in range(1, 400)]

    class Consumer:
        async def getmany(
            self, part: TopicPartition, *, timeout_ms: int, max_records: int
        ) -> dict[TopicPartition, list[ConsumerRecord]]:
            assert (part, timeout_ms) == (PART, 0)
            found, waiting[:] = waiting[:max_records], waiting[max_records:]
            return {PART: found} if found else {}

    made.consume_with(Consumer)
    await made.intake.take(record(0))
    assert len(made.intake.queue) == made.intake.capacity
    blocked = asyncio.create_task(made.intake.take(waiting.pop(0)))
    await asyncio.sleep(0.01)
    assert not blocked.done(), "there is no room"
    await made.run(await made.intake.next())
    await asyncio.wait_for(blocked, 5)
    assert len(made.intake.queue) == made.stage.batch + made.stage.batch, (
        "what was done made room, and no more was taken"
    )


@pytest.mark.parametrize("lost", [False, True])
async def test_a_record_that_waits_for_room_is_dropped_if_its_partition_goes(lost: bool) -> None:
    made = edge(Producer())
    for number in range(made.intake.capacity):
        made.intake.put(record(number))
    blocked = asyncio.create_task(made.intake.take(record(made.intake.capacity)))
    await asyncio.sleep(0)
    if lost:
        made.progress.drop([PART])
        made.moved.set()
    await made.run(await made.intake.next())
    await asyncio.wait_for(blocked, 5)
    assert [t.record.offset for t in made.intake.queue][-1] == made.intake.capacity - lost


async def test_what_can_not_be_read_is_not_passed_over() -> None:
    """aiokafka has moved on by then: from behind what was taken it is asked again, one record at a
    time."""
    made, sought = edge(Producer()), []

    class Consumer:
        async def getmany(
            self, part: TopicPartition, **_: int
        ) -> dict[TopicPartition, list[ConsumerRecord]]:
            raise UnsupportedCodecError

        def seek(self, part: TopicPartition, offset: int) -> None:
            sought.append((part, offset))

    made.consume_with(Consumer)
    await made.intake.take(record(7))
    assert len(made.intake.queue) == 1
    assert sought == [(PART, 8)]


class Broken:
    """A consumer whose fetches fail this many times, one way after another, before a record
    comes."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def getone(self) -> ConsumerRecord:
        if self.errors:
            raise self.errors.pop(0)
        return record(1)


async def test_whatever_a_fetch_fails_with_is_told_and_the_next_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.adapters.kafka.fetching.AGAIN_S", 0.0)
    made = edge(Producer())
    before = UNREAD.labels("embedder", "RuntimeError")._value.get()
    errors = (
        UnsupportedCodecError(),
        CorruptRecordException(),
        RuntimeError("zstd"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "key"),
    )
    assert (await made.fetching.record(Broken(*errors))).offset == 1
    assert UNREAD.labels("embedder", "RuntimeError")._value.get() == before + 1
    assert made.fetching.error == "UnicodeDecodeError"
    with pytest.raises(ConsumerStoppedError):
        await made.fetching.record(Broken(ConsumerStoppedError()))


async def test_what_is_raised_while_a_record_is_read_or_written_is_its_own_dead_letter() -> None:
    def receive(one: ConsumerRecord) -> Described:
        if one.offset == 1:
            raise OverflowError("a time that no date has")
        return described(submitted().model_copy(update={"request_id": f"r-{one.offset}"}))

    class Unwritable(Embedded):
        def model_dump_json(self, **_: Any) -> str:
            raise ValueError("surrogates not allowed")

    async def work(batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        return [
            Unwritable.model_construct(**dict(embedded(m)))
            if m.request_id == "r-2"
            else embedded(m)
            for m in batch
        ]

    producer = Producer()
    made = edge(producer, work=work)
    made.stage = replace(made.stage, receive=receive)
    for number in range(4):
        made.intake.put(record(number))
    await made.run(await made.intake.next())
    assert (
        sorted(topic for topic, _ in producer.sent)
        == [DEAD_LETTERS.name] * 2 + [EMBEDDINGS.name] * 2
    )
    assert made.progress.uncommitted() == {PART: 4}


async def test_headers_without_a_value_cost_nothing_with_tracing_and_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Tracing:
        def taken(self, headers: Any, *_: Any) -> None:
            raise AttributeError("whatever a header does to it")

    for live in (lambda: None, Tracing):
        monkeypatch.setattr("shared.adapters.kafka.intake.tracing.live", live)
        producer = Producer()
        made = edge(producer)
        made.intake.put(replace(record(0), headers=(("traceparent", None), ("tracestate", None))))
        await made.run(await made.intake.next())
        assert [topic for topic, _ in producer.sent] == [EMBEDDINGS.name]
        assert made.progress.in_flight == 0


class Topic:
    """A consumer's view of three partitions."""

    def __init__(self, there: set[int]) -> None:
        self.there = there

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self.there

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if any(part.partition not in self.there for part in offsets):
            await asyncio.sleep(60)


async def test_partitions_that_are_gone_are_let_go_of_so_that_the_others_are_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.adapters.kafka.offsets.COMMIT_WITHIN_S", 0.05)
    made, topic = edge(Producer()), Topic({0, 1})
    made.consume_with(lambda: topic)
    for partition in (0, 1, 5):
        lane = made.progress.lane(TopicPartition("descriptions", partition))
        lane.take(3)
        lane.done(3)
    await made.offsets.commit()
    assert {part.partition for part in made.progress} == {0, 1}
    await made.offsets.commit()
    assert made.progress.uncommitted() == {}


def test_a_partition_is_stalled_when_records_wait_and_nothing_is_committed() -> None:
    now = [0.0]
    standing: Standing[str] = Standing(60, clock=lambda: now[0])
    told = []
    for seconds, offset, behind in (
        (0, 5, 0),
        (100, 5, 0),
        (110, 5, 3),
        (150, 5, 9),
        (165, 6, 8),
        (220, 6, 8),
        (226, 6, 8),
        (230, 7, 0),
        (400, 7, 0),
    ):
        now[0] = seconds
        told.append(bool(standing.look({"a": Waiting(offset, behind)})))
    assert told == [False] * 6 + [True] + [False] * 2, "time without lag does not count"
    standing.look({"b": Waiting(None, None)})
    now[0] += 61
    assert standing.look({"b": Waiting(None, None)}), "nor may nothing be known of it"
    assert not standing.look({})


async def test_a_dead_letter_that_is_refused_ends_the_service() -> None:
    class Full(Producer):
        async def send(
            self, topic: str, value: bytes | None, *, key: bytes = b"", **_: Any
        ) -> asyncio.Future[Any]:
            raise MessageSizeTooLargeError

    made = edge(Full())
    made.intake.put(record(3))
    with pytest.raises(MessageSizeTooLargeError):
        await made.run(await made.intake.next())
    assert made.progress.uncommitted() == {}
    assert isinstance(made.liveness.failed, MessageSizeTooLargeError)


def test_no_topic_takes_less_than_a_batch() -> None:
    assert min(int(topic.config()["max.message.bytes"]) for topic in TOPICS.values()) >= BATCH_BYTES


async def test_what_is_unreachable_is_waited_for_and_makes_no_dead_letters() -> None:
    away = [BrokerUnreachable("away"), KafkaTimeoutError()]

    async def sometimes(batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        if away:
            raise away.pop()
        return await work(batch)

    producer = Producer()
    made = edge(producer, work=sometimes)
    made.intake.put(record(0))
    await made.run(await made.intake.next())
    assert producer.sent == [(EMBEDDINGS.name, b"r-0")]
    assert made.liveness.failed is None


async def test_what_kafka_refuses_for_good_is_the_records_own_fault() -> None:
    producer = Producer()
    made = edge(producer, work=failing(MessageSizeTooLargeError()))
    made.intake.put(record(0))
    await made.run(await made.intake.next())
    assert producer.sent == [(DEAD_LETTERS.name, b"r-0")]
    assert made.liveness.failed is None


async def test_an_encoder_that_fails_on_anything_ends_the_service_and_makes_no_dead_letters() -> (
    None
):
    producer = Producer()
    made = edge(producer, work=failing(EncoderInvalid("the GPU is gone")))
    for number in range(3):
        made.intake.put(record(number))
    with pytest.raises(EncoderInvalid):
        await made.run(await made.intake.next())
    assert isinstance(made.liveness.failed, EncoderInvalid)
    assert producer.sent == []
    assert made.progress.uncommitted() == {}


async def test_replies_that_are_not_taken_hold_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.kafka.outbox.REPLY_WITHIN_S", 0.05)
    tried: list[bytes] = []

    class NoReplies(Producer):
        async def send(
            self, topic: str, value: bytes | None, *, key: bytes = b"", **more: Any
        ) -> asyncio.Future[Any]:
            if topic == REPLIES.name:
                tried.append(key)
                raise KafkaTimeoutError
            return await super().send(topic, value, key=key, **more)

    producer = NoReplies()
    made = edge(producer, replies=True)
    for number in range(2):
        asked = record(number)
        message = described(
            submitted(reply_to=ReplyTo(topic=REPLIES.name, partition=0, described=True)).model_copy(
                update={"request_id": f"r-{number}"}
            )
        )
        made.intake.put(replace(asked, value=to_json(message)))
        await made.run(await made.intake.next())
    assert producer.sent == [(EMBEDDINGS.name, b"r-0"), (EMBEDDINGS.name, b"r-1")]
    assert set(tried) == {b"r-0"}, "after one that was not taken the next is not tried at once"
    assert made.liveness.failed is None
    assert made.progress.uncommitted() == {PART: 2}


async def test_work_is_not_begun_for_what_is_anothers_by_then() -> None:
    made = edge(Producer())
    made.intake.put(record(0))
    batch = await made.intake.next()
    assert all(taken.ours for taken in batch)
    made.progress.drop([PART])
    assert not any(taken.ours for taken in batch)


async def test_a_record_that_can_not_be_learnt_from_keeps_nobody_from_the_others() -> None:
    learnt: list[int] = []

    def learn(_topic: Any, one: ConsumerRecord) -> None:
        if one.offset == 1:
            raise OverflowError("a vector of another world")
        learnt.append(one.offset)

    following = Following(KafkaSettings(), (DESCRIPTIONS,), learn)
    await following._tell(PART, [record(number) for number in range(3)], None)
    assert learnt == [0, 2]
    assert following.positions == {"descriptions-0": 3}


async def test_a_reply_without_a_value_is_no_decision() -> None:
    replies = Replies(KafkaSettings())
    with replies.expecting("r") as expected:
        replies._take(b"r", b"", None)
        assert not expected.decided.done()


class Whole:
    """A consumer of one partition: a fetch that fails, two records, and the end of a transaction
    behind them."""

    def __init__(self) -> None:
        self.fetches, self.at = 0, 0

    def seek(self, _part: TopicPartition, offset: int) -> None:
        self.at = offset

    async def getmany(
        self, *_parts: TopicPartition, **_: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        self.fetches += 1
        if self.fetches == 1:
            raise CorruptRecordException
        found, self.at = ([record(0), record(1)], 3) if self.fetches == 2 else ([], self.at)
        await asyncio.sleep(0)
        return {PART: found}

    def assignment(self) -> set[TopicPartition]:
        return {PART}

    async def end_offsets(self, parts: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {PART: 3}

    async def beginning_offsets(self, parts: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {PART: 0}


async def test_a_reader_of_a_whole_topic_goes_on_past_a_fetch_that_fails_and_the_end_of_a_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer, learnt = Whole(), list[int]()

    @asynccontextmanager
    async def reading(*_: Any, **__: Any) -> AsyncIterator[Whole]:
        yield consumer

    monkeypatch.setattr("shared.adapters.kafka.following.reader", reading)
    monkeypatch.setattr("shared.adapters.kafka.following.position", lambda one, _part: one.at)
    monkeypatch.setattr("shared.adapters.kafka.following.AGAIN_S", 0.0)
    following = Following(
        KafkaSettings(), (DESCRIPTIONS,), lambda _topic, one: learnt.append(one.offset)
    )
    task = asyncio.create_task(following.run())
    async with asyncio.timeout(5):
        await following.caught_up.wait()
    task.cancel()
    assert learnt == [0, 1]
    assert following.positions == {"descriptions-0": 3}


async def test_a_partition_that_can_not_be_read_takes_nothing_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As aiokafka does it: by the time the bad one raises, the good one has moved on."""
    good, bad = PART, TopicPartition(PART.topic, 1)

    class Partly:
        at: ClassVar[dict[TopicPartition, int]] = {good: 0, bad: 0}

        def seek(self, part: TopicPartition, offset: int) -> None:
            self.at[part] = offset

        async def getmany(
            self, *parts: TopicPartition, **_: int
        ) -> dict[TopicPartition, list[ConsumerRecord]]:
            wanted = parts or (good, bad)
            found = [record(n) for n in range(self.at[good], 2)] if good in wanted else []
            if good in wanted:
                self.at[good] = 2
            if bad in wanted:
                raise CorruptRecordException
            return {good: found} if found else {}

    monkeypatch.setattr("shared.adapters.kafka.following.AGAIN_S", 0.0)
    learnt: list[int] = []
    following = Following(
        KafkaSettings(), (DESCRIPTIONS,), lambda _topic, one: learnt.append(one.offset)
    )
    following.positions = {"descriptions-0": 0, "descriptions-1": 0}
    consumer = Partly()
    for _ in range(3):
        for part, records in (await following._fetched(consumer, [bad, good])).items():
            await following._tell(part, records, None)
    assert learnt == [0, 1]
    assert consumer.at == {good: 2, bad: 0}


async def test_what_was_handed_over_before_a_pause_is_not_written_after_it() -> None:
    made = edge(Producer())
    made.liveness.may_write()
    made.liveness.running = True
    made.liveness.alive_at = time.monotonic()
    made.liveness.may_write()
    made.liveness.alive_at -= KafkaSettings().session_timeout_ms / 1000 + 1
    with pytest.raises(SessionLost):
        made.liveness.may_write()
    made.liveness.running = False
    made.liveness.alive_at = time.monotonic()
    with pytest.raises(SessionLost):
        made.liveness.may_write()
    healthy = edge(Producer())
    healthy.liveness.alive_at = time.monotonic() - 3600
    healthy.liveness.may_write()  # before it begins, and while it ends, a pause does not count
