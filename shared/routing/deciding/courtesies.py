"""Greetings, thanks, signatures and haste: what stands around a request and asks for nothing.

A prompt goes to the same model with such words and without them, because the encoder does not read
them. A clause at the edge of a prompt is a courtesy if it has a phrase that is one in its language.
Beside the phrase it has only words that say nothing of a task. Phrases and words of eleven
languages are in `courtesies.toml`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_WORDS = 16
"""Of a clause; a longer one says something."""
MOST_WORDS_OF_GREETING = 6
MOST_NAMES = 2
"""Words with a capital letter behind a greeting or a farewell."""
MOST_SIGNS_OF_NAME = 3
"""Of a name in a language that does not part words by spaces."""
MOST_CLAUSES = 4
"""Left out at either end."""
READ_CHARS = 160
"""Of a clause."""

_WORD = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_SAYS = re.compile(r"""["“”„«»‹›「」『』`<>{}=/\d]|(?<!\w)['‘]|['’](?!\w)|[:：](?!-?[)(DPp3])""")
"""Signs of a text that is quoted, of code, of a number, of a heading: no courtesy has them."""
_FIRSTS = (
    re.compile(rf"([^\n.!?。！？…]{{1,{READ_CHARS}}})(?:[.!?…]+(?=\s)|[。！？]+|\n)"),
    re.compile(rf"([^\n.!?。！？…,;，、]{{1,{READ_CHARS}}})(?:[,;](?=\s)|[，、])"),
)
"""The first sentence of a text, or else what stands before its first comma."""
_ENDS = (
    re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n"),
    re.compile(r"(?<=[,;])\s+|(?<=[，、])"),
    re.compile(r"\n(?=[^\n]+\n[^\n]+\Z)"),
)
"""Where its last sentence begins, or else what stands behind its last comma, or its last two lines:
a signature."""
_OPEN = tuple(":：\"'“„«(`[{<")
"""What no prompt ends with: what follows belongs to it."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How one language is polite."""

    openings: re.Pattern[str]
    """Greetings and farewells: they open a clause, and a name may stand behind them."""
    phrases: re.Pattern[str]
    """Both these and what else makes a clause a courtesy wherever it stands in it."""
    anywhere: re.Pattern[str]
    """What else makes a clause a courtesy."""
    words: re.Pattern[str]
    """What may stand beside them."""
    known: frozenset[str]
    """All words of the three."""
    signs: frozenset[str]
    """The longest word of each phrase: without one of them nothing is a courtesy."""
    spaced: bool
    """Whether words are parted by spaces."""

    @classmethod
    def of(cls, named: str, phrases: str, words: str) -> Manners:
        """`named` and `phrases` are parted by commas, `words` by spaces."""
        spaced = not _UNSPACED.search(named)
        first, others = named.split(","), phrases.split(",")
        return cls(
            _either(first, spaced),
            _either(first + others, spaced),
            _either(others, spaced),
            _either(words.split(), spaced),
            frozenset(_WORD.findall(" ".join((named, phrases, words)))),
            frozenset(max(one.split(), key=len) for one in first + others if one.strip()),
            spaced,
        )

    def has(self, words: Sequence[str], lowered: Sequence[str]) -> bool:
        """Whether a clause of these words, as they are and in small letters, is a courtesy of this
        language."""
        if self.spaced and not self.known.issuperset(lowered[:-MOST_NAMES]):
            return False  # most clauses end here, and it is quick
        text = " ".join(lowered)
        if not self.spaced and not _UNSPACED.search(text):
            return False
        opening = self.openings.match(text)
        if opening is None and self.anywhere.search(text) is None:
            return False
        unknown = _WORD.findall(self.words.sub(" ", self.phrases.sub(" ", text)))
        if not unknown:
            return True
        if opening is None or len(words) > MOST_WORDS_OF_GREETING:
            return False
        if not self.spaced:
            return len(_UNSPACED.findall("".join(unknown))) <= MOST_SIGNS_OF_NAME
        names = len(unknown)
        return (
            names <= MOST_NAMES
            and lowered[-names:] == unknown
            and all(name[0].isupper() for name in words[-names:])
        )


def _either(phrases: Iterable[str], spaced: bool) -> re.Pattern[str]:
    """A pattern of any of the phrases, the longest first."""
    each = sorted({" ".join(one.split()) for one in phrases} - {""}, key=len, reverse=True)
    whole = "|".join(map(re.escape, each))
    return re.compile(rf"\b(?:{whole})\b" if spaced else whole)


def _manners() -> tuple[Manners, ...]:
    lists = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return tuple(Manners.of(**each) for each in lists.values())


_LANGUAGES = _manners()
_SIGNS = frozenset[str]().union(*(manners.signs for manners in _LANGUAGES if manners.spaced))


def is_courtesy(clause: str) -> bool:
    """Whether a clause asks for nothing and says nothing of a task."""
    clause = unicodedata.normalize("NFC", clause.strip())
    words = _WORD.findall(clause)
    if not words or len(words) > MOST_WORDS or len(clause) > READ_CHARS or _SAYS.search(clause):
        return False
    lowered = [word.lower() for word in words]
    return any(manners.has(words, lowered) for manners in _LANGUAGES)


def without_courtesies(prompt: str) -> str:
    """A prompt without the courtesies at its beginning and its end, and without blanks around it;
    the prompt itself where it is nothing else.

    What follows a colon or a quotation mark stays: it may be what is to be worked on.
    """
    text = whole = prompt.strip()
    ends = f"{text[:READ_CHARS]} {text[-READ_CHARS:]}".lower()
    if _SIGNS.isdisjoint(_WORD.findall(ends)) and not _UNSPACED.search(ends):
        return whole  # most prompts end here, and it is quick
    for _ in range(MOST_CLAUSES):
        firsts = (first.match(text) for first in _FIRSTS)
        found = next((one for one in firsts if one is not None and is_courtesy(one[1])), None)
        if found is None:
            break
        text = text[found.end() :].lstrip()
    for _ in range(MOST_CLAUSES):
        rests = (_rest(text, ends) for ends in _ENDS)
        left = next((rest for rest in rests if rest and is_courtesy(text[len(rest) :])), "")
        if not left or left.rstrip().endswith(_OPEN):
            break
        text = left.rstrip(",，、; \n")
    return text if _WORD.search(text) and not is_courtesy(text) else whole


def _rest(text: str, ends: re.Pattern[str]) -> str:
    """A text without its last part; empty where the last part is long, or all there is."""
    starts = (found.end() for found in ends.finditer(text, max(0, len(text) - READ_CHARS)))
    return text[: max((start for start in starts if start < len(text)), default=0)]
