"""Assumed token counts, for what has not been counted."""

from __future__ import annotations

BYTES_PER_TOKEN = 4
"""Of a prompt in UTF-8, on average over models and languages; for expected costs."""
FEWEST_BYTES_PER_TOKEN = 3
"""For bounds on what may be spent: more tokens than there will be."""
PROMPT_TOKENS = 200
"""Of a typical prompt."""
ANSWER_TOKENS = 300
"""Of a typical answer."""


def estimate_tokens(size: int) -> float:
    """The tokens expected of a text of `size` bytes."""
    return size / BYTES_PER_TOKEN
