"""What services remember in Redis: JSON, so that a text may hold anything."""

from __future__ import annotations

from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

FORM = ":json"
"""Ends a key whose text is JSON. Until 2026-11-26 lines stood under the key without it, and
processes of then, which may run beside ours, read nothing else."""


class Texts(Protocol):
    """Texts by key; forgets rather than fails."""

    async def get(self, key: str, /) -> str | None: ...
    async def put(self, key: str, text: str, /) -> None: ...


class Remembered(BaseModel):
    """Something remembered under a key."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    async def recall(cls, texts: Texts, key: str) -> Self | None:
        """None: nothing is remembered, or nothing that can be read."""
        text = await texts.get(key + FORM)
        if text is None:
            older = await texts.get(key)
            return None if older is None else cls.older(older.split("\n", 2))
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    @classmethod
    def older(cls, lines: list[str]) -> Self | None:
        """From lines, as until 2026-11-26: three of them, the last with all that follows."""
        raise NotImplementedError

    async def keep(self, texts: Texts, key: str) -> None:
        """Remember it."""
        await texts.put(key + FORM, self.model_dump_json())


def keys_of(key: str) -> tuple[str, str]:
    """Under which something may be remembered."""
    return key, key + FORM
