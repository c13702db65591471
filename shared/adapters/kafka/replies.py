"""Asking over Kafka: a prompt is published, and its decision comes back on a partition of
`replies`.

Several askers may share a partition; each takes what it has asked for and leaves the rest.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError

from shared.adapters import tracing
from shared.adapters.errors import BrokerUnreachable, TopicsMissing
from shared.adapters.kafka.client import Publisher, publisher, reader
from shared.adapters.kafka.positions import connected
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.telemetry import log
from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import Decided, Submitted, read, to_json
from shared.contracts.topics import DECISIONS, PART_HEADER, PROMPTS, REPLIES, Topic
from shared.contracts.wishes import ReplyTo

AGAIN_S = 1.0


@dataclass(slots=True)
class AwaitedReply:
    """The results of one prompt, to come."""

    described: asyncio.Event = field(default_factory=asyncio.Event)
    """The describer is done; set at the latest with the decision."""
    decided: asyncio.Future[Decided] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Replies:
    """Publishes prompts and receives the results. Use inside `running`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._expected: dict[bytes, AwaitedReply] = {}
        self._out: Publisher | None = None
        self._reply_to: ReplyTo | None = None
        self._consumer: Any = None
        self.listening = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Listen while the block runs. Raises `BrokerUnreachable` or `TopicsMissing` at the start;
        later it tries again by itself."""
        async with publisher(self._kafka) as out:
            self._out = out
            parts = await out.partitions_for(self._kafka.name(REPLIES))
            if not parts:
                raise TopicsMissing(
                    f"topics that don't exist yet: {self._kafka.name(REPLIES)}. Create them with "
                    "`pointsman topics --create`"
                )
            self._reply_to = ReplyTo(
                topic=self._kafka.name(REPLIES),
                partition=random.choice(sorted(parts)),
                described=True,
            )
            task = asyncio.create_task(self._listen(self._reply_to.partition))
            try:
                await self.listening.wait()
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @property
    def heard(self) -> bool:
        """Whether replies are heard, and a broker is there."""
        there = self._consumer is not None and connected(self._consumer)
        return self.listening.is_set() and there

    @contextmanager
    def expecting(self, request_id: str) -> Generator[AwaitedReply, None, None]:
        """Keep an ear open for this request while the block runs; enter it before `send`."""
        key = request_id.encode()
        self._expected[key] = expected = AwaitedReply()
        try:
            yield expected
        finally:
            del self._expected[key]

    async def send(self, message: Submitted) -> None:
        """Publish a prompt whose decision is to come here. Raises `BrokerUnreachable`."""
        await self.publish(
            PROMPTS, to_json(message.model_copy(update={"reply_to": self._reply_to})), message.key
        )

    async def publish(
        self,
        topic: Topic,
        value: bytes,
        key: bytes,
        there: Callable[[int, int], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Put a record on its way; `there` is called with partition and offset when it is there.
        Raises `BrokerUnreachable`."""
        assert self._out is not None, "use it inside running()"
        try:
            traced = tracing.live()
            sent = await self._out.send(
                self._kafka.name(topic),
                value,
                key=key,
                headers=traced.outgoing() if traced else None,
            )
            if there is not None:
                where = await sent
                await there(where.partition, where.offset)
            else:
                sent.add_done_callback(_noted)
        except KafkaError as error:
            raise BrokerUnreachable(
                f"not published on {topic.name}: {type(error).__name__}"
            ) from None

    async def _listen(self, partition: int) -> None:
        while True:
            try:
                async with reader(
                    self._kafka, (REPLIES,), from_start=False, partition=partition
                ) as consumer:
                    self._consumer = consumer
                    self.listening.set()
                    async for record in consumer:
                        self._take(record.key or b"", record.value or b"", _part_of(record))
            except Exception as error:
                # whatever it is, who waits for replies must not wait for ever
                self.listening.clear()
                log.warning("no replies are heard; trying again", error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    def _take(self, key: bytes, value: bytes, part: str | None) -> None:
        if (expected := self._expected.get(key)) is None:
            return
        expected.described.set()
        if expected.decided.done() or part not in (None, DECISIONS.name):
            return
        with suppress(InvalidMessage):
            expected.decided.set_result(read(Decided, value))


def _part_of(record: Any) -> str | None:
    """The topic that the record is a copy of. None: a service of the version before did not say;
    then it is read, and only a decision can be read as one."""
    part = dict(record.headers).get(PART_HEADER)
    return None if part is None else part.decode("utf-8", "replace")


def _noted(sent: asyncio.Future[Any]) -> None:
    if not sent.cancelled() and (error := sent.exception()) is not None:
        log.warning("not published", error=type(error).__name__)
