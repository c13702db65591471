"""The page Rate: two answers side by side, blind, and a person's vote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.console.desk import Desk, PageError, PageRoute, Viewer, form_of
from shared.contracts.opinions import Opinion
from shared.contracts.scopes import Scope

OPINIONS: Mapping[str, Opinion] = {opinion: opinion for opinion in get_args(Opinion)}
TITLE = "Rate"
TOO_LATE = "That pair was rated already, perhaps in another window. Here is the next."


def _desk(
    desk: Desk, request: Request, viewer: Viewer, said: str = "", status: int = 200
) -> Response:
    """The pair in front of this viewer, and the message about the last vote."""
    shown = desk.rating.at(viewer.name)
    both, same = desk.rating.agreement()
    answers = shown.pair.answers if shown else ()
    facts = {
        "shown": shown,
        "answers": [a.text or "" for a in (answers if shown and shown.straight else answers[::-1])],
        "desk": desk.rating.desk(viewer.name),
        "left": len(desk.rating.open(viewer.name)),
        "compared": len(desk.memory.pairs),
        "both": both,
        "same": same,
        "said": said,
        "rater": viewer.name,
    }
    if "hx-request" in request.headers:
        return HTMLResponse(desk.draw.part("_desk.html", **facts))
    if request.method == "POST" and not said:
        return RedirectResponse("/rate", 303)
    return desk.draw.page("rate.html", viewer, "rate", status, **facts)


async def show(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """The next pair."""
    return _desk(desk, request, viewer)


async def vote(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """A vote, a skip or an undo."""
    form = await form_of(request)
    token = form.get("token", "")
    opinion = form.get("opinion", "")
    if opinion == "undo":
        empty = desk.rating.withdrawal(viewer.name)
        if empty is None:
            return _desk(desk, request, viewer, "There is no vote to undo.")
        await desk.publish(empty)
        desk.rating.undone(viewer.name)
        return _desk(desk, request, viewer)
    if opinion == "skip":
        desk.rating.skip(viewer.name, token)
        return _desk(desk, request, viewer)
    if opinion not in OPINIONS:
        raise PageError(400, "that is none of A, B, tie, both bad, skip and undo")
    ballot = desk.rating.ballot(viewer.name, token, OPINIONS[opinion])
    if ballot is None:
        return _desk(desk, request, viewer, TOO_LATE, 409)
    await desk.publish(ballot)
    desk.rating.cast(viewer.name, token, OPINIONS[opinion])
    return _desk(desk, request, viewer)


async def name(desk: Desk, request: Request, viewer: Viewer) -> Response:
    """Where no keys are needed: who rates."""
    answer = RedirectResponse("/rate", 303)
    wanted = (await form_of(request)).get("name", "").strip()
    if not desk.open():
        text = "With keys, your votes stand under your key's name."
        return _desk(desk, request, viewer, text, 409)
    if not desk.call(request, wanted, answer):
        text = "A name has letters, digits, “.”, “@”, “_” and “-”, at most 60."
        return _desk(desk, request, viewer, text, 400)
    return answer


ROUTES = (
    PageRoute("/rate", show, Scope.vote),
    PageRoute("/rate", vote, Scope.vote, method="POST"),
    PageRoute("/rate/name", name, Scope.vote, method="POST"),
)
