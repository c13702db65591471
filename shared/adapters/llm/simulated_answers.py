"""What SIMULATED language models say: texts whose quality a person can see, JSON that fits a given
schema, calls of given tools.

A text is composed from the prompt's own words, in one of six degrees of quality. The best goes into
each of the prompt's points, is ordered and ends; the worst leaves the subject and breaks off. Each
begins by saying that it is simulated.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from shared.routing.deciding.extraction import extract

T = TypeVar("T")
Draw = Callable[[str], float]
"""A number in 0..1 for a name; the same for the same name."""
SAYS = "SIMULATED answer."
DEGREES = 6
"""Of quality that a person can see."""
POINTS = 4
"""Points of a prompt that an answer goes into at most."""
OFFERED = 3
"""A model calls a tool by itself only where so few are offered: an agent that offers many would
run what words of a prompt happen to say."""
RISKY = frozenset({"command", "cmd", "code", "script", "path", "file_path", "sql", "query_string"})
"""Parameters of tools that do something to a machine; a model calls none of those by itself."""
WORD = re.compile(r"[^\W\d_]{4,}")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n+")
DEEPEST = 12
"""Levels of a schema that refers to itself."""
MOST_ITEMS, MOST_LETTERS = 50, 1000
"""Of a list and of a text, whatever a schema asks for."""
FORMATS: Mapping[str, str] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


@dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """What a model says: a text, or a call of a tool."""

    content: str | None
    calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str = "stop"

    def inner(self) -> dict[str, Any]:
        """As OpenAI's API has it."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        return message | ({"tool_calls": list(self.calls)} if self.calls else {})


def answered(
    body: Mapping[str, Any], prompt: str, grade: float, mark: str, draw: Draw
) -> SimulatedMessage:
    """What a model of this `grade` (0 to 1) says to a request. `mark` is put behind a text."""
    if (tool := called(body, prompt)) is not None:
        arguments = made_for(tool.get("parameters") or {}, prompt, draw)
        digest = hashlib.sha256(f"{tool['name']}\0{prompt}".encode()).hexdigest()[:16]
        function = {"name": tool["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
        call = {"id": f"call_{digest}", "type": "function", "function": function}
        return SimulatedMessage(None, (call,), "tool_calls")
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {}
        return limited(json.dumps(made_for(schema, prompt, draw), ensure_ascii=False), body)
    if form.get("type") == "json_object":
        return limited(json.dumps({"answer": text(prompt, grade, draw)}, ensure_ascii=False), body)
    result = _result(body)
    said = text(prompt, grade, draw) if result is None else f"{SAYS} The tool said: {result}"
    return limited(said, body, f"\n\n<!-- {mark} -->")


def invalid(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a provider would refuse of a request: the field, and why."""
    for name, low, high in (("n", 1, 128), ("max_tokens", 1, None), ("temperature", 0, 2)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            return name, "a number is needed"
        if value < low or (high is not None and value > high):
            return name, f"from {low}" + (f" to {high}" if high is not None else "")
    names = {
        (tool.get("function") or {}).get("name")
        for tool in body.get("tools") or ()
        if isinstance(tool, Mapping)
    }
    if not all(isinstance(name, str) and name for name in names):
        return "tools", "a function needs a name"
    choice = body.get("tool_choice")
    if choice == "required" and not names:
        return "tool_choice", "there are no tools"
    if isinstance(choice, Mapping) and (choice.get("function") or {}).get("name") not in names:
        return "tool_choice", "there is no such tool"
    form = body.get("response_format")
    kinds = ("text", "json_object", "json_schema")
    if isinstance(form, Mapping) and form.get("type") not in kinds:
        return "response_format.type", f"one of {', '.join(kinds)}"
    return None


def most_tokens(body: Mapping[str, Any]) -> int | None:
    """The limit of tokens that a request sets."""
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    return most if isinstance(most, int) else None


def limited(said: str, body: Mapping[str, Any], behind: str = "") -> SimulatedMessage:
    """A text up to the first stop sequence, or to the limit of tokens; `behind` it stands what is
    not part of the answer."""
    stops = body.get("stop") or ()
    ends = [said.find(s) for s in ([stops] if isinstance(stops, str) else stops) if s in said]
    said = said[: min(ends)] if ends else said
    most = most_tokens(body)
    words = re.findall(r"\s*\S+", said)
    if most is not None and len(words) > most:
        return SimulatedMessage("".join(words[:most]) + behind, (), "length")
    return SimulatedMessage(said + behind)


# texts


def text(prompt: str, grade: float, draw: Draw) -> str:
    """An answer in words, in one of six degrees: from one that goes into every point, is ordered
    and ends, to one that leaves the subject and breaks off."""
    degree = min(DEGREES - 1, max(0, int(DEGREES * grade)))
    points = _points(prompt)
    subject = _subject(prompt)
    if degree == 0:
        return f"{SAYS} Interesting! It reminds me of {_other(draw)}, which is also about"
    if degree == 1:
        other = _other(draw)
        return f"{SAYS} I can't say much about {subject}. It depends. Have you thought of {other}?"
    if degree == 2:
        return f"{SAYS} About {subject}: {_on(points[0], draw)} The rest depends on the details."
    taken = points if degree > 3 else points[: (len(points) + 1) // 2]
    lines = [f"{SAYS} {extract(prompt)[:200]}", ""]
    lines += [f"{i}. {_on(point, draw)}" for i, point in enumerate(taken, 1)]
    if degree == 3:
        return "\n".join([*lines, "", "The other points are much the same."])
    code = "```" in prompt or re.search(r"\b(?:code|function|python|sql|script)\b", prompt.lower())
    lines += ["", _code(subject)] if code else []
    if degree == 5:
        count = f"{len(points)} point{'' if len(points) == 1 else 's'}"
        lines += ["", f"In short: {count} on {subject}, each with what follows from it."]
        lines += ["Checked: the figures, the names and the order are those of the question."]
    return "\n".join(lines)


def _other(draw: Draw) -> str:
    """Another subject."""
    others = ("the weather", "a holiday by the sea", "the history of tea", "a garden in spring")
    return _drawn(others, draw("other"))


def _drawn(values: Sequence[T], share: float) -> T:
    """One of several, by a number in 0..1."""
    return values[int(share * len(values)) % len(values)]


def _points(prompt: str) -> list[str]:
    """The sentences of a prompt that an answer goes into."""
    parts = [part.strip(" \t-•*") for part in SENTENCE.split(prompt[:6000])]
    return [part[:160] for part in parts if len(part) > 2][:POINTS] or ["what was asked"]


def _subject(prompt: str) -> str:
    """The words that come most often."""
    words = Counter(word.lower() for word in WORD.findall(prompt[:6000]))
    best = sorted(words, key=lambda word: (-words[word], -len(word), word))[:2]
    return " and ".join(best) or "this"


def _on(point: str, draw: Draw) -> str:
    """A sentence on one point."""
    phrases = (
        "On “{0}”: this is done, and checked once more.",
        "“{0}” comes first, since the rest builds on it.",
        "For “{0}” the plain way is the best one, and it is given here in full.",
        "“{0}”: taken as it stands, with its figures and names kept.",
    )
    return _drawn(phrases, draw(f"phrase {point}")).format(point.rstrip(".!?"))


def _code(subject: str) -> str:
    name = re.sub(r"\W+", "_", subject)
    return (
        f"```python\ndef {name}(values):\n    if not values:\n        return []\n"
        "    return sorted(values)\n\n\nassert "
        f"{name}([2, 1]) == [1, 2]\n```"
    )


# tools


def called(body: Mapping[str, Any], prompt: str) -> Mapping[str, Any] | None:
    """The tool that is called, if any: the one that the request names; else, where one must be
    called, the one that shares most words with the prompt; else that only if it is harmless, and
    one of few."""
    functions = [
        tool["function"]
        for tool in body.get("tools") or ()
        if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    ]
    choice = body.get("tool_choice", "auto")
    if not functions or choice == "none" or _result(body) is not None:
        return None
    if isinstance(choice, Mapping):
        name = (choice.get("function") or {}).get("name")
        return next((f for f in functions if f.get("name") == name), None)
    words = {word.lower() for word in WORD.findall(prompt)}

    def shared(function: Mapping[str, Any]) -> int:
        about = f"{function.get('name', '')} {function.get('description', '')}".replace("_", " ")
        return len(words & {word.lower() for word in WORD.findall(about)})

    best = max(functions, key=shared)
    if choice == "required":
        return best
    parameters = (best.get("parameters") or {}).get("properties") or {}
    harmless = len(functions) <= OFFERED and not RISKY & parameters.keys()
    return best if harmless and shared(best) else None


def _result(body: Mapping[str, Any]) -> str | None:
    """What a tool has said, if that is what came last."""
    messages = body.get("messages") or ()
    if not messages or messages[-1].get("role") != "tool":
        return None
    said = messages[-1].get("content")
    return str(said)[:500] if said else "nothing"


# JSON that fits a schema


def made_for(schema: Mapping[str, Any], prompt: str, draw: Draw) -> Any:
    """A value that fits a JSON schema, of the prompt's words and numbers. `pattern` is not read: a
    schema that has one should give an example."""
    return _Maker(schema, prompt, draw).value(schema, "", 0)


class _Maker:
    """Makes one value."""

    def __init__(self, root: Mapping[str, Any], prompt: str, draw: Draw) -> None:
        self._root = root
        self._draw = draw
        self._words = WORD.findall(prompt) or ["something"]
        self._numbers = [float(n) for n in NUMBER.findall(prompt)[:20]]

    def value(self, schema: Any, at: str, depth: int) -> Any:
        """A value; `at` is its place, `depth` how far down it is."""
        if depth > 2 * DEEPEST:
            return None
        if not isinstance(schema, Mapping):  # true: anything
            return self._word(at)
        if "$ref" in schema:
            return self.value(self._referred(str(schema["$ref"])) | _but_ref(schema), at, depth + 1)
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if schema.get("examples"):
            return schema["examples"][0]
        if schema.get("enum"):
            return self._one_of(schema["enum"], at)
        if schema.get("allOf"):
            return self.value(_joined(schema, self._referred), at, depth + 1)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self._any_of(schema[key], at, depth)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind is None:
            kind = (
                "object" if "properties" in schema else "array" if "items" in schema else "string"
            )
        kinds = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._number,
            "boolean": self._boolean,
            "null": self._null,
        }
        return kinds.get(str(kind), self._string)(schema, at, depth)

    def _referred(self, ref: str) -> dict[str, Any]:
        """What `#/…` names."""
        found: Any = self._root
        for step in ref.removeprefix("#").strip("/").split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name, {}) if name and isinstance(found, Mapping) else found
        return dict(found) if isinstance(found, Mapping) else {}

    def _any_of(self, choices: Sequence[Any], at: str, depth: int) -> Any:
        """One of several; far down the plainest, so that it ends."""
        plain = [c for c in choices if isinstance(c, Mapping) and c.get("type") == "null"]
        if depth >= DEEPEST and plain:
            return None
        return self.value(next((c for c in choices if c not in plain), choices[0]), at, depth + 1)

    def _object(self, schema: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = list(schema.get("required") or ())
        names = [n for n in properties if n in required or depth < DEEPEST // 2]
        names += [n for n in required if n not in properties]
        return {n: self.value(properties.get(n, {}), f"{at}/{n}", depth + 1) for n in names}

    def _array(self, schema: Mapping[str, Any], at: str, depth: int) -> list[Any]:
        least = min(MOST_ITEMS, int(schema.get("minItems") or 0))
        most = int(schema.get("maxItems", max(least, 2)))
        count = least if depth >= DEEPEST // 2 else min(most, max(least, 2))
        first = schema.get("prefixItems") or ()
        items = schema.get("items", {})
        return [
            self.value(first[i] if i < len(first) else items, f"{at}/{i}", depth + 1)
            for i in range(count)
        ]

    def _string(self, schema: Mapping[str, Any], at: str, _depth: int) -> str:
        if (form := str(schema.get("format"))) in FORMATS:
            return FORMATS[form]
        least = min(MOST_LETTERS, int(schema.get("minLength") or 0))
        most = schema.get("maxLength")
        said = self._word(at)
        while len(said) < least:
            said += f" {self._word(at + said)}"
        return said if most is None else said[: int(most)]

    def _integer(self, schema: Mapping[str, Any], at: str, _depth: int) -> int:
        return int(self._bounded(schema, at, 1.0))

    def _number(self, schema: Mapping[str, Any], at: str, _depth: int) -> float:
        return self._bounded(schema, at, 0.0)

    def _bounded(self, schema: Mapping[str, Any], at: str, least_step: float) -> float:
        """A number within the bounds, the prompt's own where one fits."""
        step = float(schema.get("multipleOf") or least_step)
        past = step or 1e-6
        low = float(schema.get("minimum", -math.inf))
        high = float(schema.get("maximum", math.inf))
        if isinstance(over := schema.get("exclusiveMinimum"), int | float) and over is not True:
            low = max(low, over + past)
        if isinstance(below := schema.get("exclusiveMaximum"), int | float) and below is not True:
            high = min(high, below - past)
        fitting = [n for n in self._numbers if low <= n <= high and (not step or n % step == 0)]
        if fitting:
            return self._one_of(fitting, at)
        if math.isfinite(low):
            return math.ceil(low / step) * step if step else low
        if math.isfinite(high):
            return math.floor(high / step) * step if step else high
        return step * math.floor(1 + 9 * self._draw(at)) if step else 1.0

    def _boolean(self, _schema: Mapping[str, Any], at: str, _depth: int) -> bool:
        return self._draw(at) < 0.5

    def _null(self, _schema: Mapping[str, Any], _at: str, _depth: int) -> None:
        return None

    def _word(self, at: str) -> str:
        return self._one_of(self._words, at)

    def _one_of(self, values: Sequence[Any], at: str) -> Any:
        return _drawn(values, self._draw(at))


def _but_ref(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$ref"}


def _joined(schema: Mapping[str, Any], referred: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """A schema with all that its `allOf` asks for."""
    joined: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        whole = referred(str(part["$ref"])) | _but_ref(part) if "$ref" in part else dict(part)
        properties = {**(joined.get("properties") or {}), **(whole.get("properties") or {})}
        required = [*(joined.get("required") or ()), *(whole.get("required") or ())]
        joined |= whole
        joined |= {"properties": properties, "required": required} if properties else {}
    return joined
