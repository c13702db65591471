"""Publishing the results of records: to the next topic, to `dead-letters`, and to askers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from shared.adapters.kafka.client import Publisher
from shared.adapters.kafka.liveness import Liveness
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import Keyed, Outcome, Stage, Taken
from shared.adapters.retrying import patiently
from shared.adapters.telemetry import log
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.messages import Decided, Submitted, to_json
from shared.contracts.topics import DEAD_LETTERS, PART_HEADER, REPLIES, Topic

PUBLISH_WITHIN_S = 120.0
"""How long a broker may refuse what is published before the service gives up and leaves restarting
to its supervisor."""
REPLY_WITHIN_S = 5.0
"""How long a reply may take to be acknowledged; its decision is published by then, and is not held
up."""
NO_REPLIES_S = 15.0
"""How long no further replies are tried after one that was not taken."""
REFUSALS = (MessageSizeTooLargeError, ValueError, AssertionError)
"""aiokafka's permanent errors: trying again won't help (a record too large, no such partition)."""
TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage"})


@dataclass(slots=True)
class Outgoing:
    """A record to be published."""

    topic: Topic
    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    message: Keyed | None = None
    sent: asyncio.Future[Any] | None = None
    refused: Exception | None = None
    """Why it will never be taken."""


@dataclass(slots=True)
class Outbox:
    """Publishes for one stage."""

    stage: Stage[Any, Any]
    kafka: KafkaSettings
    liveness: Liveness
    publisher: Publisher = field(init=False)
    no_replies_until: float = 0.0

    def outgoing(self, taken: Taken[Any], outcome: Outcome[Any]) -> list[Outgoing]:
        """What is to be published for one record."""
        if isinstance(outcome, Exception):
            return [self.dead_letter(taken, str(outcome))]
        headers = [
            (name, text)
            for name, text in taken.record.headers
            if name in TRACE_HEADERS and text is not None
        ]
        if taken.span is not None:
            ours = taken.span.headers()
            headers = ours + [(name, text) for name, text in headers if name not in dict(ours)]
        messages = outcome if isinstance(outcome, Sequence) else (outcome,)
        topic = self.stage.publishes
        return [Outgoing(topic, to_json(m), m.key, headers, message=m) for m in messages]

    def dead_letter(self, taken: Taken[Any], error: str) -> Outgoing:
        """The record as it came, with what is wrong with it."""
        record = taken.record
        letter = DeadLetter(
            value=record.value,
            key=record.key,
            topic=self.stage.consumes.name,
            partition=record.partition,
            offset=record.offset,
            service=self.stage.service,
            error=error,
            attempts=taken.attempts,
            headers=tuple((name, text or b"") for name, text in record.headers),
        )
        log.warning("dead letter", id=letter.id, error=error)
        return Outgoing(DEAD_LETTERS, letter.value or b"", letter.key, list(letter.to_headers()))

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return once each is acknowledged by all replicas in sync, or has `refused` set.

        All are handed over before the first acknowledgement is waited for.
        """
        for record in records:
            with suppress(KafkaError, *REFUSALS):  # said again, and seen to, where it is waited for
                record.sent = await self._hand_over(record)
        for record in records:
            try:
                await self._acknowledged(record)
            except REFUSALS as error:
                record.refused = error

    async def _hand_over(self, record: Outgoing) -> asyncio.Future[Any]:
        self.liveness.require_session()
        return await self.publisher.send(
            self.kafka.name(record.topic),
            record.value,
            key=record.key,
            headers=record.headers,
            partition=record.partition,
        )

    async def _acknowledged(self, record: Outgoing) -> None:
        async def acknowledgement() -> None:
            sent = record.sent
            record.sent = None  # what has failed is handed over again
            await (sent or await self._hand_over(record))

        try:
            await patiently(acknowledgement, kafka_may_pass, PUBLISH_WITHIN_S)
        except REFUSALS:
            raise
        except KafkaError as error:
            self.liveness.fail(error)
            raise

    async def reply(self, published: Sequence[Outgoing]) -> None:
        """Copy what was published to those who asked for it, as far as their topic takes it. The
        original is on its topic anyway."""
        replies = [copy for one in published if (copy := self._copy(one)) is not None]
        if not replies:
            return
        error: BaseException | None = None
        if time.monotonic() < self.no_replies_until:
            error = TimeoutError()
        else:
            try:
                async with asyncio.timeout(REPLY_WITHIN_S):
                    await self.publish(replies)
            except TimeoutError as late:
                error = late
                self.no_replies_until = time.monotonic() + NO_REPLIES_S
        for copy in replies:
            if (refused := copy.refused or error) is not None:
                kind = type(refused).__name__
                log.warning("reply not sent", partition=copy.partition, error=kind)

    def _copy(self, published: Outgoing) -> Outgoing | None:
        """For the asker's partition, where one is asked for. Its header `pointsman-part` says what
        the copy is, so that nobody has to look for it in the text."""
        message = published.message
        if published.refused or not self.stage.flow.replies or not isinstance(message, Submitted):
            return None
        if message.reply_to is None:
            return None
        if not isinstance(message, Decided) and not message.reply_to.described:
            return None
        return Outgoing(
            REPLIES,
            published.value,
            message.request_id.encode(),
            [*published.headers, (PART_HEADER, self.stage.publishes.name.encode())],
            message.reply_to.partition,
        )


def kafka_may_pass(error: Exception) -> bool:
    """Whether Kafka may take later what it did not take now."""
    return isinstance(error, KafkaError) and not isinstance(error, REFUSALS)
