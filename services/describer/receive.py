"""A producer's record as a message, where what is wrong with it is found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.contracts.errors import InvalidMessage
from shared.contracts.messages import Submitted, read, unknown_fields


def receive(value: bytes | None, place: str, written_at: datetime, replies: str) -> Submitted:
    """The message, with the defaults that only its record knows.

    `place` names the record where it has no id; `replies` is the topic that copies go to. Raises
    `InvalidMessage`.
    """
    message = read(Submitted, value)
    defaults: dict[str, Any] = {"ignored": unknown_fields(Submitted, value or b"")}
    if not message.request_id:
        defaults["request_id"] = place
    if message.submitted_at is None:
        defaults["submitted_at"] = written_at
    if message.reply_to is not None and message.reply_to.topic != replies:
        raise InvalidMessage(f"reply_to.topic: copies go to {replies} and nowhere else")
    return message.model_copy(update=defaults)
