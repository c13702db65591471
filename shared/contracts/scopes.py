"""What a key is good for."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """What a key is good for."""

    route = "route"
    """Ask for decisions."""
    complete = "complete"
    """Have prompts answered, which costs money."""
    vote = "vote"
    """Rate answers; see the prompts that are shown for rating."""
    admin = "admin"
    """Everything, prompts and rolling back included."""
