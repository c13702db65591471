"""The one owner of every Kafka edge: from a topic, through a service's work, to the next topic.

A record is committed only after its results are acknowledged by all in-sync replicas. A record that
is wrong goes to `dead-letters`, and the partition goes on. What may recover by itself (an
unreachable broker) is waited for. Records are worked on in batches of what is waiting; an offset is
never committed beyond a record that is not done. Records with the same key stay in order.

Nothing stalls in silence: what is raised while a record is taken becomes its dead letter; what is
raised while records are fetched is logged; and a partition whose committed offset does not move
while records wait is named, counted, and makes the service not ready.

    intake     1. takes records, as many as there is room for
    edge       2. has them worked on, batch by batch
    outbox     3. publishes what came of them
    offsets    4. commits
    liveness      the session, readiness, and when to give up
    faststream    the consumer
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Generic, cast

from aiokafka import ConsumerRebalanceListener, TopicPartition
from faststream import FastStream

from shared.adapters.errors import (
    BrokerUnreachable,
    CacheUnreachable,
    EncoderInvalid,
    TopicsMissing,
)
from shared.adapters.kafka.client import LOOK_EVERY_S, producer, require_topics
from shared.adapters.kafka.doorbell import attend
from shared.adapters.kafka.faststream import leave, subscribe
from shared.adapters.kafka.fetching import Fetching
from shared.adapters.kafka.intake import Intake
from shared.adapters.kafka.liveness import Liveness
from shared.adapters.kafka.offsets import Offsets
from shared.adapters.kafka.outbox import PUBLISH_WITHIN_S, Outbox, Outgoing, kafka_may_pass
from shared.adapters.kafka.progress import Progress
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import In, Out, Outcome, Record, Stage, Taken
from shared.adapters.retrying import patiently
from shared.adapters.telemetry import (
    BATCH,
    IN_FLIGHT,
    LAG,
    RECORDS,
    SECONDS,
    TelemetrySettings,
    log,
    where,
)
from shared.contracts.errors import ContractError
from shared.contracts.messages import read
from shared.contracts.topics import PROMPTS
from shared.routing.errors import RoutingError

__all__ = ["Edge", "Record", "Stage", "connect"]

COMMIT_EVERY_S = 0.2
MEASURE_LAG_EVERY_S = 1.0
LOOK_FOR_PROMPTS_EVERY_S = 0.25
"""Prompts come from programs that do not ring."""
DRAIN_WITHIN_S = 8.0
ATTEMPTS = 3
"""How often a record is tried that makes the work fail in a way nobody foresaw."""
PASSING = (BrokerUnreachable, CacheUnreachable, TopicsMissing)
"""What work may fail with, beside Kafka's own errors, that is worth waiting for."""


class Edge(ConsumerRebalanceListener, Generic[In, Out]):
    """The running half of a `Stage`. Made by `connect`."""

    def __init__(
        self, stage: Stage[In, Out], kafka: KafkaSettings, telemetry: TelemetrySettings
    ) -> None:
        self.stage = stage
        self.kafka = kafka
        self.telemetry = telemetry
        self.progress: Progress[TopicPartition] = Progress()
        self.moved = asyncio.Event()
        self.to_commit = asyncio.Event()
        """Set whenever there is something to commit."""
        self.intake: Intake[In] = Intake(stage, telemetry, self.progress, self.moved)
        self.offsets = Offsets(kafka, stage.consumes, self.progress, self.moved)
        self.liveness = Liveness(stage, kafka, telemetry)
        self.outbox = Outbox(stage, kafka, self.liveness)
        self.fetching = Fetching(stage.service, stage.consumes.name, telemetry)
        self.turns: dict[bytes, asyncio.Future[None]] = {}
        """By key: the batch that has records of it under way."""

    def consume_with(self, consumer: Callable[[], Any]) -> None:
        """Say where the consumer is found; FastStream makes it when it starts."""
        self.intake.consumer = self.offsets.consumer = consumer

    # working

    async def work(self) -> None:
        """Work on one batch after another, for good."""
        while True:
            batch = await self.intake.next()
            turn = asyncio.get_running_loop().create_future()
            await self._in_turn(batch, turn)
            try:
                if ours := [taken for taken in batch if taken.ours]:
                    await self.run(ours)
            finally:
                turn.set_result(None)
                for taken in batch:
                    key = taken.record.key
                    if key is not None and self.turns.get(key) is turn:
                        del self.turns[key]

    async def _in_turn(self, batch: list[Taken[In]], turn: asyncio.Future[None]) -> None:
        """With several workers, wait for those that have records of the same keys."""
        if self.stage.workers > 1:
            keys = {taken.record.key for taken in batch if taken.record.key is not None}
            earlier = {self.turns[key] for key in keys if key in self.turns}
            self.turns |= dict.fromkeys(keys, turn)
            if earlier:
                await asyncio.wait(earlier)

    async def run(self, batch: list[Taken[In]]) -> None:
        """Work on a batch and publish the results."""
        BATCH.labels(self.stage.service).observe(len(batch))
        readable = [taken for taken in batch if self._read(taken)]
        outcomes = await self._outcomes(readable) if readable else []
        unreadable = [taken for taken in batch if taken.message is None]
        await self._finish(
            [
                *zip(readable, outcomes, strict=True),
                *((taken, ContractError(taken.error or "")) for taken in unreadable),
            ]
        )
        IN_FLIGHT.labels(self.stage.service).set(self.progress.in_flight)

    def _read(self, taken: Taken[In]) -> bool:
        try:
            receive = self.stage.receive or self._receive
            taken.message = receive(taken.record)
        except (ContractError, RoutingError) as error:
            taken.error = str(error)
        except Exception as error:  # whatever is wrong with one record is its own fault alone
            log.error("a record can't be read", error=where(error, self.telemetry))
            taken.error = (
                f"internal error ({type(error).__name__}) while the record was read; the service's "
                "log says where"
            )
        return taken.message is not None

    def _receive(self, record: Record) -> In:
        return read(cast("type[In]", self.stage.consumes.message), record.value)

    async def _outcomes(self, batch: list[Taken[In]]) -> Sequence[Outcome[Out]]:
        """The results of each; where the work fails as a whole, each record is tried alone, so that
        one can't spoil the others.

        An outside failure is no record's fault. An unreachable broker or cache is waited for. An
        encoder that fails on every text is left to a restart."""
        try:
            return await self._worked_on(batch)
        except Exception as error:
            if isinstance(error, EncoderInvalid) or _may_pass(error):
                self.liveness.fail(error)
                raise
            log.error("work failed", error=where(error, self.telemetry), records=len(batch))
            kind = type(error).__name__
        if len(batch) > 1:
            return [(await self._outcomes([taken]))[0] for taken in batch]
        taken = batch[0]
        if taken.attempts >= ATTEMPTS:
            text = f"internal error ({kind}), {ATTEMPTS} times; the service's log says where"
            return [ContractError(text)]
        taken.attempts += 1
        await asyncio.sleep(random.uniform(0, 0.1 * 2**taken.attempts))
        return await self._outcomes(batch)

    async def _worked_on(self, batch: list[Taken[In]]) -> Sequence[Outcome[Out]]:
        """The work's results, tried again while something outside is unreachable."""
        messages = [taken.message for taken in batch if taken.message is not None]
        return await patiently(lambda: self.stage.work(messages), _may_pass, PUBLISH_WITHIN_S)

    # publishing and committing

    async def _finish(self, worked_on: Iterable[tuple[Taken[In], Outcome[Out]]]) -> None:
        """Publish the results of a batch, and note which records are done."""
        ended: list[tuple[Taken[In], Outcome[Out], list[Outgoing]]] = []
        for taken, outcome in worked_on:
            if taken.ours:
                ended.append((taken, *self._written(taken, outcome)))
        published = [record for _, _, outgoing in ended for record in outgoing]
        await self.outbox.publish(published)
        await self.outbox.reply(published)
        for taken, outcome, outgoing in ended:
            refused = next((record.refused for record in outgoing if record.refused), None)
            if refused is None:
                self._done(taken, outcome)
            elif isinstance(outcome, Exception):
                # not even as a dead letter: an operator has to see to that topic
                self.liveness.fail(refused)
                raise refused
            else:
                size = max(len(record.value) for record in outgoing)
                text = (
                    f"with what {self.stage.service} adds it has {size} bytes, more than the topic "
                    "takes"
                )
                await self._finish([(taken, ContractError(text))])

    def _written(
        self, taken: Taken[In], outcome: Outcome[Out]
    ) -> tuple[Outcome[Out], list[Outgoing]]:
        """The results of a record, as they are published; what can't be written becomes the
        record's dead letter."""
        try:
            return outcome, self.outbox.outgoing(taken, outcome)
        except Exception as error:
            log.error(
                "the results of a record can't be written", error=where(error, self.telemetry)
            )
            text = (
                f"internal error ({type(error).__name__}): its results can't be written; the "
                "service's log says where"
            )
            return ContractError(text), [self.outbox.dead_letter(taken, text)]

    def _done(self, taken: Taken[In], outcome: Outcome[Out]) -> None:
        if isinstance(outcome, Exception):
            kind = "dead_letter"
        else:
            kind = "passed" if isinstance(outcome, Sequence) and not outcome else "published"
        if taken.span is not None and isinstance(outcome, Exception):
            taken.span.failed("dead letter")
        elif taken.span is not None:
            taken.span.done(outcome if isinstance(outcome, Sequence) else (outcome,))
        taken.lane.done(taken.record.offset)
        RECORDS.labels(self.stage.service, kind).inc()
        SECONDS.labels(self.stage.service).observe(time.monotonic() - taken.at)
        self.moved.set()
        self.to_commit.set()

    async def commit_often(self) -> None:
        """Commit, for good, what is done by then."""
        while True:
            await self.to_commit.wait()
            await asyncio.sleep(COMMIT_EVERY_S)
            self.to_commit.clear()
            if not await self.offsets.commit():
                self.to_commit.set()

    async def measure_lag(self) -> None:
        """Keep the gauge of the lag up to date, for good."""
        while True:
            await asyncio.sleep(MEASURE_LAG_EVERY_S)
            LAG.labels(self.stage.service).set(self.offsets.lag())

    # partitions come and go

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish what was taken from these partitions, commit, and let go of them."""
        lanes = [self.progress[part] for part in revoked if part in self.progress]
        await self._until(lambda: all(lane.idle for lane in lanes))
        await self.offsets.commit()
        self.progress.drop(revoked)
        self.moved.set()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Take note of it."""
        self.liveness.joined(len(assigned))

    # beginning and end

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Open before the consumer starts; on leaving, wait for what was taken, commit it, and
        close."""
        self.outbox.publisher = await producer(self.kafka, self.liveness.may_write)
        try:
            await require_topics(self.kafka, self.stage.flow.needed)
            first = self.stage.consumes is PROMPTS
            look_s = LOOK_FOR_PROMPTS_EVERY_S if first else LOOK_EVERY_S
            loops = [
                *(self.work() for _ in range(self.stage.workers)),
                self.commit_often(),
                self.measure_lag(),
                attend(self.offsets.consumer, self.kafka.doorbell, look_s),
                self.liveness.beat(),
                self.liveness.watch(self.offsets, self.fetching),
            ]
            self.liveness.alive_at = time.monotonic()
            self.liveness.running = True
            tasks = [asyncio.create_task(loop) for loop in loops]
            for task in tasks:
                task.add_done_callback(self._ended)
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self.liveness.running = False
        finally:
            await self.outbox.publisher.stop()

    async def drain(self) -> None:
        """Take nothing more, finish what was taken, commit it. The consumer is still there."""
        self.intake.draining = self.liveness.draining = True
        self.liveness.say_ready()
        self.moved.set()
        await self._until(lambda: self.progress.in_flight == 0)
        await self.offsets.commit()
        leave(self.offsets.consumer())
        log.info("drained", unfinished=self.progress.in_flight)

    async def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DRAIN_WITHIN_S
        while not condition() and time.monotonic() < deadline and self.liveness.failed is None:
            self.moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.moved.wait(), 0.05)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.liveness.fail(error)


def _may_pass(error: Exception) -> bool:
    """Whether what the work failed with is outside and may pass. What Kafka refuses for good is the
    record's own fault."""
    return isinstance(error, PASSING) or kafka_may_pass(error)


def connect(
    stage: Stage[In, Out],
    kafka: KafkaSettings | None = None,
    telemetry: TelemetrySettings | None = None,
) -> FastStream:
    """Wire a stage to Kafka and return the application that `faststream run --factory` and
    `pointsman run` start."""
    kafka = kafka or KafkaSettings()
    telemetry = telemetry or TelemetrySettings()
    edge: Edge[In, Out] = Edge(stage, kafka, telemetry)
    broker, consumer = subscribe(
        stage.service,
        stage.consumes,
        kafka,
        edge.fetching,
        edge,
        edge.intake.take,
        from_start=True,
    )

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(edge.running())
            if stage.lifespan is not None:
                await stack.enter_async_context(stage.lifespan())
            yield
        if edge.liveness.failed is not None:
            raise edge.liveness.failed

    app = FastStream(broker, logger=None, lifespan=lifespan, on_shutdown=[edge.drain])
    edge.consume_with(consumer)
    edge.liveness.exit = app.exit
    return app
