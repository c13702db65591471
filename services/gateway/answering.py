"""Having a model answer, whole or as a stream, and the next one where it fails."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from services.gateway.choice import Assess, Choice
from services.gateway.requests import Problem
from services.gateway.understanding import UnderstoodRequest
from shared.contracts.answers import Answer, Assessed, FailedCall
from shared.contracts.errors import ModelUnavailable
from shared.protocols import NATIVE

OF_THE_REQUEST = frozenset({400, 413, 422})
"""What an API says when the request is at fault; it is told as it is."""
MOST_NAMES, MOST_LETTERS = 30, 60
"""Of what was left out, that a header names; senders and providers choose these names."""
BUSY_S = 5.0
"""When to come again, where no API says."""


class ModelStream(Protocol):
    """A model that is answering: its chunks, and afterwards what they made. Taking the chunks
    raises `ModelUnavailable`."""

    @property
    def chunks(self) -> Any: ...
    @property
    def answer(self) -> Callable[[], Answer]: ...


class Models(Protocol):
    """The models of the catalogue. Both raise `ModelUnavailable`."""

    def open(
        self,
        model: str,
        chat: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
        silence_s: float,
    ) -> AbstractAsyncContextManager[ModelStream]: ...
    async def whole(
        self,
        model: str,
        chat: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
    ) -> tuple[Answer, Mapping[str, Any]]: ...
    async def embed(
        self, model: str, body: Mapping[str, Any], within_s: float
    ) -> tuple[dict[str, Any], float]:
        """Texts embedded, and what that cost in USD."""
        ...

    def left_out(
        self, model: str, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """What of a chat does not reach `model`, or not as it is."""
        ...

    def native(self, model: str) -> bool:
        """Whether `model` gets what came in Anthropic's form as it came."""
        ...

    def expected_cost_usd(
        self, model: str, prompt_tokens: float, answer_tokens: float
    ) -> float: ...


@dataclass(slots=True)
class Answering:
    """What is left behind when an answer has been given, or broken off."""

    model: str
    answer: Answer | None
    failed: tuple[FailedCall, ...]
    before: tuple[Answer, ...] = ()
    """Answers that were not good enough."""
    cascade: Assessed | None = None

    @property
    def cost_usd(self) -> float:
        """Of all that was answered."""
        return sum(answer.cost_usd for answer in (self.answer, *self.before) if answer is not None)

    def after(self, first: _First | None) -> Answering:
        """With the result of asking another first."""
        if first is not None and first.told.answer is not None:
            self.before = (first.told.answer,)
            self.cascade = first.told.cascade
        return self

    def headers(self) -> dict[str, str]:
        """What headers say of a cascade."""
        if self.cascade is None:
            return {}
        good = "" if self.cascade.good is None else f"; good={self.cascade.good:.3f}"
        return {
            "x-pointsman-cascade": f"{'escalated' if self.cascade.escalated else 'accepted'}; "
            f"first={self.cascade.first}{good}"
        }


@dataclass(slots=True)
class AnswerUnderWay:
    """The answer that was asked for last. It is paid for, also if the client leaves before it is
    there."""

    answering: Answering | None = None


@dataclass(frozen=True, slots=True)
class _First:
    """The result of asking the cheap model of a cascade."""

    told: Answering
    came: Mapping[str, Any]
    accepted: bool

    def speaking(self, wanted: UnderstoodRequest) -> StreamedReply:
        """Its answer as a stream."""
        assert self.told.answer is not None
        return StreamedReply(wanted, _Whole(self.came, self.told.answer), self.told)


def _body(
    wanted: UnderstoodRequest, came: Mapping[str, Any], answering: Answering
) -> dict[str, Any]:
    """A whole answer in the inner form, with what all answers cost."""
    assert answering.answer is not None
    body = {**came, "id": wanted.request_id, "object": "chat.completion", "model": answering.model}
    body.setdefault("created", int(time.time()))
    body["usage"] = usage(came.get("usage"), answering)
    return body


async def ask_whole(
    wanted: UnderstoodRequest,
    choice: Choice,
    models: Models,
    within_s: float,
    under_way: AnswerUnderWay,
    assess: Assess | None = None,
) -> tuple[Answering, dict[str, Any]]:
    """A whole answer in the inner form, from the first model that gives one within `within_s`; by a
    cascade, from the first that gives a good one. Raises `Problem`."""
    order, first, failed = await _begin(wanted, choice, models, within_s, under_way, assess)
    if first is not None and first.accepted:
        return first.told, _body(wanted, first.came, first.told)
    for model in order:
        answering = Answering(model, None, failures(failed)).after(first)
        under_way.answering = answering
        try:
            answering.answer, came = await models.whole(
                model, choice.history(wanted, model), wanted.parameters, within_s
            )
        except ModelUnavailable as error:
            under_way.answering = None if first is None else first.told
            failed.append((model, error))
            continue
        return answering, _body(wanted, came, answering)
    if first is None:
        raise unanswered(failed)
    first.told.failed = failures(
        failed
    )  # no better model answers, so this answer is the best available
    return first.told, _body(wanted, first.came, first.told)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A whole answer as one that is being given."""

    body: Mapping[str, Any]
    made: Answer

    @property
    def chunks(self) -> AsyncIterator[dict[str, Any]]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[dict[str, Any]]:
        choices = [
            {
                "index": i,
                "delta": choice.get("message") or {},
                "finish_reason": choice.get("finish_reason") or "stop",
            }
            for i, choice in enumerate(self.body.get("choices") or ())
        ]
        yield dict(self.body) | {"object": "chat.completion.chunk", "choices": choices}

    @property
    def answer(self) -> Callable[[], Answer]:
        return lambda: self.made


@asynccontextmanager
async def ask_streamed(
    wanted: UnderstoodRequest,
    choice: Choice,
    models: Models,
    within_s: float,
    silence_s: float,
    under_way: AnswerUnderWay,
    assess: Assess | None = None,
) -> AsyncGenerator[StreamedReply, None]:
    """An answer as it comes, from the first model that begins one; by a cascade, once the cheap
    model's is there and assessed.

    Raises `Problem`, before the block or in it.
    """
    order, first, failed = await _begin(wanted, choice, models, within_s, under_way, assess)
    if first is not None and first.accepted:
        yield first.speaking(wanted)
        return
    for model in order:
        answering = Answering(model, None, failures(failed)).after(first)
        under_way.answering = answering
        async with AsyncExitStack() as stack:
            try:
                talk = await stack.enter_async_context(
                    models.open(
                        model,
                        choice.history(wanted, model),
                        wanted.parameters,
                        within_s,
                        silence_s,
                    )
                )
            except ModelUnavailable as error:
                under_way.answering = None if first is None else first.told
                failed.append((model, error))
                continue
            try:
                yield StreamedReply(wanted, talk, answering)
            except ModelUnavailable as error:
                # it broke off in the middle: too late for another model
                text = f"the answer broke off: {model}: {error}{_quoted(error)}"
                raise Problem(
                    502, text, kind="upstream_error", code=f"{model}_unavailable"
                ) from None
            return
    if first is None:
        raise unanswered(failed)
    first.told.failed = failures(
        failed
    )  # no better model answers, so this answer is the best available
    yield first.speaking(wanted)


async def _begin(
    wanted: UnderstoodRequest,
    choice: Choice,
    models: Models,
    within_s: float,
    under_way: AnswerUnderWay,
    assess: Assess | None,
) -> tuple[tuple[str, ...], _First | None, list[tuple[str, ModelUnavailable]]]:
    """The models that are left to ask, in order; the result of asking a cheap one first, where
    there is a cascade; and who failed."""
    plan = choice.cascade
    decided = choice.decided
    if plan is None or decided is None or assess is None:
        return choice.order, None, []
    rest = tuple(
        dict.fromkeys(model for model in (plan.then, *choice.order) if model != plan.first)
    )
    answering = under_way.answering = Answering(plan.first, None, ())
    try:
        answering.answer, came = await models.whole(
            plan.first, wanted.chat, wanted.parameters, within_s
        )
    except ModelUnavailable as error:
        under_way.answering = None
        return rest, None, [(plan.first, error)]
    good = await assess(decided, answering.answer)
    accepted = good is not None and good >= plan.accept_at
    answering.cascade = Assessed(first=plan.first, good=good, escalated=not accepted)
    return rest, _First(answering, came, accepted), []


@dataclass(slots=True)
class StreamedReply:
    """A streamed answer under way."""

    wanted: UnderstoodRequest
    talk: ModelStream
    told: Answering
    counted: Mapping[str, Any] | None = None
    """The API's own usage."""

    def completion(self) -> dict[str, Any]:
        """All of the answer in the inner form, when its chunks have ended."""
        answer = self.told.answer
        assert answer is not None
        said = answer.message or {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": said, "finish_reason": answer.finish_reason}
        came = {"choices": [choice], "usage": self.counted}
        return _body(self.wanted, came, self.told)

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """The chunks as they come, under our id and the model's real name; the last has the usage
        with what it cost. There is one end, also of a provider that says it twice or sends an empty
        chunk after it.

        Usage has a chunk of its own only if the client asked for one; many clients stumble over one
        without choices. It is left out only if the client said so.
        """
        mine = {
            "id": self.wanted.request_id,
            "object": "chat.completion.chunk",
            "model": self.told.model,
        }
        ends: dict[Any, Mapping[str, Any]] = {}
        """The last chunk's choices by index: held until usage is known."""
        last: dict[str, Any] = {}
        common: dict[str, Any] = {"created": int(time.time())}
        async for came in self.talk.chunks:
            chunk = common | {key: value for key, value in came.items() if key != "usage"} | mine
            self.counted = came.get("usage") or self.counted
            if not chunk.get("choices"):
                common |= {key: chunk[key] for key in ("simulated",) if key in chunk}
                continue
            passing = []
            for choice in chunk["choices"]:
                if not isinstance(choice, Mapping):
                    passing.append(choice)
                    continue
                index = choice.get("index", 0)
                if choice.get("finish_reason"):
                    before = ends.get(index)
                    if before is not None and _says(before):
                        passing.append({**before, "finish_reason": None})
                    reason = choice["finish_reason"] if before is None else _later(before, choice)
                    ends[index] = {**choice, "finish_reason": reason}
                    last = chunk
                elif index not in ends:
                    passing.append(choice)
                elif _says(choice):
                    if _says(ends[index]):  # in the order in which they came
                        passing.append({**ends[index], "finish_reason": None})
                        ends[index] = {**ends[index], "delta": {}}
                    passing.append(choice)
            if passing:
                yield chunk | {"choices": passing}
        self.told.answer = self.talk.answer()
        closing = {"usage": usage(self.counted, self.told)} | {
            k: v for k, v in common.items() if k == "simulated"
        }
        nothing = {
            "index": 0,
            "delta": {},
            "finish_reason": self.told.answer.finish_reason or "stop",
        }
        last = common | mine | last | {"choices": [*ends.values()] or [nothing]}
        if self.wanted.usage is None:
            yield last | closing
            return
        yield last
        if not self.wanted.usage:
            return
        yield common | mine | {"choices": []} | closing


def _later(before: Mapping[str, Any], choice: Mapping[str, Any]) -> Any:
    """The reason of a choice that ends twice: the second time it may be a mere "stop"."""
    reasons = (before["finish_reason"], choice["finish_reason"])
    return next((reason for reason in reasons if reason != "stop"), "stop")


def _says(choice: Mapping[str, Any]) -> bool:
    """Whether a chunk's choice has something of the answer."""
    delta = choice.get("delta") or {}
    return any(value for key, value in delta.items() if key != "role")


def left_out(wanted: UnderstoodRequest, model: str, models: Models) -> tuple[str, ...]:
    """What of a request does not reach the model that answers, or not as it came."""
    parameters = {name: value for name, value in wanted.parameters.items() if value is not None}
    names = set(models.left_out(model, wanted.chat, parameters))
    if not models.native(model):
        names |= wanted.asked.left_out
    shown = (
        "".join(c for c in name if c.isprintable())[:MOST_LETTERS]
        .encode("ascii", "backslashreplace")
        .decode()
        for name in sorted(names - {NATIVE})
    )
    return tuple(shown)[:MOST_NAMES]


def usage(came: Any, answering: Answering) -> dict[str, Any]:
    """The API's own usage, with what is missing or can't be read, and the cost in USD of all that
    was answered."""
    answer = answering.answer
    assert answer is not None
    reported = dict(came) if isinstance(came, Mapping) else {}
    counted = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
    if not isinstance(reported.get("total_tokens"), int):
        counted["total_tokens"] = answer.prompt_tokens + answer.completion_tokens
    return (
        reported
        | counted
        | {"cost": answering.cost_usd}
        | ({"estimated": True} if answer.estimated else {})
    )


def failures(failed: Sequence[tuple[str, ModelUnavailable]]) -> tuple[FailedCall, ...]:
    return tuple(FailedCall(model=model, error=str(error)) for model, error in failed)


def unanswered(failed: Sequence[tuple[str, ModelUnavailable]]) -> Problem:
    """Why no model answered, as OpenAI would say it."""
    model, last = failed[-1]
    if last.said is not None and last.status in OF_THE_REQUEST:
        return Problem(
            last.status,
            last.said.get("message", str(last)),
            code=last.said.get("code"),
            param=last.said.get("param"),
        )
    said = "; ".join(f"{name}: {error}{_quoted(error)}" for name, error in failed)
    if all(error.status == 429 for _, error in failed):
        wait = min(error.retry_after_s or BUSY_S for _, error in failed)
        headers = {"retry-after": str(max(1, ceil(wait)))}
        return Problem(
            429, f"the providers are busy now: {said}", kind="rate_limit_error", headers=headers
        )
    status = 504 if all(error.late for _, error in failed) else 502
    return Problem(
        status, f"no model answered: {said}", kind="upstream_error", code=f"{model}_unavailable"
    )


def _quoted(error: ModelUnavailable) -> str:
    words = (error.said or {}).get("message")
    return f" ({words})" if words else ""
