"""What is FastStream's: the consumer and its life. All that touches its insides is here.

FastStream consumes; its batch subscriber sleeps a whole batch timeout when it finds nothing, so
records come one by one from aiokafka's prefetch. Publishing is aiokafka's own producer, since
FastStream's headers are text and a dead letter keeps the original bytes
(docs/decisions/0003-kafka-edge.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import ConsumerRebalanceListener
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka import Topic as FastStreamTopic
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from shared.adapters.kafka.client import FETCHER_WAKES_MS
from shared.adapters.kafka.fetching import Fetching
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.stage import Record
from shared.contracts.topics import Topic


def subscribe(
    service: str,
    topic: Topic,
    kafka: KafkaSettings,
    fetching: Fetching,
    listener: ConsumerRebalanceListener,
    take: Callable[[Record], Awaitable[None]],
    *,
    from_start: bool,
) -> tuple[KafkaBroker, Callable[[], Any]]:
    """A broker that calls `take` for each record of `topic` as a member of the service's group; and
    where its consumer is found once it has started."""
    broker = KafkaBroker(
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
    subscriber = broker.subscriber(
        FastStreamTopic(kafka.name(topic), declare=False),
        **kafka.membership(service),
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest" if from_start else "latest",
        isolation_level="read_committed",
        fetch_max_wait_ms=kafka.fetch_max_wait_ms,
        consumer_timeout_ms=FETCHER_WAKES_MS,
        max_partition_fetch_bytes=topic.max_bytes * 2,
        listener=listener,
        no_reply=True,
        parser=_parsed,
        decoder=_decoded,
    )

    async def handler(record: Record) -> None:
        await take(record)

    subscriber(handler)  # not a bound method: FastStream prints it, and with it its object
    subscriber.get_msg = fetching.record
    return broker, lambda: subscriber.consumer


def leave(consumer: Any) -> None:
    """Say goodbye when `consumer` stops, also if it has a name, since a member that ends in order
    does not come back under it. The client library leaves the partitions of a named member
    unassigned until its session ends."""
    if consumer is not None:
        # what aiokafka asks before it says goodbye; it has no public way
        consumer._coordinator._group_instance_id = None  # noqa: SLF001


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


async def _parsed(record: Record) -> KafkaMessage:
    """FastStream's own parser decodes headers as UTF-8 and fails on a foreign producer's bytes."""
    return KafkaMessage(
        body=record.value or b"",
        raw_message=record,
        message_id=f"{record.partition}-{record.offset}",
        consumer=FAKE_CONSUMER,
    )


async def _decoded(message: KafkaMessage) -> Record:
    return message.raw_message
