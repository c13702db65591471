"""What a prompt says of its task beside its kind: languages, a programming language, a form of
output. By words that stand in it; nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

READ_CHARS = 2000
"""Of a prompt, from each end: that is where instructions stand."""

_WORDS: Mapping[str, Mapping[str, list[str]]] = yaml.safe_load(
    Path(__file__).with_name("words.yaml").read_text()
)
_LANGUAGE = re.compile(
    "|".join(
        rf"(?P<{name}>(?<![A-Za-zÀ-ɏЀ-ӿ])(?:{'|'.join(words)}))"
        for name, words in _WORDS["languages"].items()
    ),
    re.IGNORECASE,
)
_INTO = re.compile(
    r"(?:\b(?:into|to|in|ins|auf|en|au|al|em|para o|naar|naar het|na|in het|på|till)|на|по)"
    r"\s+\W*$",
    re.IGNORECASE,
)
_FROM = re.compile(
    r"(?:\b(?:from|aus dem|vom|du|de l'|del|dal|do|uit het|z|från)|с)\s+\W*$", re.IGNORECASE
)
_CODE_WORD = {
    name: re.compile(rf"(?<![\w.])(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)
    for name, words in _WORDS["code"].items()
}
_AS = r"as|in|into|to|als|en|sous forme de|como|em|come|in een|w formie|в виде"
_FORM_WORD = {
    name: re.compile(rf"\b(?:{_AS})\s+(?:\w+\s+){{0,2}}(?:{'|'.join(words)})\b", re.IGNORECASE)
    for name, words in _WORDS["forms"].items()
}
_OF_LANGUAGE = ("Translate", "Practise a foreign language", "Check a translation", "Gloss")
_OF_FORM = (
    "Extract",
    "Classify",
    "List",
    "Summarise",
    "Fill",
    "Turn a",
    "Write minutes",
    "Compare",
)
_OF_CODE = re.compile(
    r"code|test|script|function|program|refactor|bug|regular expression|type annotation|scraper"
    r"|coding|memory leak|error handling",
    re.IGNORECASE,
)


def refined(name: str, prompt: str) -> str:
    """A task's name with what the prompt says of it: "Translate legal text from German to
    English"."""
    read = prompt if len(prompt) <= 2 * READ_CHARS else prompt[:READ_CHARS] + prompt[-READ_CHARS:]
    if _OF_CODE.search(name):
        named = [code for code, word in _CODE_WORD.items() if word.search(read)]
        if len(named) == 1:
            return f"{name} in {named[0]}"
        return f"{name} from {named[0]} to {named[1]}" if _ordered(name, named, read) else name
    if name.startswith(_OF_LANGUAGE):
        return name + _languages(read)
    if name.startswith(_OF_FORM):
        form = next((form for form, word in _FORM_WORD.items() if word.search(read)), None)
        return f"{name} {form}" if form else name
    return name


def _ordered(name: str, named: list[str], read: str) -> bool:
    """Whether the two languages that code is translated between are named; puts them in order."""
    if not name.startswith("Translate code") or len(named) != 2:
        return False
    places = [match.start() for code in named if (match := _CODE_WORD[code].search(read))]
    if places[0] > places[1]:
        named.reverse()
    return True


def _languages(read: str) -> str:
    """ " from German to English", as far as the prompt says it."""
    source = target = None
    said = False  # whether the target was named as one: "into French"
    for match in _LANGUAGE.finditer(read):
        before = read[max(0, match.start() - 16) : match.start()]
        language = match.lastgroup
        if _FROM.search(before) and source is None:
            source = language
        elif _INTO.search(before) and not said:
            if language != target and source is None:
                source = target  # "this German letter into French"
            target, said = language, True
        elif source is None and target is not None and language != target:
            source = language
        elif target is None:
            target = language
    if source == target:
        source = None
    return (f" from {source}" if source else "") + (f" to {target}" if target else "")
