"""The protocols in which programs ask language models, and one inner form of a conversation.

The inner form is that of OpenAI's Chat Completions, since topics, tokens and judges know it. It has
turns with a role and content, parameters, and answers as whole completions or as chunks. Four
things are added to it:

- An assistant's turn may have `reasoning_content` (its thoughts in words), `reasoning_details`
  (OpenRouter's) and `thinking_blocks` (Anthropic's, with their signatures).
- Content parts and tools may have `cache_control`.
- A turn, the parameters, a chunk or a whole answer may hold its original, unchanged, under
  `NATIVE`. A model that speaks the same protocol gets exactly that, so nothing is lost. It never
  leaves the process (`plain`).
- What can't be put into another protocol is named in a set that travels beside (`left_out`), and
  never dropped in silence.

Each protocol is a module of pure functions: `messages` is Anthropic's, `responses` OpenAI's newer
one, `completions` the old one. `portable` makes a history fit for a model that did not write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

NATIVE = "anthropic"
"""Under which key the inner form holds what came in Anthropic's form."""
_ON_ONE_LINE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
AUTHOR = "pointsman_author"
"""Under which key a turn says which model wrote it, where a keepsake told."""
KEEPSAKE = "pointsman."
"""How a keepsake begins: what a model must get back untouched, in a place of another protocol."""
DATA_URL = re.compile(r"data:([\w.+/-]+)?(?:;[\w=.+-]+)*?;base64,", re.ASCII)


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Without what it was made from."""
    return {name: item for name, item in value.items() if name not in (NATIVE, AUTHOR)}


def plain_turns(turns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turns as they may leave the process."""
    return [plain(turn) for turn in turns]


def mapping(value: Any) -> Mapping[str, Any]:
    """An object as it is; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none for anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def words_of(value: Any) -> str:
    """A text as it is; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def whole_number(value: Any) -> int:
    """An index as it is; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def text_of_parts(content: Any) -> str:
    """The words of a message's content."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in objects(content) if isinstance(part.get("text"), str))


def arguments_of(text: Any) -> dict[str, Any]:
    """A tool call's arguments as an object; what is none stands under `input`."""
    if isinstance(text, Mapping):
        return dict(text)
    try:
        value = json.loads(text or "{}")
    except (TypeError, ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"input": value}


def compact(value: Any) -> str:
    """JSON on one line."""
    return _ON_ONE_LINE.encode(value)


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a data URL; None: it is another kind of URL."""
    match = DATA_URL.match(url)
    return None if match is None else (match[1] or "application/octet-stream", url[match.end() :])


def count(value: Any) -> int:
    """A number of tokens; 0 for what is none."""
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0
