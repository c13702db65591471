"""A cluster's name: the beginning of what it stands for, on one line."""

from __future__ import annotations


def label(text: str, length: int = 80) -> str:
    """A task description as a cluster's label: one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + "…"
