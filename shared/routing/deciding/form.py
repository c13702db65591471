"""The form of a prompt: how long it is and what it is made of, whatever it says.

An encoder for sentences hears what a prompt is about and little of how it is built, and reads only
its beginning. Whether it is a short question or a page, prose or code, with formulas or without
tells which model does well, too (docs/decisions/0007-representations.md). Capitals are not looked
at: they change most easily, and tell least.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
NUMBER = re.compile(r"\d+")
SYMBOLS = frozenset("+-*/=<>^\\${}[]()|&%#@~`")
ASKS = frozenset(["who", "what", "when", "where", "which", "why", "how", "whose", "whom"])
CODE = re.compile(
    r"\bdef \w+\(|\bfunction\b|\breturn\b|\bclass \w+|\bimport \w+|[{};]\s*\n|==|->|\bSELECT\b",
    re.IGNORECASE,
)
FORMULA = re.compile(r"\$[^$]+\$|\\[a-zA-Z]+\{|\\[(\[]")
GAP = re.compile(r"_{2,}|\b_\b| _ ")

NAMES = (
    "length",
    "words",
    "word_length",
    "sentence_length",
    "variety",
    "digits",
    "numbers",
    "symbols",
    "foreign",
    "question",
    "asks",
    "code",
    "formula",
    "gap",
    "lines",
)
SIZE = len(NAMES)
"""Numbers that `form` gives."""


def form(text: str) -> Array:
    """(SIZE,) float32, each about 0..1, in the order of `NAMES`. Reads all of `text`; an empty one
    is all zeros."""
    size = len(text)
    if not size:
        return np.zeros(SIZE, np.float32)
    words = WORD.findall(text)
    lower = list(map(str.lower, words))
    count = max(1, len(words))
    letters = max(1, sum(map(len, words)))
    sentences = max(1, len(re.findall(r"[.!?](?:\s|$)", text)))
    values = (
        np.log1p(size) / 12.0,
        np.log1p(len(words)) / 10.0,
        min(1.0, letters / count / 12.0),
        np.log1p(count / sentences) / 6.0,
        len(set(lower)) / count,
        min(1.0, 4.0 * sum(map(str.isdigit, text)) / size),
        np.log1p(len(NUMBER.findall(text))) / 6.0,
        min(1.0, 4.0 * sum(map(text.count, SYMBOLS)) / size),
        min(1.0, 4.0 * (size - len(text.encode("ascii", "ignore"))) / size),
        0.5 * ("?" in text) + 0.5 * text.rstrip().endswith("?"),
        float(bool(lower) and lower[0] in ASKS),
        float(CODE.search(text) is not None),
        float(FORMULA.search(text) is not None),
        float(GAP.search(text) is not None),
        min(1.0, np.log1p(text.strip().count("\n")) / 4.0),
    )
    return np.array(values, np.float32)


def forms(texts: Sequence[str]) -> Array:
    """(n, SIZE) float32."""
    return (
        np.stack([form(text) for text in texts]) if len(texts) else np.zeros((0, SIZE), np.float32)
    )
