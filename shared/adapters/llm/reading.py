"""What providers say, whatever it is, in the form of OpenAI's chat API. Pure: bytes go in, chunks come out.

`ModelUnreachable` is the only error, and its text never quotes what came. A field that only bills never costs the answer. What comes out
can be written as JSON: a lone surrogate is U+FFFD, a number that is not finite is null.

Events are parsed here rather than by httpx-sse, which wants text and drops a last event that no empty line follows.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.adapters.errors import ModelUnreachable, Trouble

MOST_BYTES = 64 * 1024 * 1024
"""Of one answer."""
MOST_PARTS = 128
"""Choices of an answer, and tool calls of a choice."""
DEEPEST = 100
"""Levels of lists and objects in one another."""
LONGEST_INTEGER = 300
"""Digits; a float can hold no more."""
MOST_TOKENS, MOST_USD = 1e9, 1e4
"""A usage beyond that is a mistake, and counts as not given."""
WORDS = 500
"""Letters kept of what an API says of an error."""
WITHHELD = frozenset({401, 402, 403, 407, 429})
"""Errors whose words stay between the provider and us: they may name keys and accounts."""
THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Kinds of content parts that are no part of the answer."""
DONE = "[DONE]"
BLANK = b" \t\r\n"
LONE = re.compile("[\ud800-\udfff]")
LINE_END = re.compile(rb"\r\n|\r|\n")
CODE = re.compile(r"[\w.-]{1,40}")
THINKING = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
THOUGHT = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)


def unreadable() -> ModelUnreachable:
    return ModelUnreachable("the answer is not in the form of OpenAI's API; check POINTSMAN_LLM_BASE_URL", Trouble.unreadable)


def cut_off() -> ModelUnreachable:
    return ModelUnreachable("the answer was cut off", Trouble.cut_off)


# JSON


def parsed(data: bytes) -> Any:
    """JSON as a value that can be written as JSON again, but for halves of surrogate pairs (`mended`). Raises `ModelUnreachable`."""
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer)
    except (ValueError, RecursionError):
        raise unreadable() from None
    if text.count("[") + text.count("{") > DEEPEST and _deep(value):
        raise unreadable()
    return value


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _integer(text: str) -> int | None:
    return int(text) if len(text) <= LONGEST_INTEGER else None


def _deep(value: Any) -> bool:
    level, levels = [value], 0
    while level and levels <= DEEPEST:
        level = [child for one in level for child in _children(one) if isinstance(child, (dict, list))]
        levels += 1
    return levels > DEEPEST


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def mended(value: Any) -> Any:
    """`value` with U+FFFD for every half of a surrogate pair."""
    if isinstance(value, str):
        return LONE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [mended(item) for item in value]
    return value


def number(value: Any, most: float) -> float | None:
    """A number of 0 to `most`, also one that came as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= most else None


# events


@dataclass(slots=True)
class Events:
    """Bytes of an event stream as events: (name, lines of data). Lines end at CR, LF or CRLF and nowhere else (WHATWG, 9.2.6)."""

    _open: bytearray = field(default_factory=bytearray)
    _name: str = ""
    _data: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes) -> list[tuple[str, list[bytes]]]:
        """The events that end with these bytes."""
        start = max(0, len(self._open) - 1)
        self._open += data
        if not LINE_END.search(self._open, start):
            return []
        *lines, rest = LINE_END.split(bytes(self._open))
        if self._open.endswith(b"\r"):  # perhaps the first half of CRLF
            rest = lines.pop() + b"\r"
        self._open = bytearray(rest)
        return [event for line in lines if (event := self._line(line)) is not None]

    def end(self) -> list[tuple[str, list[bytes]]]:
        """What is left when no more bytes come: an event counts although no empty line follows it."""
        lines = [bytes(self._open).removesuffix(b"\r"), b""]
        self._open.clear()
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> tuple[str, list[bytes]] | None:
        if not line:
            event = (self._name, self._data) if self._data else None
            self._name, self._data = "", []
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None


# errors


def failure(error: Any) -> ModelUnreachable:
    """An error that came inside an answer, with its code and the API's words."""
    fields = error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}
    code = fields.get("code") or fields.get("type")
    known = number(fields.get("code"), 599) or number(fields.get("status"), 599)
    status = int(known) if known is not None and known >= 400 else None
    named = f" (code {code})" if isinstance(code, (int, str)) and CODE.fullmatch(mended(str(code))) else ""
    return ModelUnreachable(f"the API answered with an error{named}", Trouble.failed, status, _words(fields, status))


def said(data: bytes, status: int) -> dict[str, str] | None:
    """What an API says of an error with an HTTP status, where that is for the requester."""
    if status not in {400, 413, 422}:
        return None
    try:
        value = parsed(data)
    except ModelUnreachable:
        return None
    error = value.get("error") if isinstance(value, dict) else None
    return _words(error, status) if isinstance(error, dict) else None


def names(data: bytes) -> frozenset[str]:
    """Words in an API's error that may be names of fields."""
    return frozenset(re.findall(r"[a-z_]{4,}", data.decode("utf-8", "replace")))


def _words(fields: Mapping[str, Any], status: int | None) -> dict[str, str] | None:
    if status in WITHHELD:
        return None
    found = {key: fields[key] for key in ("message", "param", "code") if isinstance(fields.get(key), str)}
    return {key: str(mended(text))[:WORDS] for key, text in found.items()} or None


def _raise_error(value: Mapping[str, Any]) -> None:
    """Raise the error that `value` holds, if it holds one."""
    if error := value.get("error"):
        raise failure(error)
    if value.get("object") == "error" or value.get("type") == "error":
        raise failure(dict(value) | {"type": None})
    if value.get("finish_reason") == "error":
        raise failure({"code": "finish_reason"})


# answers


def text_of(content: Any) -> str | None:
    """The words of a message's content, given as text or as parts; the model's thoughts are left out. None: there is no content."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, (bool, int, float)):
        return json.dumps(content)
    parts = content if isinstance(content, list) else [content]
    return "".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") in THOUGHTS:
        return ""
    text = part.get("text")
    if isinstance(text, dict):  # as OpenAI's assistants have it
        text = text.get("value")
    return text if isinstance(text, str) else ""


def without_thinking(text: str) -> str:
    """What a model says when it has done thinking aloud; nothing, if it never was."""
    return THOUGHT.sub("", THINKING.sub("", text)).strip()


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call, or a part of one, with its name and arguments as text."""
    own = {key: value for key, value in call.items() if key not in ("index", "function")}
    if "id" in own and not isinstance(own["id"], str):
        own["id"] = json.dumps(own["id"]) if own["id"] is not None else None
    function = call.get("function")
    if not isinstance(function, dict):
        return own
    told: dict[str, Any] = {key: value for key, value in function.items() if key not in ("name", "arguments")}
    if isinstance(function.get("name"), str):
        told["name"] = function["name"]
    if "arguments" in function:
        told["arguments"] = _arguments(function["arguments"])
    return own | {"function": told}


def _small(value: Any) -> int | None:
    found = number(value, MOST_PARTS - 1)
    return int(found) if found is not None and found == int(found) else None


def _listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, or the one object that stands in place of a list."""
    listed = value if isinstance(value, list) else [value]
    return [item for item in listed if isinstance(item, dict)]


def whole(value: Any) -> dict[str, Any]:
    """A whole answer. Raises `ModelUnreachable` if it is an error, or none."""
    if not isinstance(value, dict):
        raise unreadable()
    _raise_error(value)
    found = []
    for place, choice in enumerate(_listed(value.get("choices"))[:MOST_PARTS]):
        _raise_error(choice)
        message = choice.get("message") if isinstance(choice.get("message"), dict) else choice.get("delta")
        if not isinstance(message, dict):
            continue
        index = _small(choice.get("index"))
        reason = choice.get("finish_reason")
        found.append(
            {key: item for key, item in choice.items() if key != "delta"}
            | {"index": place if index is None else index, "message": _message(message)}
            | {"finish_reason": reason if isinstance(reason, str) else None}
        )
    if not found:
        raise unreadable()
    answer: dict[str, Any] = mended(value | {"choices": found})
    return answer


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(message) | {"role": "assistant", "content": text_of(message.get("content"))}
    if "tool_calls" in made:
        calls = [_call(call, place) for place, call in enumerate(_listed(made["tool_calls"])[:MOST_PARTS])]
        made |= {"tool_calls": calls} if calls else {}
        if not calls:
            del made["tool_calls"]
    return made


def _call(call: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A whole tool call: with an id, a kind, a name and arguments, also where the API left one out."""
    told = _function(call)
    if "function" in told:
        told["function"] = {"name": "", "arguments": ""} | told["function"]
    return told | {"id": told.get("id") or f"call_{place}", "type": told["type"] if isinstance(told.get("type"), str) else "function"}


@dataclass(slots=True)
class Joined:
    """The choices of a stream, put together again as they come."""

    first_at: float | None = None
    """When its first word, or tool call, came (`time.monotonic`)."""
    finish: str | None = None
    chosen: bool = False
    """Whether there was any choice."""
    begun: bool = False
    """Whether anything came that a reader can see: a word, a thought, a tool call, or the end."""
    _rest: dict[str, Any] = field(default_factory=dict)
    _text: list[str] = field(default_factory=list)
    _refusal: list[str] = field(default_factory=list)
    _calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    _halves: dict[int, str] = field(default_factory=dict)
    """By choice: the first half of a surrogate pair whose second half may come."""
    _slots: dict[int, list[tuple[str | None, str]]] = field(default_factory=dict)
    """By choice: the ids and names of its tool calls."""

    def take(self, value: Any) -> dict[str, Any]:
        """A chunk as it is handed on. Raises `ModelUnreachable`."""
        if not isinstance(value, dict):
            raise unreadable()
        _raise_error(value)
        choices = [self._choice(choice, place) for place, choice in enumerate(_listed(value.get("choices"))[:MOST_PARTS])]
        chunk: dict[str, Any] = mended(value | {"choices": choices})
        self._rest |= {key: item for key, item in chunk.items() if key != "choices" and item}
        for choice in chunk["choices"]:
            if choice["index"] == 0:  # of several answers (n > 1) the first is the one that is compared
                self._keep(choice)
        return chunk

    def _choice(self, choice: dict[str, Any], place: int) -> dict[str, Any]:
        _raise_error(choice)
        self.chosen = True
        index = _small(choice.get("index"))
        index = place if index is None else index
        given = choice.get("delta") if isinstance(choice.get("delta"), dict) else choice.get("message")
        delta = dict(given) if isinstance(given, dict) else {}
        ending = bool(choice.get("finish_reason"))
        if "content" in delta or (ending and index in self._halves):
            delta["content"] = self._content(index, text_of(delta.get("content")), ending=ending)
        calls = _listed(delta.pop("tool_calls", None))
        if calls:
            delta["tool_calls"] = [self._part_of_call(index, call) for call in calls]
        reason = choice.get("finish_reason")
        self.begun = self.begun or bool(reason) or any(item for key, item in delta.items() if key != "role")
        rest = {key: item for key, item in choice.items() if key != "message"}
        return rest | {"index": index, "delta": delta, "finish_reason": reason if isinstance(reason, str) and reason else None}

    def _content(self, index: int, text: str | None, *, ending: bool) -> str | None:
        """A pair whose halves came in two chunks is one letter again."""
        half = self._halves.pop(index, "")
        if half and text is not None:
            text = (half + text).encode("utf-16", "surrogatepass").decode("utf-16", "replace") if LONE.match(text) else half + text
        elif half:
            text = half
        if text and "\ud800" <= text[-1] <= "\udbff" and not ending:
            self._halves[index] = text[-1]
            text = text[:-1]
        return text

    def _part_of_call(self, index: int, call: Mapping[str, Any]) -> dict[str, Any]:
        slots = self._slots.setdefault(index, [])
        told = _function(call)
        function = told.get("function", {})
        id_ = told.get("id") or None
        ids = [known for known, _ in slots]
        slot = _small(call.get("index"))
        if slot is None and id_ is not None and id_ in ids:
            slot = ids.index(id_)
        elif slot is None:
            begins = id_ is not None or "name" in function or not slots
            slot = len(slots) if begins else len(slots) - 1
        if slot >= MOST_PARTS:
            raise unreadable()
        slots.extend([(None, "")] * (slot + 1 - len(slots)))
        known, name = slots[slot]
        if known is not None and id_ == known:  # llama.cpp says id and name in every chunk; clients would join them
            del told["id"]
        if name and function.get("name") == name:
            del function["name"]
        slots[slot] = known or id_, name + function.get("name", "")
        return {"index": slot} | told

    def _keep(self, choice: Mapping[str, Any]) -> None:
        delta = choice["delta"]
        for kept, key in ((self._text, "content"), (self._refusal, "refusal")):
            if isinstance(delta.get(key), str) and delta[key]:
                kept.append(delta[key])
                self.first_at = self.first_at or time.monotonic()
        for part in delta.get("tool_calls", ()):
            self.first_at = self.first_at or time.monotonic()
            call = self._calls.setdefault(part["index"], {"type": "function"})
            call |= {key: item for key, item in part.items() if key not in ("index", "function") and item}
            if (told := part.get("function")) is not None:
                function = call.setdefault("function", {"name": "", "arguments": ""})
                function |= {key: item for key, item in told.items() if key not in function and item}
                function["name"] += told.get("name") or ""
                function["arguments"] += told.get("arguments") or ""
        self.finish = choice["finish_reason"] or self.finish

    def empty(self) -> bool:
        return self.first_at is None and self.finish is None

    def answer(self) -> dict[str, Any]:
        """All of it, so far, as one whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        if self._refusal:
            message["refusal"] = "".join(self._refusal)
        if self._calls:
            message["tool_calls"] = [_call(self._calls[slot], slot) for slot in sorted(self._calls)]
        return self._rest | {"choices": [{"index": 0, "message": message, "finish_reason": self.finish}]}


@dataclass(slots=True)
class Reader:
    """Takes the bytes of one answer as they come, and gives chunks. Events are known from a whole answer by how they begin."""

    joined: Joined = field(default_factory=Joined)
    came: dict[str, Any] | None = None
    """The whole answer, where one came that was no stream."""
    done: bool = False
    """Nothing more is expected, whatever comes."""
    _events: Events | None = None
    _body: bytearray = field(default_factory=bytearray)
    _size: int = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The chunks that end with these bytes; take them all. Raises `ModelUnreachable` where one is an error, after those before it."""
        self._size += len(data)
        if self._size > MOST_BYTES:
            raise ModelUnreachable(f"the answer has more than {MOST_BYTES} bytes", Trouble.unreadable)
        if self._events is None:
            self._body += data
            begins = bytes(self._body[:64]).removeprefix(codecs.BOM_UTF8).lstrip(BLANK)[:1]
            if begins == b"<":
                raise unreadable()
            if begins and begins not in b"{[":
                self._events, data = Events(), bytes(self._body).removeprefix(codecs.BOM_UTF8)
                self._body.clear()
        if self._events is not None:
            yield from self._chunks(self._events.feed(data))

    def end(self) -> Iterator[dict[str, Any]]:
        """The chunks that are left when no more bytes come. Raises `ModelUnreachable` if that is too early."""
        if self._events is None:
            self.came = whole(parsed(bytes(self._body)))
            yield self.joined.take(as_chunk(self.came))
        elif not self.done:
            yield from self._chunks(self._events.end())
            if not self.done and self.joined.finish is None:
                raise cut_off() if self.joined.chosen else unreadable()
        self.done = True

    def _chunks(self, events: Iterable[tuple[str, list[bytes]]]) -> Iterator[dict[str, Any]]:
        for name, lines in events:
            if not self.done:
                yield from self._event(name, lines)

    def _event(self, name: str, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        data = b"\n".join(lines).strip()
        if data == DONE.encode():
            if self.joined.empty():
                raise ModelUnreachable("the stream ended without an answer", Trouble.failed)
            self.done = True
        elif data and name == "error":
            raise _told(data)
        elif data:
            for value in _values(data, lines):
                yield self.joined.take(value)

    def answer(self) -> dict[str, Any]:
        """All of it, so far, as one whole answer in OpenAI's form."""
        return self.came if self.came is not None else self.joined.answer()


def _values(data: bytes, lines: list[bytes]) -> list[Any]:
    """The JSON of one event, or, where the API leaves out the empty lines between its events, of each line."""
    try:
        return [parsed(data)]
    except ModelUnreachable:
        if len(lines) == 1:
            raise
    return [parsed(line) for line in lines if line.strip() not in (b"", DONE.encode())]


def _told(data: bytes) -> ModelUnreachable:
    """What an event named error says."""
    try:
        value = parsed(data)
    except ModelUnreachable:
        return failure(data.decode("utf-8", "replace"))
    return failure(value.get("error") or value if isinstance(value, dict) else value)


def as_chunk(answer: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer as the one chunk of a stream, from an API that does not stream."""
    choices = [
        {key: item for key, item in choice.items() if key != "message"}
        | {"delta": choice["message"], "finish_reason": choice["finish_reason"] or "stop"}
        for choice in answer["choices"]
    ]
    return dict(answer) | {"object": "chat.completion.chunk", "choices": choices}


# what it took


@dataclass(frozen=True, slots=True)
class Usage:
    """What an API says that an answer took; None for what it does not say in a form that can be read."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    """Of the prompt's, those that were read from the provider's cache."""
    cost_usd: float | None = None


def usage(value: Any) -> Usage:
    """Read OpenAI's usage with what OpenRouter, Perplexity, Anthropic and DeepSeek add to it."""
    if not isinstance(value, dict):
        return Usage()
    prompt = number(value.get("prompt_tokens"), MOST_TOKENS)
    read = number(value.get("cache_read_input_tokens"), MOST_TOKENS)
    if prompt is None and (own := number(value.get("input_tokens"), MOST_TOKENS)) is not None:
        prompt = own + (read or 0) + (number(value.get("cache_creation_input_tokens"), MOST_TOKENS) or 0)
    completion = number(value.get("completion_tokens"), MOST_TOKENS)
    if completion is None:
        completion = number(value.get("output_tokens"), MOST_TOKENS)
    details = [value.get(key) for key in ("prompt_tokens_details", "input_tokens_details")]
    told = [number(one.get("cached_tokens"), MOST_TOKENS) for one in details if isinstance(one, dict)]
    cached = next((n for n in (*told, number(value.get("prompt_cache_hit_tokens"), MOST_TOKENS), read) if n), 0)
    return Usage(
        None if prompt is None else int(prompt),
        None if completion is None else int(completion),
        int(min(cached, prompt or 0)),
        _cost(value),
    )


def _cost(value: Mapping[str, Any]) -> float | None:
    """USD. Who brings a key of their own pays the model's maker beside OpenRouter, which says so in `cost_details`."""
    given = value.get("cost")
    cost = number(given.get("total_cost") if isinstance(given, dict) else given, MOST_USD)
    details = value.get("cost_details")
    upstream = number(details.get("upstream_inference_cost"), MOST_USD) if isinstance(details, dict) else None
    if value.get("is_byok") is True:
        return None if not upstream else upstream + (cost or 0.0)
    return cost or upstream or cost
