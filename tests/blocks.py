"""Blocks of code in a Markdown page, for tests that run what pages show."""

from __future__ import annotations

import re
from collections.abc import Iterator

BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"(?:#|<!--) (services/\S+)")


def blocks(page: str, kind: str) -> list[str]:
    """The blocks of one kind (`python`, `console`, …), in their order."""
    return [text for language, text in BLOCK.findall(page) if language == kind]


def without_blocks(page: str) -> str:
    """The page without its blocks."""
    return BLOCK.sub("", page)


def files(page: str) -> Iterator[tuple[str, str]]:
    """The files of a page's blocks: the path in the first line's comment, and the rest."""
    for _, text in BLOCK.findall(page):
        first, _, rest = text.partition("\n")
        if place := PLACE.match(first):
            yield place.group(1), rest
