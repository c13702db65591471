"""How a service is a member of its consumer group."""

import socket
from typing import Any

import pytest

from shared.adapters.kafka.faststream import leave
from shared.adapters.kafka.settings import KafkaSettings


def test_a_member_has_a_name_only_if_it_is_given_one() -> None:
    assert KafkaSettings(instance="").membership("embedder")["group_instance_id"] is None
    assert KafkaSettings(instance="one").membership("embedder")["group_instance_id"] == "one"
    named = KafkaSettings(instance="{host}", topic_prefix="staging.").membership("embedder")
    assert named["group_instance_id"] == socket.gethostname()
    assert named["group_id"] == "staging.pointsman-embedder"


async def test_aiokafka_says_goodbye_for_a_named_member_only_after_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The private name that `leave` takes off is the one that aiokafka looks at; a release that
    looks elsewhere fails here."""
    from aiokafka.consumer.group_coordinator import GroupCoordinator

    sent: list[Any] = []

    class Member:
        _group_instance_id, generation, group_id, member_id = "one", 3, "g", "m"

        async def _send_req(self, request: Any) -> None:
            sent.append(request)

        def reset_generation(self) -> None:
            pass

    class Consumer:
        _coordinator = Member()

    await GroupCoordinator._maybe_leave_group(Consumer._coordinator)  # type: ignore[arg-type]
    assert not sent
    leave(Consumer())
    await GroupCoordinator._maybe_leave_group(Consumer._coordinator)  # type: ignore[arg-type]
    assert len(sent) == 1
    leave(None)
