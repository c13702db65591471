"""Where a consumer stands in its partitions, as far as it has been told."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition


def connected(consumer: AIOKafkaConsumer) -> bool:
    """Whether any connection to a broker is open. The client library closes one whose broker has
    gone or has left a request unanswered. It opens another as soon as it can."""
    connections = consumer._client._conns.values()  # noqa: SLF001  # aiokafka tells it nowhere
    return any(connection.connected() for connection in connections)


def position(consumer: AIOKafkaConsumer, part: TopicPartition) -> int | None:
    """The offset that is fetched next; None while it is not known. aiokafka's own `position` waits
    until it is."""
    subscription = consumer._subscription.subscription  # noqa: SLF001
    if (
        subscription is None
        or subscription.assignment is None
        or part not in subscription.assignment.tps
    ):
        return None
    state = subscription.assignment.state_value(part)
    return int(state.position) if state is not None and state.has_valid_position else None


def last(consumer: AIOKafkaConsumer, part: TopicPartition) -> int | None:
    """The offset behind the last record that can be read, as the last fetch told it; None before
    that."""
    stable = consumer.last_stable_offset(part)
    end = consumer.highwater(part) if stable is None or stable < 0 else stable
    return None if end is None else int(end)
