"""What one model takes and another refuses: found out by asking, and remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LIMITS = ("max_tokens", "max_completion_tokens")
"""The limit of an answer has two names: the second is that of OpenAI's reasoning models, which
others do not know."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a request is put for one model; by default as it is."""

    without: frozenset[str] = frozenset()
    """Fields that are left out; without `stream` the answer comes whole."""
    limit: str = ""
    """What the limit of an answer is called; empty: as the sender calls it."""
    system: bool = False
    """The role `developer` is called `system`."""

    def of(self, body: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        """The body of the request in this dialect."""
        asked = dict(body) | (
            {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        )
        left_out = self.without | ({"stream_options"} if "stream" in self.without else frozenset())
        asked = {name: value for name, value in asked.items() if name not in left_out}
        for name in LIMITS:
            if self.limit and name != self.limit and name in asked:
                asked.setdefault(self.limit, asked.pop(name))
        if "cache_control" in self.without:
            asked["messages"] = [_uncached(turn) for turn in asked["messages"]]
            if isinstance(tools := asked.get("tools"), list):
                asked["tools"] = [_unmarked(tool) for tool in tools]
        if self.system:
            asked["messages"] = [
                {**turn, "role": "system"} if turn.get("role") == "developer" else turn
                for turn in asked["messages"]
            ]
        return asked

    def after(
        self, named: frozenset[str], body: Mapping[str, Any], optional: frozenset[str]
    ) -> Dialect | None:
        """The dialect to ask in after a refusal that named these fields; None: there is no other.

        Only what the sender did not ask for is left out: its own wishes are refused in the sender's
        face.
        """
        if not self.limit and (other := _renamed(named, body, optional)):
            return replace(self, limit=other)
        ours = optional | {"stream_options", "stream", "cache_control"}
        refused = (named & ours) - self.without - set(LIMITS)
        if refused:
            return replace(self, without=self.without | refused)
        developer = any(turn.get("role") == "developer" for turn in body["messages"])
        if not self.system and developer and "developer" in named:
            return replace(self, system=True)
        return None


def _uncached(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn that says nothing of caches, which only its price depends on."""
    content = turn.get("content")
    if not isinstance(content, list):
        return dict(turn)
    return {**turn, "content": [_unmarked(part) for part in content]}


def _unmarked(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    return {name: value for name, value in part.items() if name != "cache_control"}


def _renamed(named: frozenset[str], body: Mapping[str, Any], optional: frozenset[str]) -> str:
    """The other name of the limit, where its name is refused: where both are named, or where it is
    ours.

    A sender's limit that is too large is named, too, and must not be lost under a name that is
    passed over.
    """
    for name, other in (LIMITS, LIMITS[::-1]):
        if (
            name in named
            and name in body
            and other not in body
            and (other in named or name in optional or "unsupported" in named)
        ):
            return other
    return ""
