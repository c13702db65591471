"""The same prompt, written otherwise: what a router's choice should survive.

RouterArena (arXiv 2510.00202) measures how often a router's choice stays when a prompt is
disturbed. These disturbances are our own; each keeps what is asked, and each is the same for the
same prompt and seed, on every machine.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping

NEAR = {
    "a": "qsz", "b": "vghn", "c": "xdfv", "d": "serfcx", "e": "wsdr", "f": "drtgvc",
    "g": "ftyhbv", "h": "gyujnb", "i": "ujko", "j": "huikmn", "k": "jiolm", "l": "kop",
    "m": "njk", "n": "bhjm", "o": "iklp", "p": "ol", "q": "wa", "r": "edft", "s": "awedxz",
    "t": "rfgy", "u": "yhji", "v": "cfgb", "w": "qase", "x": "zsdc", "y": "tghu", "z": "asx",
}  # fmt: skip
"""Keys beside a key, on a QWERTY keyboard."""
TYPO_RATE = 0.03
"""Fraction of words of at least four letters that get a typo; never none where there is such a
word."""
FILLERS = (
    "Please help me with this.",
    "Thanks in advance!",
    "I would appreciate your help.",
    "Hello there.",
    "Take your time.",
    "I need this for my work.",
    "Let me know if anything is unclear.",
)
CLAUSE = re.compile(r"(?<=[.!?;])\s+")


def typos(text: str, rng: random.Random) -> str:
    """Some words with a letter dropped, doubled, exchanged with the next, or hit beside its key."""
    places = [m.span() for m in re.finditer(r"[A-Za-z]{4,}", text)]
    if not places:
        return text
    for start, end in sorted(
        rng.sample(places, max(1, round(TYPO_RATE * len(places)))), reverse=True
    ):
        i = rng.randrange(start + 1, end - 1)
        kind = rng.randrange(4)
        letter = text[i]
        if kind == 0:
            middle = ""
        elif kind == 1:
            middle = letter * 2
        elif kind == 2:
            middle = text[i + 1] + letter
        else:
            middle = rng.choice(NEAR.get(letter.lower(), letter))
        text = text[:i] + middle + text[i + 1 + (kind == 2) :]
    return text


def case(text: str, rng: random.Random) -> str:
    """All small, all capital, or each word's first letter capital."""
    return rng.choice((str.lower, str.upper, str.title))(text)


def spacing(text: str, rng: random.Random) -> str:
    """Blanks doubled here and there, some line ends gone or doubled, blanks around it all."""
    parts = re.split(r"( +|\n+)", text)
    for i in range(1, len(parts), 2):
        if rng.random() < 0.2:
            parts[i] = parts[i] * 2 if rng.random() < 0.7 or " " in parts[i] else " "
    return " " * rng.randrange(3) + "".join(parts) + rng.choice(("", " ", "\n"))


def filler(text: str, rng: random.Random) -> str:
    """A polite sentence before or after."""
    extra = rng.choice(FILLERS)
    return f"{extra} {text}" if rng.random() < 0.5 else f"{text} {extra}"


def reordered(text: str, rng: random.Random) -> str:
    """Two neighbouring sentences or clauses exchanged; a prompt of one clause stays."""
    parts = CLAUSE.split(text.strip())
    if len(parts) < 2:
        return text
    i = rng.randrange(len(parts) - 1)
    parts[i], parts[i + 1] = parts[i + 1], parts[i]
    return " ".join(parts)


KINDS: Mapping[str, Callable[[str, random.Random], str]] = {
    "typos": typos,
    "case": case,
    "spacing": spacing,
    "filler": filler,
    "reordered": reordered,
}


def perturbed(text: str, kind: str, seed: int) -> str:
    """`text` disturbed in one of the `KINDS`; the same for the same text, kind and seed. Raises
    KeyError for an unknown kind."""
    key = hashlib.sha256(f"{seed}\n{kind}\n{text}".encode()).digest()
    return KINDS[kind](text, random.Random(int.from_bytes(key[:8], "big")))
