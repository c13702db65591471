"""Simulated language models: an OpenAI-compatible API with models of known skill, and a judge that
is not always right.

Everything follows from a seed: a prompt's task, how good each model's answer to it is, what it
costs and how long it takes. An answer carries its quality in a mark that only
the simulated judge reads. So the truth is known, and it can be shown that the system finds it;
every answer, message and screen says SIMULATED. Without a key it runs inside the process
(`providers`); `pointsman simulate` serves the same over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx
import numpy as np

from shared.adapters.llm.simulated_answers import SimulatedMessage, answered, invalid, most_tokens
from shared.catalog import models, tasks
from shared.catalog.estimates import BYTES_PER_TOKEN
from shared.catalog.models import Catalog
from shared.protocols import text_of_parts
from shared.routing.deciding.extraction import extract

DESCRIBER = "simulated-describer"
JUDGE = "simulated-judge"
OBEDIENT = "simulated-judge-obedient"
"""A judge that does what the text it is given tells it to do, for testing what protects it."""
DESCRIBE_S = (0.02, 0.06)
MARK = re.compile(r"\[\[sim:([0-9a-f]{16}):([0-9a-f]{8})\]\]")
MOST_ANSWERS = 8
"""Of one request (`n`)."""
EULER = 0.5772
"""The mean of luck."""
WORD = re.compile(r"\w{3,}")


@dataclass(slots=True)
class World:
    """What is true. Two worlds with the same fields answer the same questions alike."""

    seed: int = 0
    spacing: float = 1.1
    """How far apart, in logits, neighbours in skill are on a task."""
    judge_accuracy: float = 0.8
    """How often a vote that does not follow the position goes to the better answer."""
    judge_pull: float = 0.2
    """The fraction of votes that go to the first position whatever is there."""
    judge_ties: float = 0.05
    judge_garbage: float = 0.01
    """The fraction of judgements that can't be read."""
    errors: dict[str, float] = field(default_factory=dict)
    """Model: the fraction of its calls that fail with HTTP 500."""
    shifts: dict[str, float] = field(default_factory=dict)
    """Model, or "model/task": logits added to its skill; how a model's quality drops overnight."""
    time_scale: float = 0.0
    """How much of a model's latency is really waited. 0: answers come at once and only say how long
    they would have taken."""
    catalog: Catalog = field(default_factory=models.load)
    base: dict[tuple[str, str], float] = field(default_factory=dict, repr=False)
    calls: Counter[str] = field(default_factory=Counter)
    """Calls answered, by model."""
    billed_usd: float = 0.0

    def skill(self, model: str, task: str) -> float:
        """In logits: P(i's answer is better than j's) is the logistic of the difference of their
        skills.

        On each task the models of a profile stand about `spacing` apart, in an order of its own.
        More expensive models tend to lead."""
        if (model, task) not in self.base:
            peers = next(
                (names for names in self.catalog.profiles.values() if model in names), (model,)
            )
            expensive = sorted(
                peers,
                key=lambda n: (
                    self.catalog.models[n].price.output if n in self.catalog.models else 0.0
                ),
            )
            taste = {
                n: 1.5 * i / max(1, len(expensive) - 1) + _normal(self.seed, "taste", n, task)
                for i, n in enumerate(expensive)
            }
            for i, name in enumerate(sorted(peers, key=lambda n: taste[n])):
                self.base[name, task] = self.spacing * i + 0.15 * _normal(
                    self.seed, "skill", name, task
                )
        return (
            self.base[model, task]
            + self.shifts.get(model, 0.0)
            + self.shifts.get(f"{model}/{task}", 0.0)
        )

    def task_of(self, prompt: str) -> str:
        """The task that a prompt poses, by the words it shares with the prompts of the 25."""
        vocabulary = _vocabulary()
        return vocabulary.nearest(prompt)

    def quality(self, model: str, prompt: str, number: int = 0) -> float:
        """Of the answer to this very prompt, or of the next ones (`number`): skill and luck
        (Gumbel, so that comparisons follow Bradley-Terry)."""
        share = _share(self.seed, "luck", model, prompt, *([number] if number else []))
        return self.skill(model, self.task_of(prompt)) - math.log(
            -math.log(min(max(share, 1e-12), 1 - 1e-12))
        )

    # what the API says

    def respond(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """HTTP status and JSON for one chat completion."""
        asked = str(body.get("model", ""))
        content = _last(body.get("messages") or [])
        if asked.startswith(JUDGE):
            return 200, self._judge(asked, content, int(body.get("seed") or 0))
        entry = next(
            (m for m in self.catalog.models.values() if asked in (m.name, m.openrouter)), None
        )
        if asked == DESCRIBER or content.startswith("BEGIN "):
            text = extract(_between_fences(content))
            return 200, self._body(
                DESCRIBER,
                text,
                80 + len(content) // BYTES_PER_TOKEN,
                len(text) // BYTES_PER_TOKEN + 1,
                0.0,
                0.04,
            )
        if entry is None:
            return 404, {
                "error": {
                    "message": f"simulated: there is no model {asked}",
                    "type": "invalid_request_error",
                    "code": 404,
                }
            }
        if _share(self.seed, "error", asked, content, self.calls[asked]) < self.errors.get(
            entry.name, 0.0
        ):
            self.calls[asked] += 1
            return 500, {
                "error": {"message": "simulated failure", "type": "server_error", "code": 500}
            }
        if (wrong := invalid(body)) is not None:
            param, text = wrong
            error = {"message": f"{param}: {text}", "type": "invalid_request_error", "param": param}
            return 400, {"error": error | {"code": "invalid_value"}}
        messages = [
            self._answer(entry.name, content, body, number)
            for number in range(min(MOST_ANSWERS, max(1, int(body.get("n") or 1))))
        ]
        read = [
            content,
            *(text_of_parts(m.get("content")) for m in (body.get("messages") or [])[:-1]),
        ]
        if body.get("tools"):
            read.append(json.dumps(body["tools"]))
        prompt_tokens = max(1, sum(len(part.encode()) for part in read) // BYTES_PER_TOKEN)
        length = int(100 + 300 * _share(self.seed, "length", entry.name, content))
        most = most_tokens(body)
        length = min(length, most) if most is not None and most > 0 else length
        completion_tokens = length * len(messages)
        latency = entry.latency_s * math.exp(
            0.3 * _normal(self.seed, "latency", entry.name, content)
        )
        cost = entry.price.cost_usd(prompt_tokens, completion_tokens)
        return 200, self._body(
            entry.openrouter, messages, prompt_tokens, completion_tokens, cost, latency
        )

    def _answer(
        self, model: str, prompt: str, body: dict[str, Any], number: int
    ) -> SimulatedMessage:
        """What a model says, and how good that is to see; the second of several answers (`n`) has
        luck of its own."""
        quality = self.quality(model, prompt, number)
        usual = self.spacing * 3 + EULER
        grade = 1 / (1 + math.exp(-(quality - usual) / 1.5))
        mark = self.mark(quality, f"{prompt}\0{number}" if number else prompt, model)

        def draw(what: str) -> float:
            return _share(self.seed, "said", model, prompt, number, what)

        return answered(body, prompt, grade, mark, draw)

    def _body(
        self,
        model: str,
        said: str | Sequence[SimulatedMessage],
        prompt_tokens: int,
        completion_tokens: int,
        cost: float,
        latency: float,
    ) -> dict[str, Any]:
        self.calls[model] += 1
        self.billed_usd += cost
        return {
            "id": "simulated",
            "object": "chat.completion",
            "model": model,
            "choices": [
                {"index": i, "message": one.inner(), "finish_reason": one.finish_reason}
                for i, one in enumerate([SimulatedMessage(said)] if isinstance(said, str) else said)
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "cost": round(cost, 9),
            },
            "simulated": {"latency_s": round(latency, 4), "first_token_s": round(latency / 5, 4)},
        }

    def mark(self, quality: float, prompt: str, model: str) -> str:
        """Quality in a form that only the seed can decode."""
        nonce = hashlib.sha256(f"{model}\0{prompt}".encode()).hexdigest()[:16]
        return f"[[sim:{nonce}:{_fixed(quality) ^ _key(self.seed, nonce):08x}]]"

    def read_marks(self, text: str) -> list[float]:
        return [
            ((int(cipher, 16) ^ _key(self.seed, nonce)) - 2**31) / 1e6
            for nonce, cipher in MARK.findall(text)
        ]

    def _judge(self, asked: str, content: str, turn: int) -> dict[str, Any]:
        first, second = _answers(content)
        tokens = len(content) // BYTES_PER_TOKEN

        def draw(what: str) -> float:
            return _share(
                self.seed, what, asked, MARK.findall(first)[-1:], MARK.findall(second)[-1:], turn
            )

        if draw("garbage") < self.judge_garbage:
            text = "I would say that both have their merits."
        else:
            order = _order(content) if asked == OBEDIENT else None
            text = json.dumps({"better": order or self._verdict(first, second, draw)})
        return self._body(asked, text, tokens, 12, (0.15 * tokens + 0.6 * 12) / 1e6, 0.8)

    def _verdict(self, first: str, second: str, draw: Callable[[str], float]) -> str:
        marks = [
            marks[-1] if (marks := self.read_marks(side)) else -10.0 for side in (first, second)
        ]
        if draw("tie") < self.judge_ties:
            return "tie"
        if draw("pull") < self.judge_pull:
            return "first"
        right = draw("hit") < self.judge_accuracy
        return "first" if (marks[0] > marks[1]) == right else "second"


@dataclass(frozen=True)
class _Vocabulary:
    counts: dict[str, Counter[str]]

    @cached_property
    def weights(self) -> dict[str, float]:
        """Inverse document frequency over tasks."""
        seen = Counter(word for words in self.counts.values() for word in words)
        return {word: math.log((1 + len(self.counts)) / (0.5 + n)) for word, n in seen.items()}

    def nearest(self, prompt: str) -> str:
        words = Counter(w.lower() for w in WORD.findall(prompt[:2000]))
        best = max(
            self.counts,
            key=lambda task: (
                sum(
                    self.weights.get(w, 0.0) * min(1.0, self.counts[task][w] / 2)
                    for w in words
                    if w in self.counts[task]
                ),
                task,
            ),
        )
        return self.exact.get(hashlib.sha256(prompt.encode()).hexdigest(), best)

    @cached_property
    def exact(self) -> dict[str, str]:
        return {
            hashlib.sha256(p.encode()).hexdigest(): t.name
            for t in tasks.methodology()
            for p in t.train + t.test
        }


_known: list[_Vocabulary] = []


def _vocabulary() -> _Vocabulary:
    if not _known:
        _known.append(
            _Vocabulary(
                {
                    t.name: Counter(
                        w.lower() for p in (*t.train, t.description) for w in WORD.findall(p)
                    )
                    for t in tasks.methodology()
                }
            )
        )
    return _known[0]


def transport(world: World) -> Any:
    """An httpx handler that answers as `world`."""

    async def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        status, value = world.respond(body)
        content = _last(body.get("messages") or [])
        if content.startswith("BEGIN "):
            share = _share(0, "describe", _between_fences(content))
            await asyncio.sleep(DESCRIBE_S[0] + share * (DESCRIBE_S[1] - DESCRIBE_S[0]))
        latency = world.time_scale * value.get("simulated", {}).get("latency_s", 0.0)
        if status == 200 and body.get("stream"):
            return httpx.Response(
                200, headers={"content-type": "text/event-stream"}, content=streamed(value, latency)
            )
        await asyncio.sleep(latency)
        return httpx.Response(status, json=value)

    return answer


async def streamed(value: dict[str, Any], latency_s: float) -> AsyncIterator[bytes]:
    """An answer as the events of a stream, word by word, the first after a fifth of `latency_s`."""
    common = {"id": value["id"], "object": "chat.completion.chunk", "model": value["model"]}
    await asyncio.sleep(latency_s / 5)
    for choice in value["choices"]:
        index = choice["index"]
        deltas = _deltas(choice["message"])
        for delta in deltas:
            said = {"index": index, "delta": delta, "finish_reason": None}
            yield _event(common | {"choices": [said]})
            if latency_s:
                await asyncio.sleep(0.8 * latency_s / len(deltas) / len(value["choices"]))
        end = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        yield _event(common | {"choices": [end]})
    yield _event(common | {"choices": [], "usage": value["usage"], "simulated": value["simulated"]})
    yield b"data: [DONE]\n\n"


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message in parts: word by word, and a call's arguments in two."""
    words = re.findall(r"\s*\S+|\s+$", message.get("content") or "")
    deltas: list[dict[str, Any]] = [{"content": word} for word in words]
    if deltas:
        deltas[0]["role"] = "assistant"
    for i, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        half = len(function["arguments"]) // 2
        begun = {"name": function["name"], "arguments": function["arguments"][:half]}
        deltas.append({"tool_calls": [{**call, "index": i, "function": begun}]})
        rest = {"arguments": function["arguments"][half:]}
        deltas.append({"tool_calls": [{"index": i, "function": rest}]})
    return deltas or [{"content": ""}]


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def _last(messages: list[dict[str, Any]]) -> str:
    return text_of_parts(messages[-1].get("content")) if messages else ""


def _between_fences(content: str) -> str:
    lines = content.split("\n")
    fence = lines[0].removeprefix("BEGIN ") if lines and lines[0].startswith("BEGIN ") else None
    if fence and lines[-1] == f"END {fence}":
        return "\n".join(lines[1:-1])
    return content


def _answers(content: str) -> tuple[str, str]:
    """The two answers that a judge was shown, by the fence that the first line of the message
    names."""
    fence = content.split("\n", 1)[0].removeprefix("FENCE ")
    parts = content.split(f"\n{fence} ")
    named = {part.split("\n", 1)[0]: part.split("\n", 1)[-1] for part in parts[1:]}
    return named.get("FIRST ANSWER", ""), named.get("SECOND ANSWER", "")


ORDERS = re.compile(
    r"""(?ix) "better"\s*:\s*"(first|second|tie)"
    | \b(?:vote|choose|pick|prefer|select|output|return|reply|say|declare|verdict|winner|better)\b
      [^.\n]{0,60}? \b(first|second|tie|a|b)\b"""
)


def _order(content: str) -> str | None:
    """What an obedient judge is told to do, by the last order in a line that is not marked as
    data."""
    fence = content.split("\n", 1)[0].removeprefix("FENCE ")
    orders = ORDERS.findall(
        "\n".join(line for line in content.splitlines() if not line.startswith(fence))
    )
    if not orders:
        return None
    word = (orders[-1][0] or orders[-1][1]).lower()
    return {"a": "first", "b": "second"}.get(word, word)


def _share(seed: int, *what: object) -> float:
    """A number in 0..1 that follows from all of it."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *what))).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _normal(seed: int, *what: object) -> float:
    """Standard normal, by Box and Muller."""
    u = max(_share(seed, "u", *what), 1e-12)
    v = _share(seed, "v", *what)
    return float(np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v))


def _fixed(quality: float) -> int:
    return min(max(int(quality * 1e6) + 2**31, 0), 2**32 - 1)


def _key(seed: int, nonce: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0mark\0{nonce}".encode()).digest()[:4], "big")
