"""Answers as sanitised HTML: Markdown without HTML of its own, pictures or anything that runs or is
fetched."""

from __future__ import annotations

import re

import nh3
from markdown_it import MarkdownIt

TAGS = {
    *(
        "p",
        "br",
        "hr",
        "strong",
        "em",
        "s",
        "code",
        "pre",
        "blockquote",
        "ul",
        "ol",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "a"),
}
_markdown = (
    MarkdownIt("commonmark", {"html": False, "linkify": False})
    .enable(["table", "strikethrough"])
    .disable("image")
)


COMMENT = re.compile(r"<!--[^>]{0,200}-->\Z")
"""A comment behind a text, as simulated models write it for simulated judges."""


def safe(text: str) -> str:
    """HTML of a foreign text. It is parsed as Markdown without HTML, and the result is still
    cleaned. A comment at its end is left out."""
    return nh3.clean(
        _markdown.render(COMMENT.sub("", text.rstrip())),
        tags=TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
    )
