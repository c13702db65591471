"""What a prompt says of its task in its own words: some of its sentences, as many as fit.

They are those that lie nearest to the tasks that the whole prompt lies near to. Rules know where
instructions mostly stand, and some words that open them. The encoder knows what the prompt asks, in
any language, but not which of the near tasks it is. Together they find what says it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.catalog.tasks.points import Array
from shared.routing.deciding.extraction import MAX_WORDS, Sentence, length

STOPS = ".!?:：。！？؟।۔"
PER_MARK = 0.02
"""Cosine that a unit of `Sentence.instructs` counts for. 0 to 0.03 did alike on prompts of the
library that nothing was learnt from."""
ADDS = 0.03
"""Cosine that a further sentence must add."""


def quote(said: Sequence[Sentence], vectors: Array, wanted: Array) -> str:
    """The best of the prompt's sentences, and those that tell more beside it, in their order; at
    most `MAX_WORDS` words. All, where they have no more.

    `vectors` (sentences, TASK) and `wanted` (TASK,): the sentences and the tasks near the prompt,
    of length 1.
    """
    if everything := entire(said):
        return everything
    marks = PER_MARK * np.array([sentence.instructs for sentence in said])
    words = np.array([length(sentence.text) for sentence in said])
    reached = vectors @ wanted + marks
    chosen = [int(reached.argmax())]
    while True:
        best = float(reached[chosen[-1]])
        together = vectors + vectors[chosen].sum(axis=0)
        together /= np.maximum(np.linalg.norm(together, axis=1, keepdims=True), 1e-9)
        reached = together @ wanted + np.maximum(marks, marks[chosen].max()) - ADDS
        reached[words + words[chosen].sum() > MAX_WORDS] = -np.inf
        reached[chosen] = -np.inf
        if (further := float(reached.max())) <= best:
            return _joined([said[i].text for i in sorted(chosen)])
        chosen.append(int(reached.argmax()))
        reached[chosen[-1]] = further + ADDS


def entire(said: Sequence[Sentence]) -> str:
    """All sentences, where they have at most `MAX_WORDS` words together; else nothing."""
    fits = sum(length(sentence.text) for sentence in said) <= MAX_WORDS
    return _joined([sentence.text for sentence in said]) if said and fits else ""


def _joined(parts: Sequence[str]) -> str:
    """Sentences with their stops, as one text that ends with none."""
    text = parts[0]
    for part in parts[1:]:
        text += part if text[-1] in "。！？" else f" {part}" if text[-1] in STOPS else f". {part}"
    return text.rstrip(" .。।۔:：,;…") or text
