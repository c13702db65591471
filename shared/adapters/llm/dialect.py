"""What one model takes and another refuses: found out by asking, and remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

RENAMED = {"max_tokens": "max_completion_tokens"}
"""What OpenAI's reasoning models call it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a request is put for one model; by default as it is."""

    without: frozenset[str] = frozenset()
    """Fields that are left out."""
    renamed: bool = False
    system: bool = False
    """The role `developer` is called `system`."""

    def of(self, body: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        """The body of the request in this dialect."""
        said = dict(body) | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})
        said = {name: value for name, value in said.items() if name not in self.without}
        for old, new in RENAMED.items():
            if self.renamed and old in said:
                said.setdefault(new, said.pop(old))
        if self.system:
            said["messages"] = [{**turn, "role": "system"} if turn.get("role") == "developer" else turn for turn in said["messages"]]
        return said

    def after(self, named: frozenset[str], body: Mapping[str, Any], optional: frozenset[str]) -> Dialect | None:
        """The dialect to ask in after a refusal that named these fields; None: there is no other.

        Only what the sender did not ask for is left out: its own wishes are refused in the sender's face.
        """
        if not self.renamed and any(name in named and name in body and new not in body for name, new in RENAMED.items()):
            return replace(self, renamed=True)
        refused = (named & (optional | {"stream_options"})) - self.without
        if refused:
            return replace(self, without=self.without | refused)
        developer = any(turn.get("role") == "developer" for turn in body["messages"])
        if not self.system and developer and "developer" in named:
            return replace(self, system=True)
        return None
