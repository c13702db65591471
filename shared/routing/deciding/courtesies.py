"""Greetings, thanks, signatures and haste: what stands around a request and asks for nothing.

A prompt goes to the same model with such words and without them, because the encoder does not read
them. A clause at the edge of a prompt is a courtesy if it has a phrase that is one in its language.
Beside the phrase it has only words that say nothing of a task. Phrases and words of eleven
languages are in `courtesies.toml`. What may be material to be worked on stays: rather a courtesy
too much than a request too little.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MOST_WORDS = 16
"""Of a clause; a longer one says something."""
MOST_WORDS_TO_A_COMMA = 5
"""Of a clause that a comma parts from the request."""
MOST_WORDS_OF_GREETING = 6
MOST_NAMES = 2
"""Words with a capital letter behind a greeting or a farewell."""
MOST_SIGNS_OF_NAME = 3
"""Of a name in a language that does not part words by spaces."""
MOST_CLAUSES = 4
"""Left out at either end."""
READ_CHARS = 160
"""Of a clause."""
SMILE_CHARS = 16
"""At the end of a prompt, in which smiles are looked for."""
FEWEST_WORDS, FEWEST_SIGNS = 4, 6
"""Of what stays, with spaces between words or without. Where there is less, the thanks may be the
matter itself."""

_WORD = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_SAYS = re.compile(r"""["“”„«»‹›「」『』`<>{}=/\d]|(?<!\w)['‘]|['’](?!\w)|[:：](?!-?[)(DPp3])""")
"""Signs of a text that is quoted, of code, of a number, of a heading: no courtesy has them."""
_FIRSTS = (
    (
        re.compile(rf"([^\n.!?。！？…]{{1,{READ_CHARS}}})(?:[.!?…]+(?=\s)|[。！？]+|\n)"),
        MOST_WORDS,
    ),
    (
        re.compile(rf"([^\n.!?。！？…,，、]{{1,{READ_CHARS}}})(?:,(?=\s)|[，、])"),
        MOST_WORDS_TO_A_COMMA,
    ),
)
"""The first sentence of a text, or else what stands before its first comma; and how many words it
may have."""
_CUTS = (
    (re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n"), MOST_WORDS),
    (re.compile(r",\s+|[，、]"), MOST_WORDS_TO_A_COMMA),
    (re.compile(r"\n(?=[^\n]+\n[^\n]+\Z)"), MOST_WORDS_OF_GREETING),
)
"""What parts the last sentence from the rest; or else what stands behind the last comma; or the
last two lines, a signature."""
_COLON_ENDS_LINE = re.compile(r"[:：][^\S\n]*$", re.MULTILINE)
_OPEN_LINE = re.compile(
    r"[:：]\s|：|^\s*\d+[.)]\Z"
    r"|\b(?:with|as|by|like|mit|als|avec|comme|con|como|come|com|met)\Z",
    re.IGNORECASE,
)
"""A last line after which something may follow that belongs to it: it has a colon, is the mark of a
list, or breaks off."""
_ON_TEXT = re.compile(
    r"translat|correct|grammar|rewrite|rephras|paraphras|proofread|sentence|phrase|classif|detect"
    r"|sentiment|spam|tense|intent|repeat|do you say|to say|übersetz|korrigier|umformulier|satz"
    r"|klassifizier|wiederhol|sagt man|tradu|corrig|reformul|répèt|dit-on|dire en|corrij|frase"
    r"|repite|se dice|clasific|classific|ripeti|si dice|repita|se diz|vertaal|verbeter|zin\b"
    r"|herhaal|zeg je|przetłumacz|popraw|zdani|powtórz|перевед|перевод|исправ|предложени|повтор"
    r"|翻译|改正|改写|句|分类|重复|怎么说|訳|直して|文を|分類|繰り返|言い換え",
    re.IGNORECASE,
)
"""Work on a text: thanks beside it may be that text."""
_QUOTES = ('"', "```")
_NO_NAMES = frozenset(
    (
        *("world", "welt", "monde", "mundo", "mondo", "wereld"),
        *("java", "python", "rust", "html", "json", "sql", "markdown"),
        *("english", "german", "french", "spanish", "italian", "portuguese", "dutch", "polish"),
        *("russian", "chinese", "japanese"),
    )
)
"""A program greets the world; the others say what is asked for."""
_WORDLESS = re.compile(r"(?:\s+[^\w\s\"'`)\]}>]{1,3}\)?){1,3}\Z")
"""Smiles behind the last word."""


@dataclass(frozen=True, slots=True)
class Courtesies:
    """What is a courtesy at one end of a prompt."""

    named: re.Pattern[str]
    """They open a clause, and a name may stand behind them."""
    others: re.Pattern[str]
    """They may stand anywhere in a clause."""
    both: re.Pattern[str]

    @classmethod
    def of(cls, named: Sequence[str], others: Sequence[str], spaced: bool) -> Courtesies:
        return cls(
            _either(named, spaced), _either(others, spaced), _either([*named, *others], spaced)
        )


@dataclass(frozen=True, slots=True)
class Manners:
    """How one language is polite."""

    first: Courtesies
    last: Courtesies
    please: re.Pattern[str]
    """Alone, or beside another phrase; with words beside it, it asks for something."""
    words: re.Pattern[str]
    """What may stand beside the phrases."""
    known: frozenset[str]
    """All words of it."""
    signs: frozenset[str]
    """The longest word of each phrase: without one of them nothing is a courtesy."""
    spaced: bool
    """Whether words are parted by spaces."""

    @classmethod
    def of(
        cls, greetings: str, before: str, farewells: str, around: str, please: str, words: str
    ) -> Manners:
        """The phrases are parted by commas, `words` by spaces."""
        spaced = not _UNSPACED.search(around)
        every = ",".join((greetings, before, farewells, around, please))
        here = around.split(",")
        return cls(
            Courtesies.of(greetings.split(","), [*before.split(","), *here], spaced),
            Courtesies.of(farewells.split(","), here, spaced),
            _either(please.split(","), spaced),
            _either(words.split(), spaced),
            frozenset(_WORD.findall(f"{every} {words}")),
            frozenset(max(one.split(), key=len) for one in every.split(",") if one.strip()),
            spaced,
        )

    def has(self, words: Sequence[str], lowered: Sequence[str], *, last: bool) -> bool:
        """Whether a clause of these words, as they are and in small letters, is a courtesy of this
        language."""
        if self.spaced and not self.known.issuperset(lowered[:-MOST_NAMES]):
            return False  # most clauses end here, and it is quick
        text = " ".join(lowered)
        if not self.spaced and not _UNSPACED.search(text):
            return False
        edge = self.last if last else self.first
        opening = edge.named.match(text)
        if opening is None and edge.others.search(text) is None:
            return not self.please.sub("", text).strip()
        unknown = _WORD.findall(self.words.sub(" ", self.please.sub(" ", edge.both.sub(" ", text))))
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
            and _NO_NAMES.isdisjoint(unknown)
        )


def _either(phrases: Iterable[str], spaced: bool) -> re.Pattern[str]:
    """A pattern of any of the phrases, the longest first."""
    each = sorted({" ".join(one.split()) for one in phrases} - {""}, key=len, reverse=True)
    whole = "|".join(map(re.escape, each))
    return re.compile(rf"\b(?:{whole})\b" if spaced else whole)


@cache
def _languages() -> tuple[Manners, ...]:
    """Read at the first prompt, since not all that read messages read prompts."""
    lists = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return tuple(Manners.of(**each) for each in lists.values())


@cache
def _signs() -> frozenset[str]:
    return frozenset[str]().union(*(manners.signs for manners in _languages() if manners.spaced))


def is_courtesy(clause: str, *, last: bool = False, most: int = MOST_WORDS) -> bool:
    """Whether a clause of at most `most` words asks for nothing and says nothing of a task.

    `last`: at the end of a prompt, else at its beginning.
    """
    clause = unicodedata.normalize("NFC", clause.strip())
    words = _WORD.findall(clause)
    if not 0 < len(words) <= most or len(clause) > READ_CHARS or _SAYS.search(clause):
        return False
    lowered = [word.lower() for word in words]
    return any(manners.has(words, lowered, last=last) for manners in _languages())


def without_courtesies(prompt: str) -> str:
    """A prompt without the courtesies at its beginning and its end; the prompt itself where it has
    none, or little else.

    Nothing is left out at the end that a colon or a quotation mark may make the material. Where a
    text is to be worked on, as in a translation, only greetings before the request are left out.
    """
    text = whole = prompt.strip()
    ends = unicodedata.normalize("NFC", f"{text[:READ_CHARS]} {text[-READ_CHARS:]}").lower()
    if _signs().isdisjoint(_WORD.findall(ends)) and not _UNSPACED.search(ends):
        return prompt  # most prompts end here, and it is quick
    for without_one in (_without_first, _without_last):
        for _ in range(MOST_CLAUSES):
            left = without_one(text, ends)
            if not _enough(left):
                break
            text = left
    return prompt if text is whole else text


def _enough(left: str) -> bool:
    """Whether what stays may be a request."""
    beginning = left[:READ_CHARS]
    return (
        len(_WORD.findall(beginning)) >= FEWEST_WORDS
        or len(_UNSPACED.findall(beginning)) >= FEWEST_SIGNS
    )


def _without_first(text: str, ends: str) -> str:
    """A text without its first clause, if that is a courtesy; else empty. `ends`: what is read of
    the whole prompt."""
    for pattern, most in _FIRSTS:
        found = pattern.match(text)
        if found is not None and is_courtesy(found[1], most=most):
            if _ON_TEXT.search(ends) and not _greets(found[1]):
                return ""
            return text[found.end() :].lstrip()
    return ""


def _greets(clause: str) -> bool:
    return any(manners.first.named.match(clause.lower()) for manners in _languages())


def _without_last(text: str, ends: str) -> str:
    """A text without its last clause, if that is a courtesy; else empty."""
    smile = _WORDLESS.search(text, max(0, len(text) - SMILE_CHARS))
    if smile is not None:
        text = text[: smile.start()]
    for pattern, most in _CUTS:
        parts = list(pattern.finditer(text, max(0, len(text) - READ_CHARS)))
        part = next((one for one in reversed(parts) if one.end() < len(text)), None)
        if part is not None and is_courtesy(text[part.end() :], last=True, most=most):
            left = text[: part.start()].rstrip()
            odd = any(left.count(quote) % 2 for quote in _QUOTES)
            line = left[left.rfind("\n") + 1 :]
            stays = odd or _COLON_ENDS_LINE.search(left) or _OPEN_LINE.search(line)
            return "" if stays or _ON_TEXT.search(ends) else left
    return ""
