"""The message on `dead-letters`: a record that a service could not take, as it came.

Its value and key are the original bytes, so nothing is lost and any tool can read it; everything
else stands in headers, beside the headers that the record had.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Headers = tuple[tuple[str, bytes], ...]

PREFIX = "pointsman-dead-letter-"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that `service` gave up on."""

    value: bytes | None
    key: bytes | None
    topic: str
    """Without the installation's prefix."""
    partition: int
    offset: int
    service: str
    error: str
    """What was wrong with it; never quotes it."""
    attempts: int
    headers: Headers = ()
    """The record's own."""

    @property
    def id(self) -> str:
        """Names it for good: where the record came from."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    def to_headers(self) -> Headers:
        details = {
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "service": self.service,
            "error": self.error,
            "attempts": str(self.attempts),
        }
        return (*self.headers, *((PREFIX + name, text.encode()) for name, text in details.items()))

    @classmethod
    def of(
        cls, value: bytes | None, key: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> DeadLetter | None:
        """Read one back from a record of `dead-letters`; None if another program put something else
        there."""
        original = tuple((name, text) for name, text in headers if not name.startswith(PREFIX))
        details = {
            name.removeprefix(PREFIX): (text or b"").decode(errors="replace")
            for name, text in headers
            if name.startswith(PREFIX)
        }
        try:
            return cls(
                value=value,
                key=key,
                topic=details["topic"],
                partition=int(details["partition"]),
                offset=int(details["offset"]),
                service=details["service"],
                error=details["error"],
                attempts=int(details["attempts"]),
                headers=original,
            )
        except (KeyError, ValueError):
            return None
