"""`pointsman vote` and `pointsman feedback`: what people think of answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from rich.markup import escape

from services.local import servers
from services.screen import as_json as print_json
from services.screen import err, out
from shared.adapters.kafka.client import publisher, read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Completed, read, to_json
from shared.contracts.opinions import Opinion, judged, overlaps, thumbed
from shared.contracts.raters import RaterKind
from shared.contracts.topics import COMPLETIONS, EVALUATIONS
from shared.routing.deciding.table import RoutingTable

OPINIONS: Mapping[str, Opinion] = {"a": "a", "b": "b", "t": "tie", "n": "bad"}
KEYS = {
    "a": "A is better",
    "b": "B is better",
    "t": "tie",
    "n": "both bad",
    "s": "skip",
    "q": "stop",
}


def vote(rater: str, count: int, ask: Callable[[str], str] = input) -> int:
    """Show pairs of answers without names, in random order, and publish the votes. Returns
    the exit code."""
    servers.find_running()
    pairs, table = asyncio.run(_open_pairs(rater))
    if not pairs:
        out.print(
            "nothing to rate: no judge has compared answers yet, or you have rated them all. Send "
            "prompts with "
            '[bold]"answer": true[/], and see POINTSMAN_JUDGE_RATE and POINTSMAN_JUDGE_KEEP_TEXTS',
            soft_wrap=True,
        )
        return 0
    cast = 0
    order = np.argsort(-np.array(overlaps(pairs, table)), kind="stable")[:count]
    for number, pair in enumerate((pairs[i] for i in order), 1):
        straight = random.SystemRandom().random() < 0.5
        shown = pair.answers if straight else pair.answers[::-1]
        out.rule(f"{number}/{min(count, len(pairs))}")
        out.print(escape(pair.prompt or ""), soft_wrap=True)
        for name, answer in zip("AB", shown, strict=True):
            out.print(f"\n[bold]{name}[/]\n{escape(answer.text or '')}", soft_wrap=True)
        key = _key(ask)
        if key == "q":
            break
        if key == "s":
            continue
        asyncio.run(_publish(judged(pair, rater, OPINIONS[key], straight=straight)))
        cast += 1
    out.print(f"{cast} votes published; thank you")
    return 0


def _key(ask: Callable[[str], str]) -> str:
    choices = ", ".join(f"{key}: {meaning}" for key, meaning in KEYS.items())
    while True:
        try:
            key = ask(f"\n{choices} > ").strip().lower()[:1]
        except EOFError:
            return "q"
        if key in KEYS:
            return key


async def _open_pairs(rater: str) -> tuple[list[Evaluated], RoutingTable | None]:
    kafka = KafkaSettings()
    pairs: dict[str, Evaluated] = {}
    rated: set[str] = set()
    for record in await read_all(kafka, EVALUATIONS):
        try:
            evaluation = read(Evaluated, record.value)
        except InvalidMessage:
            continue
        if evaluation.rater.kind is RaterKind.human and evaluation.rater.name == rater:
            if evaluation.votes.cast:
                rated.add(evaluation.comparison_id)
            else:  # taken back
                rated.discard(evaluation.comparison_id)
        elif (
            evaluation.prompt
            and len(evaluation.answers) == 2
            and all(a.text for a in evaluation.answers)
        ):
            pairs.setdefault(evaluation.comparison_id, evaluation)
    published = await versions(kafka)
    return [e for c, e in pairs.items() if c not in rated], published[
        -1
    ].read_table() if published else None


async def _publish(evaluation: Evaluated) -> None:
    kafka = KafkaSettings()
    async with publisher(kafka) as send:
        await send.send_and_wait(kafka.name(EVALUATIONS), to_json(evaluation), key=evaluation.key)


def feedback(
    request_id: str, thumb: Literal["up", "down"], better: str | None, sender: str, *, as_json: bool
) -> int:
    """Publish a sender's thumb on an answer as weak evidence. Returns the exit code."""
    servers.find_running()
    completed = asyncio.run(_completed(request_id))
    if completed is None:
        err.print(
            f"[bold red]error:[/] no answered request {request_id} on completions; it may be older "
            "than the topic keeps"
        )
        return 1
    evaluation = thumbed(completed, thumb, better, sender)
    asyncio.run(_publish(evaluation))
    facts: dict[str, Any] = {
        "evaluation_id": evaluation.evaluation_id,
        "first": evaluation.first,
        "second": evaluation.second,
    }
    if as_json:
        print_json(facts | {"votes": evaluation.votes.model_dump()})
    else:
        out.print(
            f"noted: {evaluation.first} and {evaluation.second}, {thumb}; it counts as weak "
            "evidence"
        )
    return 0


async def _completed(request_id: str) -> Completed | None:
    for record in await read_all(KafkaSettings(), COMPLETIONS):
        try:
            message = read(Completed, record.value)
        except InvalidMessage:
            continue
        if message.request_id == request_id and message.completion.answers:
            return message
    return None
