"""About how many tokens a text has, by its script. No tokenizer is asked: every model has another,
and most are not public.

The figures are on the high side of the tokenizers of GPT-4 and Llama 3, since they say what still
fits. In tokens: a Latin letter 1/4; a digit, a sign or a letter of another alphabet 1/2; a Chinese,
Japanese or Korean character 1.2; an emoji 2. Letters in long runs without a space (hexadecimal,
base64) are 0.6 and more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

IMAGE = 1_000
"""Tokens of a picture: OpenAI's 1,024 square pixels have 765, Anthropic's largest 1,600."""
MEDIUM = 2_000
"""Tokens of a sound or a file whose length is not known."""
UNREAD = frozenset(
    {"model", "messages", "user", "stop", "metadata", "logit_bias", "stream_options"}
)
"""Parameters that no model reads."""
TURN = 4
"""Tokens that a turn has beside its words."""
RUN = re.compile(rb"[!-~]{32,}")
IN_RUN = 0.35
"""What a character in a long run has beyond its own share."""


def _shares() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """(256,) tokens by byte of UTF-8: a character counts at its first byte."""
    shares = np.zeros(256, np.float32)
    shares[0x21:0x7F] = 0.5
    shares[ord("a") : ord("z") + 1] = shares[ord("A") : ord("Z") + 1] = 0.25
    shares[[0x09, 0x0A, 0x0D, 0x20]] = 0.1
    shares[:0x09] = shares[0x0E:0x20] = 1.0
    shares[0xC2:0xE0] = 0.5
    shares[0xE0:0xF0] = 1.2
    shares[0xF0:0xF5] = 2.0
    return shares


SHARES = _shares()


def tokens_in(text: str) -> int:
    """About how many tokens `text` has; never fewer than one for a text that has any."""
    if not text:
        return 0
    data = text.encode("utf-8", "replace")
    run = sum(len(runs) for runs in RUN.findall(data)) if len(data) >= 32 else 0
    return max(1, round(float(SHARES[np.frombuffer(data, np.uint8)].sum()) + IN_RUN * run))


def tokens_of_chat(
    messages: Iterable[Mapping[str, Any]], parameters: Mapping[str, Any] | None = None
) -> int:
    """About how many tokens a model reads: all turns with their parts and tool calls, and what
    stands in parameters."""
    total = sum(TURN + _turn(message) for message in messages)
    read = {
        name: value
        for name, value in (parameters or {}).items()
        if isinstance(value, (dict, list, str)) and name not in UNREAD
    }
    return total + (tokens_in(_json(read)) if read else 0)


def _turn(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    rest = {
        name: value for name, value in message.items() if name not in ("role", "content") and value
    }
    total = tokens_in(_json(rest)) if rest else 0
    if isinstance(content, str):
        return total + tokens_in(content)
    return total + sum(_part(part) for part in content or () if isinstance(part, Mapping))


def _part(part: Mapping[str, Any]) -> int:
    kind = part.get("type")
    if isinstance(text := part.get("text"), str):
        return tokens_in(text)
    if isinstance(kind, str) and "image" in kind:
        return IMAGE
    if isinstance(kind, str) and any(medium in kind for medium in ("audio", "video", "file")):
        return MEDIUM
    return tokens_in(_json(part))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
