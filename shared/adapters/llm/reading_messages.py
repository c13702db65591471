"""What Anthropic's API says, whatever it is, in the inner form. Pure, and tolerant as `reading` is:
`ModelUnreachable` is the only error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shared.adapters.errors import ModelUnreachable, Trouble
from shared.adapters.llm.reading import (
    Reader,
    failure,
    parsed,
    raise_error,
    repaired,
    unreadable,
    whole,
)
from shared.protocols.messages.answered import MessageChunks, completion_of


@dataclass(slots=True)
class MessagesReader(Reader):
    """Takes the bytes of one answer as they come, and gives chunks with Anthropic's own events."""

    _chunks_of: MessageChunks = field(default_factory=MessageChunks)

    def _end_whole(self, data: bytes) -> dict[str, Any]:
        value = parsed(data)
        if not isinstance(value, dict):
            raise unreadable()
        raise_error(value)
        if not isinstance(value.get("content"), list):
            raise unreadable()
        return whole(completion_of(repaired(value)))

    def _event(self, name: str, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        data = b"\n".join(lines).strip()
        if not data.startswith(b"{"):
            return
        try:
            value = parsed(data)
            if name == "error" or value.get("type") == "error":
                raise failure(value.get("error") or value)
            chunk = self._chunks_of.take(repaired(value))
        except ModelUnreachable:
            if self.joined.finished:  # nothing after the end costs the answer
                return
            raise
        except (TypeError, ValueError, AttributeError):
            raise unreadable() from None
        if self._chunks_of.ended:
            if self.joined.empty():
                raise ModelUnreachable("the stream ended without an answer", Trouble.failed)
            self.done = True
        if chunk is not None:
            yield self.joined.take(chunk)
