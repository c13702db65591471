"""A text without its edges: what an attacker puts before or behind every prompt is not in all of
its views.

"Rerouting LLM Routers" (arXiv 2501.01818) finds strings of ten tokens that, put before or behind
any prompt, make a router choose its most expensive model. Decided in each view by itself, the least
expensive choice stands: a gadget at one edge is missing in one of the views.
"""

from __future__ import annotations

import re

WORD = re.compile(r"\S+")
EDGE = 12
"""Words taken off an edge: some more than the ten tokens of the attack."""
LEAST = 4
"""Words that a view must have to say what the task is; a shorter text has no other views than
itself."""


def views(text: str) -> tuple[str, ...]:
    """The text without its first, and without its last `EDGE` words, else as it stands; none where
    too little would be left."""
    words = list(WORD.finditer(text))
    if len(words) < EDGE + LEAST:
        return ()
    return text[words[EDGE].start() :], text[: words[-EDGE - 1].end()]
