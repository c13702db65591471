"""What providers say, whatever it is, in the form of OpenAI's chat API. Pure: bytes go in, chunks
come out.

`ModelUnreachable` is the only error, and its text never quotes what came. A field that only bills
never costs the answer. What comes out can be written as JSON: a lone surrogate is U+FFFD, a number
that is not finite is null.

Events are parsed here rather than by httpx-sse, which wants text and drops a last event that no
empty line follows.
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
from shared.protocols import NATIVE
from shared.protocols.keepsake import whole_details

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
BLANK = b" \t\r\n"
LONE = re.compile("[\ud800-\udfff]")
LINE_END = re.compile(rb"\r\n|\r|\n")
UNKNOWN = re.compile(
    r'"(?:code|type)": ?"(?:unsupported_parameter|unknown_parameter|extra_forbidden)"'
)
CODE = re.compile(r"[\w.-]{1,40}")
BROKEN = frozenset(
    {
        "error",
        "failed",
        "abort",
        "aborted",
        "network_error",
        "server_error",
        "unknown_error",
        "insufficient_system_resource",
    }
)
"""Reasons to finish that are no end of an answer: OpenRouter's, vLLM's, GLM's, DeepSeek's."""
OF_A_REQUEST = frozenset(
    {
        "invalid_request_error",
        "invalid_request",
        "invalid_value",
        "context_length_exceeded",
        "exceed_context_size_error",
        "string_above_max_length",
        "content_filter",
        "content_policy_violation",
        "unsupported_parameter",
        "unsupported_value",
        "unknown_parameter",
    }
)
"""Codes and types of errors that say what is wrong with one request."""
FIELDS = (
    "cache_control",
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "response_format",
    "seed",
    "developer",
)
"""Names that an API may say it refuses."""
_THINK = "think|thinking|thought|thoughts|reasoning|analysis|scratchpad|reflection|seed:think"
THINKING = re.compile(
    rf"<({_THINK})>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)|◁think▷.*?(?:◁/think▷|\Z)"
    r"|<\|begin_of_thought\|>.*?(?:<\|end_of_thought\|>|\Z)|<\|channel\|>analysis.*?(?:<\|end\|>|(?=<\|channel\|>final)|\Z)"
    r"|\AThinking\.\.\..*?(?:\.\.\.done thinking\.|\Z)",
    re.DOTALL | re.IGNORECASE,
)
THOUGHT = re.compile(
    rf"\A.*(?:</(?:{_THINK})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>)", re.DOTALL | re.IGNORECASE
)
SPECIAL = re.compile(r"<\|start\|>assistant|<\|[a-z_]{1,20}\|>(?:final)?")
"""Tokens of a chat template that a server let through."""


def unreadable() -> ModelUnreachable:
    return ModelUnreachable(
        "the answer is not in the form of OpenAI's API; check POINTSMAN_LLM_BASE_URL",
        Trouble.unreadable,
    )


def cut_off() -> ModelUnreachable:
    return ModelUnreachable("the answer was cut off", Trouble.cut_off)


# JSON


def parsed(data: bytes) -> Any:
    """JSON as a value that can be written as JSON again, except for halves of surrogate pairs
    (`repaired`). Raises `ModelUnreachable`."""
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    try:
        value = json.loads(
            text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer
        )
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
    level = [value]
    levels = 0
    while level and levels <= DEEPEST:
        level = [
            child for one in level for child in _children(one) if isinstance(child, (dict, list))
        ]
        levels += 1
    return levels > DEEPEST


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def repaired(value: Any) -> Any:
    """`value` with U+FFFD for every half of a surrogate pair."""
    if isinstance(value, str):
        return LONE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {repaired(key): repaired(item) for key, item in value.items()}
    if isinstance(value, list):
        return [repaired(item) for item in value]
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
    """Bytes of an event stream as events: (name, lines of data). Lines end at CR, LF or CRLF and
    nowhere else (WHATWG, 9.2.6)."""

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
        """What is left when no more bytes come: an event counts although no empty line follows
        it."""
        lines = [bytes(self._open).removesuffix(b"\r"), b""]
        self._open.clear()
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> tuple[str, list[bytes]] | None:
        if not line:
            event = (self._name, self._data) if self._data else None
            self._name = ""
            self._data = []
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"error":  # llama.cpp's, instead of an event
            self._name = "error"
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None


# errors


def failure(error: Any) -> ModelUnreachable:
    """An error that came inside an answer, with its code and the API's words."""
    fields = (
        error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}
    )
    code = fields.get("code") or fields.get("type") or fields.get("status")
    known = number(fields.get("code"), 599) or number(fields.get("status"), 599)
    status = (
        int(known) if known is not None and known >= 400 else 400 if of_a_request(fields) else None
    )
    named = (
        f" (code {code})"
        if isinstance(code, (int, str)) and CODE.fullmatch(repaired(str(code)))
        else ""
    )
    unreachable = ModelUnreachable(
        f"the API answered with an error{named}", Trouble.failed, status, _words(fields, status)
    )
    unreachable.named = names(json.dumps(fields, default=str))
    return unreachable


def of_a_request(fields: Mapping[str, Any]) -> bool:
    """Whether an error is about one request, by its code or type."""
    return any(
        isinstance(fields.get(key), str) and fields[key].lower() in OF_A_REQUEST
        for key in ("code", "type")
    )


def refusal(data: bytes) -> dict[str, Any]:
    """The fields of an error that came with an HTTP status, in whichever form."""
    text = data.decode("utf-8", "replace").strip()
    try:
        value = parsed(data)
    except ModelUnreachable:
        return {} if text.startswith("<") else {"message": text}
    value = value[0] if isinstance(value, list) and value else value
    if not isinstance(value, dict):
        return {"message": text}
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error, "code": value.get("code")}
    if "detail" in value:
        return {
            "message": value["detail"]
            if isinstance(value["detail"], str)
            else json.dumps(value["detail"]),
            "detail": value["detail"],
        }
    return value


def said(fields: Mapping[str, Any], status: int) -> dict[str, str] | None:
    """What an API says of an error with an HTTP status, where that is for the requester."""
    return _words(fields, status) if status in {400, 413, 422} else None


def names(text: str) -> frozenset[str]:
    """Which of `FIELDS` an error names, however it writes them; `stream` where it is the very
    parameter; `unsupported` where its code says that it does not know the field."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text.replace("\\n", " ")).lower()
    named = {
        name
        for name in FIELDS
        if re.search(rf"(?<![a-z]){name.replace('_', '[_ ]')}(?![a-z])", plain)
    }
    named |= {"stream"} if re.search(r'"param": ?"stream"', plain) else set()
    return frozenset(named | ({"unsupported"} if UNKNOWN.search(plain) else set()))


def _words(fields: Mapping[str, Any], status: int | None) -> dict[str, str] | None:
    if status in WITHHELD:
        return None
    texts = {
        key: fields[key] for key in ("message", "param", "code") if isinstance(fields.get(key), str)
    }
    return {key: str(repaired(text))[:WORDS] for key, text in texts.items()} or None


def raise_error(value: Mapping[str, Any]) -> None:
    """Raise the error that `value` holds, if it holds one."""
    error = value.get("error")
    if error and (
        not isinstance(error, dict) or any(part and part != "0" for part in error.values())
    ):
        raise failure(error)
    if (
        value.get("object") == "error"
        or value.get("type") == "error"
        or value.get("success") is False
    ):
        raise failure({key: item for key, item in value.items() if key not in ("type", "object")})
    for key in ("finish_reason", "native_finish_reason"):
        if isinstance(value.get(key), str) and value[key].lower() in BROKEN:
            raise failure({"code": "finish_reason"})


def _raise_bare_error(value: Mapping[str, Any]) -> None:
    """Raise what is an error though it does not call itself one: it tells of trouble, and has
    neither choices nor usage."""
    if value.keys() & {"choices", "usage"}:
        return
    if (
        value.get("detail")
        or value.get("errors")
        or (value.get("message") and value.keys() & {"code", "status", "type"})
    ):
        raise failure(
            value
            if isinstance(value.get("message"), str)
            else {"message": json.dumps(value)[:WORDS]}
        )


# answers


def text_of(content: Any) -> str | None:
    """The words of a message's content, given as text or as parts; the model's thoughts are left
    out. None: there is no content."""
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
    return SPECIAL.sub("", THOUGHT.sub("", THINKING.sub("", text))).strip()


def _arguments(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else ""
        if value is None
        else json.dumps(value, ensure_ascii=False)
    )


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call, or a part of one, with its name and arguments as text."""
    beside = {key: value for key, value in call.items() if key not in ("index", "function")}
    if "id" in beside and not isinstance(beside["id"], str):
        beside["id"] = json.dumps(beside["id"]) if beside["id"] is not None else None
    function = call.get("function")
    if function is None and "name" in call:  # flat, as OpenAI's newer API has it
        function = {key: beside.pop(key) for key in ("name", "arguments") if key in beside}
    if not isinstance(function, dict):
        return beside
    fields: dict[str, Any] = {
        key: value for key, value in function.items() if key not in ("name", "arguments")
    }
    if isinstance(function.get("name"), str):
        fields["name"] = function["name"]
    if "arguments" in function:
        fields["arguments"] = _arguments(function["arguments"])
    return beside | {"function": fields}


def _small(value: Any) -> int | None:
    integer = number(value, MOST_PARTS - 1)
    return int(integer) if integer is not None and integer == int(integer) else None


def _listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, or of an object by index, or the one object that stands in place of a
    list."""
    if isinstance(value, dict) and value and all(str(key).isdigit() for key in value):
        value = list(value.values())
    listed = value if isinstance(value, list) else [value]
    return [item for item in listed if isinstance(item, dict)]


def whole(value: Any) -> dict[str, Any]:
    """A whole answer. Raises `ModelUnreachable` if it is an error, or none."""
    if not isinstance(value, dict):
        raise unreadable()
    raise_error(value)
    _raise_bare_error(value)
    choices = []
    for place, choice in enumerate(_listed(value.get("choices"))[:MOST_PARTS]):
        raise_error(choice)
        index = _small(choice.get("index"))
        reason = choice.get("finish_reason")
        message = _given(choice, "message", "delta")
        if message is None and isinstance(reason, str):  # a filter left nothing of it
            message = {"content": None}
        if message is None:
            continue
        choices.append(
            {key: item for key, item in choice.items() if key != "delta"}
            | {"index": place if index is None else index, "message": _message(message)}
            | {"finish_reason": reason if isinstance(reason, str) else None}
        )
    if not choices:
        raise unreadable()
    answer: dict[str, Any] = repaired(value | {"choices": choices})
    return answer


def _given(choice: Mapping[str, Any], *names_: str) -> dict[str, Any] | None:
    """What a choice says: under one of these names, or as the text of a legacy completion."""
    said_ = next((choice[name] for name in names_ if isinstance(choice.get(name), dict)), None)
    return (
        {"content": choice["text"]}
        if said_ is None and isinstance(choice.get("text"), str)
        else said_
    )


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    turn = dict(message) | {"role": "assistant", "content": text_of(message.get("content"))}
    if "tool_calls" in turn:
        calls = [
            _call(call, place)
            for place, call in enumerate(_listed(turn["tool_calls"])[:MOST_PARTS])
        ]
        turn |= {"tool_calls": calls} if calls else {}
        if not calls:
            del turn["tool_calls"]
    return turn


def _call(call: Mapping[str, Any], place: int) -> dict[str, Any]:
    """A whole tool call: with an id, a kind, a name and arguments, also where the API left one
    out."""
    function = _function(call)
    if "function" in function:
        function["function"] = {"name": "", "arguments": ""} | function["function"]
    return function | {
        "id": function.get("id") or f"call_{place}",
        "type": function["type"] if isinstance(function.get("type"), str) else "function",
    }


@dataclass(slots=True)
class _Slot:
    """A tool call as it comes."""

    id: str | None = None
    name: str = ""
    arguments: str = ""
    rest: dict[str, Any] = field(default_factory=dict)

    def complete(self) -> bool:
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True


@dataclass(slots=True)
class _Choice:
    """One choice of a stream, put together again as it comes."""

    finish: str | None = None
    half: str = ""
    """The first half of a surrogate pair whose second half may come."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)
    thoughts: dict[str, list[Any]] = field(default_factory=dict)
    slots: list[_Slot] = field(default_factory=list)

    def content(self, text: str | None, *, ending: bool) -> str | None:
        """A pair whose halves came in two chunks is one letter again."""
        half = self.half
        self.half = ""
        if half and text is not None:
            text = (
                (half + text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                if LONE.match(text)
                else half + text
            )
        elif half:
            text = half
        if text and "\ud800" <= text[-1] <= "\udbff" and not ending:
            self.half = text[-1]
            text = text[:-1]
        return text

    def part(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """A part of a tool call, at the place that it belongs to. What stands there already is not
        said again: clients would join it."""
        told = _function(call)
        function = told.get("function", {})
        place = self._place(
            _small(call.get("index")), told.get("id") or None, function.get("name") or ""
        )
        if place >= MOST_PARTS:
            raise unreadable()
        self.slots.extend(_Slot() for _ in range(place + 1 - len(self.slots)))
        slot = self.slots[place]
        if slot.id is not None and told.get("id") == slot.id:
            del told["id"]
        if slot.name and function.get("name") in (slot.name, ""):
            function.pop("name", None)
        slot.id = slot.id or repaired(told.get("id")) or None
        slot.name += repaired(function.get("name") or "")
        slot.arguments += repaired(function.get("arguments") or "")
        slot.rest |= repaired(
            {
                key: item
                for key, item in told.items()
                if key not in ("index", "function", "id") and item
            }
        )
        if "function" not in told:
            slot.rest.setdefault("function", None)
        return {"index": place} | told

    def _place(self, index: int | None, id_: str | None, name: str) -> int:
        """By index, unless another call has it (Gemini's all say 0); else by id; else the last one,
        if it is not whole yet."""
        ids = [slot.id for slot in self.slots]
        if id_ is not None and id_ in ids:
            return ids.index(id_)
        if index is not None and (id_ is None or index >= len(ids) or ids[index] is None):
            return index
        if id_ is not None or not self.slots:
            return len(self.slots)
        last = self.slots[-1]
        return (
            len(self.slots)
            if name and (name != last.name or last.complete())
            else len(self.slots) - 1
        )

    def keep(self, choice: Mapping[str, Any]) -> None:
        for key, item in choice["delta"].items():
            if key in ("content", "refusal") and isinstance(item, str):
                self.texts.setdefault(key, []).append(item)
            elif key in ("reasoning_content", "reasoning") and isinstance(item, str):
                self.thoughts.setdefault(key, []).append(item)
            elif key in ("reasoning_details", "thinking_blocks") and isinstance(item, list):
                self.thoughts.setdefault(key, []).extend(item)
            elif key in ("audio", "function_call") and isinstance(item, dict):
                self.rest[key] = _merged(self.rest.get(key) or {}, item)
            elif key in ("images", "annotations") and isinstance(item, list):
                self.rest[key] = [*self.rest.get(key, ()), *item]
        if self.finish in (None, "stop"):  # a later one may say less
            self.finish = choice["finish_reason"] or self.finish

    def said(self) -> bool:
        return any(map(any, self.texts.values())) or bool(self.slots or self.rest)

    def answer(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.texts.get("content", ())),
        }
        if refused := "".join(self.texts.get("refusal", ())):
            message["refusal"] = refused
        message |= {key: _thought(key, parts) for key, parts in self.thoughts.items() if any(parts)}
        message |= self.rest
        calls = [
            _call(_whole_call(slot), place)
            for place, slot in enumerate(self.slots)
            if slot.id or slot.name or slot.rest
        ]
        if calls:
            message["tool_calls"] = calls
        return {"index": index, "message": message, "finish_reason": self.finish}


def _thought(key: str, parts: list[Any]) -> Any:
    """What a model thought, of its pieces."""
    if key == "reasoning_details":
        return whole_details(parts)
    return parts if key == "thinking_blocks" else "".join(parts)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Texts joined, anything else replaced."""
    joined = {
        key: one[key] + item
        for key, item in other.items()
        if isinstance(item, str) and isinstance(one.get(key), str) and key != "id"
    }
    return {**one, **{key: item for key, item in other.items() if item is not None}, **joined}


def _whole_call(slot: _Slot) -> dict[str, Any]:
    call = {"type": "function"} | slot.rest | ({"id": slot.id} if slot.id else {})
    if call.get("function", "") is None and not (
        slot.name or slot.arguments
    ):  # a call of another kind
        return {key: item for key, item in call.items() if key != "function"}
    return call | {"function": {"name": slot.name, "arguments": slot.arguments}}


@dataclass(slots=True)
class Joined:
    """The choices of a stream, put together again as they come."""

    first_at: float | None = None
    """When its first word, or tool call, came (`time.monotonic`)."""
    begun: bool = False
    """Whether anything came that a reader can see: a word, a thought, a tool call, or the end."""
    choices: dict[int, _Choice] = field(default_factory=dict)
    _rest: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every choice has its end."""
        return bool(self.choices) and all(choice.finish for choice in self.choices.values())

    def take(self, value: Any) -> dict[str, Any]:
        """A chunk as it is handed on. Raises `ModelUnreachable`."""
        if not isinstance(value, dict):
            raise unreadable()
        raise_error(value)
        _raise_bare_error(value)
        given = _listed(value.get("choices"))[:MOST_PARTS]
        usages = [
            choice.pop("usage") for choice in given if isinstance(choice.get("usage"), dict)
        ]  # as Moonshot has it
        choices = [self._choice(choice, place) for place, choice in enumerate(given)]
        chunk: dict[str, Any] = repaired(value | {"choices": choices})
        for usage_ in (*usages, chunk.get("usage")):
            if isinstance(usage_, dict):
                before = self._rest.get("usage") or {}
                self._rest["usage"] = before | {
                    key: item for key, item in usage_.items() if item or key not in before
                }
        self._rest |= {
            key: item
            for key, item in chunk.items()
            if key not in ("choices", "usage", NATIVE) and item
        }
        for choice in chunk["choices"]:
            state = self.choices[choice["index"]]
            state.keep(choice)
            if self.first_at is None and state.said():
                self.first_at = time.monotonic()
        return chunk | ({"usage": self._rest["usage"]} if usages and "usage" not in chunk else {})

    def _choice(self, choice: dict[str, Any], place: int) -> dict[str, Any]:
        raise_error(choice)
        index = _small(choice.get("index"))
        index = place if index is None else index
        state = self.choices.setdefault(index, _Choice())
        delta = dict(_given(choice, "delta", "message") or {})
        if "delta" not in choice and "content" in delta and any(state.texts.get("content", ())):
            del delta["content"]  # the whole message again, at the end
        ending = bool(choice.get("finish_reason"))
        if "content" in delta or (ending and state.half):
            delta["content"] = state.content(text_of(delta.get("content")), ending=ending)
        if calls := _listed(delta.pop("tool_calls", None)):
            delta["tool_calls"] = [state.part(call) for call in calls]
        reason = choice.get("finish_reason")
        self.begun = (
            self.begun or bool(reason) or any(item for key, item in delta.items() if key != "role")
        )
        rest = {key: item for key, item in choice.items() if key not in ("message", "text")}
        return rest | {
            "index": index,
            "delta": delta,
            "finish_reason": reason if isinstance(reason, str) and reason else None,
        }

    def empty(self) -> bool:
        return not any(choice.said() or choice.finish for choice in self.choices.values())

    def answer(self) -> dict[str, Any]:
        """All of it, so far, as one whole answer."""
        found = [self.choices[index].answer(index) for index in sorted(self.choices)] or [
            _Choice().answer(0)
        ]
        return self._rest | {"choices": found}


@dataclass(slots=True)
class Reader:
    """Takes the bytes of one answer as they come, and gives chunks. Events are known from a whole
    answer by how they begin."""

    joined: Joined = field(default_factory=Joined)
    came: dict[str, Any] | None = None
    """The whole answer, where one came that was no stream."""
    done: bool = False
    """Nothing more is expected, whatever comes."""
    _events: Events | None = None
    _body: bytearray = field(default_factory=bytearray)
    _decided: bool = False
    _size: int = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The chunks that end with these bytes; take them all. Raises `ModelUnreachable` where one
        is an error, after those before it."""
        self._size += len(data)
        if self._size > MOST_BYTES:
            raise ModelUnreachable(
                f"the answer has more than {MOST_BYTES} bytes", Trouble.unreadable
            )
        if self._events is None:
            self._body += data
            data = self._begun()
        if self._events is not None:
            yield from self._chunks(self._events.feed(data))

    def _begun(self) -> bytes:
        """Whether it is events, by the first bytes that say so; then those bytes. Raises
        `ModelUnreachable` if it is neither."""
        if self._decided or (
            codecs.BOM_UTF8.startswith(self._body[:3]) and len(self._body) < len(codecs.BOM_UTF8)
        ):
            return b""
        self._body = self._body.removeprefix(codecs.BOM_UTF8).lstrip(BLANK)
        if not self._body:
            return b""
        self._decided = True
        first = bytes(self._body[:1])
        if first == b"<":
            raise unreadable()
        if first in (b"{", b"["):
            return b""
        self._events = Events()
        data = bytes(self._body)
        self._body.clear()
        return data

    def end(self) -> Iterator[dict[str, Any]]:
        """The chunks that are left when no more bytes come. Raises `ModelUnreachable` if that is
        too early."""
        if self._events is None:
            self.came = self._end_whole(bytes(self._body))
            yield self.joined.take(as_chunk(self.came))
        elif not self.done:
            yield from self._chunks(self._events.end())
            if not self.done and not self.joined.finished:
                raise cut_off() if self.joined.choices else unreadable()
        self.done = True

    def _end_whole(self, data: bytes) -> dict[str, Any]:
        """A whole answer's bytes in the inner form. Raises `ModelUnreachable`."""
        return whole(parsed(data))

    def _chunks(self, events: Iterable[tuple[str, list[bytes]]]) -> Iterator[dict[str, Any]]:
        for name, lines in events:
            if not self.done:
                yield from self._event(name, lines)

    def _event(self, name: str, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        data = b"\n".join(lines).strip()
        if data.strip(b'"').strip(b"[]").lower() == b"done":
            if self.joined.empty():
                raise ModelUnreachable("the stream ended without an answer", Trouble.failed)
            self.done = True
        elif not data:
            return
        elif self.joined.finished:
            yield from self._afterwards(lines)
        elif name == "error":
            raise _told(data)
        elif data[:1] == b"{" or b"\n{" in data:
            for value in _values(data, lines):
                yield self.joined.take(value)
        # else it is no chunk: null, a list, a word that keeps the connection alive

    def _afterwards(self, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        """What comes after the end of the answer: usage, if it is that. Nothing there costs the
        answer."""
        try:
            for value in _values(b"\n".join(lines), lines):
                yield self.joined.take(value)
        except ModelUnreachable:
            return

    def answer(self) -> dict[str, Any]:
        """All of it, so far, as one whole answer in OpenAI's form."""
        return self.came if self.came is not None else self.joined.answer()


def _values(data: bytes, lines: list[bytes]) -> list[Any]:
    """The JSON of one event, or, where the API leaves out the empty lines between its events, of
    each line."""
    try:
        return [parsed(data)]
    except ModelUnreachable:
        if len(lines) == 1:
            raise
    return [parsed(line) for line in lines if line.strip() not in (b"", b"[DONE]")]


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
    """What an API says that an answer took; None for what it does not say in a form that can be
    read."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    """Of the prompt's, those that were read from the provider's cache."""
    written_tokens: int = 0
    """Of the prompt's, those that were put into it."""
    cost_usd: float | None = None


def usage(value: Any) -> Usage:
    """Read OpenAI's usage with what OpenRouter, Perplexity, Anthropic and DeepSeek add to it."""
    if not isinstance(value, dict):
        return Usage()

    def count(*keys: str) -> float | None:
        return next(
            (n for key in keys if (n := number(value.get(key), MOST_TOKENS)) is not None), None
        )

    prompt = count("prompt_tokens")
    completion = count("completion_tokens", "output_tokens")
    total = count("total_tokens")
    read = count("cache_read_input_tokens")
    if prompt is None and (own := count("input_tokens")) is not None:
        prompt = own + (read or 0) + (count("cache_creation_input_tokens") or 0)
    if prompt is not None and read is not None and read > prompt:  # counted beside the prompt's
        prompt += read
    if total is not None and prompt is not None and completion is not None:
        completion = max(completion, total - prompt)  # Gemini and xAI leave out what was thought
    details = [value.get(key) for key in ("prompt_tokens_details", "input_tokens_details")]
    told = [
        number(one.get("cached_tokens"), MOST_TOKENS) for one in details if isinstance(one, dict)
    ]
    cached = next(
        (n for n in (*told, count("prompt_cache_hit_tokens"), count("cached_tokens"), read) if n), 0
    )
    cached = min(cached, prompt or 0)
    writes = [
        number(one.get("cache_write_tokens"), MOST_TOKENS)
        for one in details
        if isinstance(one, dict)
    ]
    written = next((n for n in (*writes, count("cache_creation_input_tokens")) if n), 0)
    return Usage(
        None if prompt is None else int(prompt),
        None if completion is None else int(completion),
        int(cached),
        int(min(written, (prompt or 0) - cached)),
        _cost(value),
    )


def _cost(value: Mapping[str, Any]) -> float | None:
    """USD. Who brings a key of their own pays the model's maker beside OpenRouter, which says so in
    `cost_details`."""
    given = value.get("cost")
    cost = number(
        given.get("total_cost", given.get("total")) if isinstance(given, dict) else given, MOST_USD
    )
    details = value.get("cost_details")
    upstream = (
        number(details.get("upstream_inference_cost"), MOST_USD)
        if isinstance(details, dict)
        else None
    )
    if value.get("is_byok") is True:
        return None if not upstream else upstream + (cost or 0.0)
    return cost or upstream or cost
