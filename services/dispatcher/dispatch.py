"""From a decision to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from services.dispatcher.settings import DispatcherSettings
from shared.contracts.answers import (
    Answer,
    Assessed,
    Completion,
    Conflict,
    FailedCall,
    answer_name,
    one_text,
)
from shared.contracts.decisions import CascadePlan
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Completed, Decided, extend
from shared.protocols.portable import portable


class AskModel(Protocol):
    """Ask one model of the catalogue; `once` names what is asked, for providers that bill a
    repeated call once.

    Raises `ModelUnavailable` with a reason that quotes nothing.
    """

    async def __call__(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
        within_s: float,
        once: str,
    ) -> Answer: ...


class Answers(Protocol):
    """Answers that were paid already, by request and model; forgets rather than fails."""

    async def get(self, request_id: str, model: str, asked: str) -> Answer | None:
        """Raises `Conflict` if what is there answers another question than the one with the digest
        `asked`."""
        ...

    async def put(self, request_id: str, answer: Answer, asked: str, keep_s: int) -> None: ...
    async def claim(self, request_id: str, model: str, for_s: float) -> bool:
        """Whether nobody else is asking that now. True where nobody can say."""
        ...

    async def release(self, request_id: str, model: str) -> None: ...


class AssessAnswer(Protocol):
    """How probably an answer is good enough; None where that can't be told."""

    async def __call__(self, message: Decided, answer: Answer, /) -> float | None: ...
    async def ready(self, message: Decided, /) -> bool:
        """Whether answers to this message can be assessed at all."""
        ...


async def dispatch(
    message: Decided,
    settings: DispatcherSettings,
    call: AskModel,
    answers: Answers,
    assess: AssessAnswer | None = None,
) -> Completed | tuple[()]:
    """Add the answer; nothing if none is asked for. Models are asked in the decision's order until
    one answers.

    Where the decision has a cascade and answers can be assessed, the cheap model comes first. The
    other is asked only if its answer is not good enough. A request that wants models compared gets
    all their answers. Each is asked once for a request, as far as Redis remembers.
    """
    if not message.answer and not message.compare:
        return ()
    ends = (message.submitted_at or datetime.now(UTC)) + timedelta(
        seconds=message.deadline_s or settings.deadline_s
    )
    asker = _Asker(message, settings, call, answers, ends)
    if message.compare:
        completion = await _all(asker, message.compare)
    elif (
        (cascade := message.decision.cascade) is not None
        and assess is not None
        and one_text(message.parameters)
        and await assess.ready(message)
    ):
        completion = await _cascaded(asker, message, cascade, assess, settings)
    else:
        completion = await _first(asker, _order(message, settings))
    if asker.conflict:
        completion = completion.model_copy(update={"conflict": True})
    return extend(message, Completed, completion=completion)


class _Asker:
    def __init__(
        self,
        message: Decided,
        settings: DispatcherSettings,
        call: AskModel,
        answers: Answers,
        ends: datetime,
    ) -> None:
        self._message = message
        self._settings = settings
        self._call = call
        self._answers = answers
        self._ends = ends
        self.repeated = False
        self.conflict = False
        self._asked = message.asked()

    def left_s(self) -> float:
        return (self._ends - datetime.now(UTC)).total_seconds()

    async def _known(self, model: str) -> Answer | None:
        try:
            remembered = await self._answers.get(self._message.request_id, model, self._asked)
        except Conflict:
            self.conflict = True
            return None
        self.repeated = self.repeated or remembered is not None
        return remembered

    async def ask(self, model: str) -> Answer:
        """Its answer: remembered, or asked for. Raises `ModelUnavailable`."""
        request = self._message.request_id
        while not await self._answers.claim(request, model, self._settings.call_s + 5):
            if (remembered := await self._known(model)) is not None:
                return remembered
            if self.left_s() <= 0:
                raise ModelUnavailable(
                    "another dispatcher is calling the model, and the deadline has passed"
                )
            await asyncio.sleep(0.25)
        try:
            if (remembered := await self._known(model)) is not None:
                return remembered
            if (left := self.left_s()) <= 0:
                raise ModelUnavailable("the deadline has passed")
            within_s = min(left, self._settings.call_s)
            once = answer_name(request, model, self._asked)
            chat = self._message.chat()
            if model != self._message.decision.model and any(
                turn.get("role") == "assistant" for turn in chat
            ):
                chat = portable(
                    chat
                )  # who is asked instead does not understand all that another has said
            answer = await self._call(model, chat, self._message.parameters, within_s, once)
            await self._answers.put(request, answer, self._asked, self._settings.remember_s)
            return answer
        finally:
            await self._answers.release(request, model)


def _order(message: Decided, settings: DispatcherSettings) -> list[str]:
    return [c.model for c in message.decision.candidates][: settings.models]


async def _cascaded(
    asker: _Asker,
    message: Decided,
    plan: CascadePlan,
    assess: AssessAnswer,
    settings: DispatcherSettings,
) -> Completion:
    try:
        answer = await asker.ask(plan.first)
    except ModelUnavailable as error:
        rest = await _first(
            asker, [m for m in (plan.then, *_order(message, settings)) if m != plan.first]
        )
        return rest.model_copy(
            update={"failed": (FailedCall(model=plan.first, error=str(error)), *rest.failed)}
        )
    good = await assess(message, answer)
    if good is not None and good >= plan.accept_at:
        assessed = Assessed(first=plan.first, good=good, escalated=False)
        return Completion(
            status="answered", answers=(answer,), repeated=asker.repeated, cascade=assessed
        )
    assessed = Assessed(first=plan.first, good=good, escalated=True)
    try:
        better = await asker.ask(plan.then)
    except ModelUnavailable as error:  # then the answer that is there is the best available
        failed = (FailedCall(model=plan.then, error=str(error)),)
        return Completion(
            status="answered",
            answers=(answer,),
            failed=failed,
            repeated=asker.repeated,
            cascade=assessed,
        )
    return Completion(
        status="answered", answers=(better, answer), repeated=asker.repeated, cascade=assessed
    )


async def _first(asker: _Asker, order: Sequence[str]) -> Completion:
    failed: list[FailedCall] = []
    for model in order:
        try:
            answer = await asker.ask(model)
        except ModelUnavailable as error:
            failed.append(FailedCall(model=model, error=str(error)))
            continue
        return Completion(
            status="answered", answers=(answer,), failed=tuple(failed), repeated=asker.repeated
        )
    return Completion(status="failed", failed=tuple(failed))


async def _all(asker: _Asker, names: Sequence[str]) -> Completion:
    async def one(model: str) -> Answer | FailedCall:
        try:
            return await asker.ask(model)
        except ModelUnavailable as error:
            return FailedCall(model=model, error=str(error))

    results = await asyncio.gather(*(one(model) for model in dict.fromkeys(names)))
    answers = tuple(r for r in results if isinstance(r, Answer))
    failed = tuple(r for r in results if isinstance(r, FailedCall))
    return Completion(
        status="answered" if answers else "failed",
        answers=answers,
        failed=failed,
        repeated=asker.repeated,
    )
