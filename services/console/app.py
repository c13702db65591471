"""Wiring of the console."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.console import FLOW, pages
from services.console.access import Access, Refused, Viewer, from_here, inside
from services.console.memory import Memory, Version
from services.console.settings import ConsoleSettings
from services.console.texts import safe
from services.console.vote import Rating
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import AdapterError
from shared.adapters.http import Door, metrics
from shared.adapters.kafka.client import require_topics, time_of
from shared.adapters.kafka.following import Following
from shared.adapters.kafka.replies import Replies
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import find
from shared.adapters.keys import Keys
from shared.adapters.keys import Scope as May
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import roll_back, unpin
from shared.adapters.telemetry import DOOR, TelemetrySettings, log, where
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated
from shared.contracts.messages import Decided, Submitted, read, to_json
from shared.contracts.opinions import Opinion
from shared.contracts.parts import Profile
from shared.contracts.spending import Spent
from shared.contracts.tables import TablePublished, read_version
from shared.contracts.topics import (
    DECISIONS,
    EVALUATIONS,
    ROUTING_TABLES,
    SPENDING,
    Topic,
)
from shared.routing.rates import PROFILES
from shared.routing.table import RoutingTable

NAME = FLOW.name
HERE = Path(__file__).parent
BATCH_S = 0.25
"""Decisions that came meanwhile are drawn together."""
LOOK_AGAIN_S = 5.0
"""How often a page that stays open shows that its key still holds."""
MAX_FORM_BYTES = 1_200_000
TRIALS = 500
HEARD_S = 5.0
"""How long a page waits to hear of the table that it has published."""
NAVIGATION = (
    *(("now", "Now"), ("map", "Map"), ("models", "Models"), ("try", "Try")),
    *(("rate", "Rate"), ("tables", "Tables"), ("evidence", "Evidence")),
)
EXAMPLES = (
    "Translate into French: the library is closed on Monday.",
    "Write a SQL query for the ten customers with the highest revenue last year.",
    "Summarise the minutes of a meeting in three sentences.",
)
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Trouble(Exception):
    """What a person did or met, to be told on a page."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Trial:
    """A prompt that somebody tried, and its decision."""

    owner: str
    prompt: str
    decided: Decided
    took_s: float
    table: RoutingTable
    """With which it was decided."""


def build(settings: ConsoleSettings | None = None) -> Door:
    """The console as an application and where it is served."""
    settings = settings or ConsoleSettings()
    console = Console(settings)
    page = console.page
    routes = [
        Route("/", lambda _request: RedirectResponse("/now", 303)),
        Route("/now", page(console.now)),
        Route("/now/events", page(console.events)),
        Route("/map", page(console.map)),
        Route("/map/{cluster}", page(console.cluster)),
        Route("/models", page(console.models)),
        Route("/try", page(console.ask, May.route)),
        Route("/try", page(console.route, May.route), methods=["POST"]),
        Route("/try/{token}", page(console.trial, May.route)),
        Route("/rate", page(console.rate, May.vote)),
        Route("/rate", page(console.rated, May.vote), methods=["POST"]),
        Route("/rate/name", page(console.name, May.vote), methods=["POST"]),
        Route("/tables", page(console.tables)),
        Route("/tables/diff", page(console.diff)),
        Route("/tables/rollback", page(console.rollback, May.admin), methods=["POST"]),
        Route("/tables/unpin", page(console.unpin, May.admin), methods=["POST"]),
        Route("/evidence", page(console.evidence)),
        Route("/login", console.login, methods=["GET", "POST"]),
        Route("/logout", page(console.logout), methods=["POST"]),
        Route("/metrics", page(console.metrics, May.admin)),
        Route("/healthz", lambda _request: JSONResponse({"status": "alive"})),
        Route("/readyz", console.ready),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    handlers: Any = {404: console.nothing_here, 405: console.nothing_here}
    application = Starlette(
        routes=routes, lifespan=lambda _app: console.running(), exception_handlers=handlers
    )
    application.add_middleware(Guarded)
    door = Door(NAME, application, settings.host, settings.port, "POINTSMAN_CONSOLE_")
    console.stopping = door.stopping
    return door


class Guarded:
    """Adds to every answer what a browser must know: nothing foreign runs, nothing is framed, pages
    are not kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = (
                    "public, max-age=3600" if scope["path"].startswith("/static/") else "no-store"
                )
                names = {name for name, _ in message["headers"]}
                added = POLICY | ({} if b"cache-control" in names else {"cache-control": kept})
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode()) for n, v in added.items()),
                ]
            await send(message)

        await self.app(scope, receive, guarded)


Work = Callable[[Request, Viewer], Awaitable[Response]]


@dataclass
class Console:
    """All that the pages share. Use inside `running`."""

    settings: ConsoleSettings
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings = self.settings
        self.access = Access(Keys())
        self.catalog = CurrentCatalog(settings.catalog)
        self.memory = Memory(settings.history, settings.points, settings.tables)
        self.rating = Rating(self.memory, settings.rate_twice)
        self.trials: OrderedDict[str, Trial] = OrderedDict()
        self.watching = 0
        self._facts: tuple[int, dict[str, Any]] | None = None
        self._heard = 0
        self._draw = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._draw.globals.update(
            navigation=NAVIGATION,
            usd=pages.usd,
            safe=safe,
            stamp=int((HERE / "static" / "app.js").stat().st_mtime),
            tables_of=pages.tables_of,
        )
        self._following = (
            Following(self.kafka, (DECISIONS,), self._hear, last=settings.history),
            Following(self.kafka, (EVALUATIONS, SPENDING, ROUTING_TABLES), self._hear),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With everything that the pages need."""
        async with AsyncExitStack() as stack:
            await require_topics(self.kafka, FLOW.topics)
            self.replies = Replies(self.kafka)
            await stack.enter_async_context(self.replies.running())
            tasks = [asyncio.create_task(self._follow(following)) for following in self._following]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, following: Following) -> None:
        while True:
            try:
                await following.run()
            except Exception as error:
                log.warning(
                    "what happens is not heard; trying again", error=where(error, self.telemetry)
                )
            await asyncio.sleep(2)

    def _hear(self, topic: Topic, record: Any) -> None:
        try:
            if topic is ROUTING_TABLES:
                if record.value:
                    version = read_version(record.value)
                    self.memory.published(version, version.read_table())
                else:
                    self.memory.forgotten((record.key or b"").decode("utf-8", "replace"))
            elif topic is DECISIONS:
                self.memory.decided(read(Decided, record.value), record.timestamp / 1000)
            elif topic is SPENDING:
                self.memory.billed(read(Spent, record.value))
            elif record.value is None:
                self.memory.forget((record.key or b"").decode("utf-8", "replace"))
            else:
                self._heard += 1
                self.memory.evaluated(read(Evaluated, record.value), time_of(record))
        except InvalidMessage as error:
            log.warning(
                "ignored a record", topic=topic.name, offset=record.offset, error=str(error)
            )

    # around every page

    def page(
        self, work: Work, needs: May | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint for those who may."""

        async def endpoint(request: Request) -> Response:
            answer = await self._admitted(request, work, needs)
            DOOR.labels(NAME, request.scope["path"].split("/")[1], str(answer.status_code)).inc()
            return answer

        return endpoint

    async def _admitted(self, request: Request, work: Work, needs: May | None) -> Response:
        try:
            viewer = self.access.viewer(request)
        except Refused as error:
            if (
                self.access.keys.open
                or request.method != "GET"
                or "text/html" not in request.headers.get("accept", "")
            ):
                return self._trouble(None, 401, str(error))
            path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(
                f"/login?next={path}" if inside(path) == path != "/now" else "/login", 303
            )
        if needs is not None and not viewer.may(needs):
            return self._trouble(
                viewer,
                403,
                f"this needs a key with the scope “{needs.value}”; whoever runs Pointsman can make "
                "one",
            )
        if request.method == "POST" and not from_here(request):
            return self._trouble(
                viewer,
                403,
                "that was not sent by a page of this console; open the page and do it there",
            )
        try:
            return await work(request, viewer)
        except Trouble as trouble:
            return self._trouble(viewer, trouble.status, str(trouble))
        except AdapterError as error:
            return self._trouble(viewer, 503, str(error))
        except Exception as error:
            log.error("a page failed", page=request.url.path, error=where(error, self.telemetry))
            return self._trouble(
                viewer, 500, "something went wrong here; what it was stands in the console's log"
            )

    def _trouble(self, viewer: Viewer | None, status: int, text: str) -> Response:
        return self._html("error.html", viewer, "", status, text=text, code=status)

    async def nothing_here(self, request: Request, _error: Exception) -> Response:
        try:
            viewer = self.access.viewer(request)
        except Refused:
            viewer = None
        return self._trouble(viewer, 404, "there is no such page")

    def _html(
        self, template: str, viewer: Viewer | None, page: str, status: int = 200, **facts: Any
    ) -> Response:
        current = self.memory.current
        latest = self.memory.decisions[-1] if self.memory.decisions else None
        shared = {
            "viewer": viewer,
            "page": page,
            "open": self.access.keys.open,
            "simulated": bool(
                (current and current.table.provenance.simulated) or (latest and latest.simulated)
            ),
            "reading": not all(following.caught_up.is_set() for following in self._following),
        }
        return HTMLResponse(self._draw.get_template(template).render(**shared, **facts), status)

    def _part(self, template: str, **facts: Any) -> str:
        return self._draw.get_template(template).render(**facts)

    async def _form(self, request: Request) -> dict[str, str]:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                raise Trouble(413, "that is too long")
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
        except ValueError:
            raise Trouble(400, "the form can't be read") from None

    async def login(self, request: Request) -> Response:
        """Enter a key."""
        if self.access.keys.open:
            return RedirectResponse("/now", 303)
        if request.method == "GET":
            return self._html(
                "login.html", None, "", then=inside(request.query_params.get("next")), wrong=None
            )
        if not from_here(request):
            return self._trouble(
                None,
                403,
                "that was not sent by a page of this console; open the page and do it there",
            )
        try:
            form = await self._form(request)
        except Trouble as trouble:
            return self._trouble(None, trouble.status, str(trouble))
        then = inside(form.get("next"))
        answer: Response = RedirectResponse(then, 303)
        try:
            self.access.enter(request, form.get("key", "").strip(), answer)
        except Refused as error:
            return self._html("login.html", None, "", 401, then=then, wrong=str(error))
        return answer

    async def logout(self, request: Request, _viewer: Viewer) -> Response:
        """Forget the session."""
        answer = RedirectResponse("/login", 303)
        self.access.leave(request, answer)
        return answer

    # pages

    async def now(self, _request: Request, viewer: Viewer) -> Response:
        """What happens."""
        at = time.time()
        return self._html(
            "now.html",
            viewer,
            "now",
            **pages.now(self.memory, at, prompts=viewer.may(May.admin)),
            series=pages.series(self.memory, at),
        )

    async def events(self, request: Request, viewer: Viewer) -> Response:
        """The same as it goes on, several decisions at a time."""
        if self.watching >= self.settings.viewers:
            raise Trouble(
                503, f"{self.settings.viewers} people watch already (POINTSMAN_CONSOLE_VIEWERS)"
            )
        happening = self._happening(request, prompts=viewer.may(May.admin))
        return StreamingResponse(
            happening, media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )

    async def _happening(self, request: Request, *, prompts: bool) -> AsyncIterator[str]:
        seen, second, looked = -1, int(time.time()), time.monotonic()
        self.watching += 1
        try:
            yield "retry: 2000\n\n"
            while not self.stopping.is_set():
                at = time.time()
                if self.memory.count != seen or int(at) > second:
                    yield f"data: {json.dumps(self._news(seen, second, at, prompts=prompts))}\n\n"
                    seen, second = self.memory.count, int(at)
                if time.monotonic() - looked > LOOK_AGAIN_S:
                    self.access.viewer(request)
                    looked = time.monotonic()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), BATCH_S)
        except Refused:
            return
        finally:
            self.watching -= 1

    def _news(self, seen: int, second: int, at: float, *, prompts: bool) -> dict[str, Any]:
        known = self.memory
        models = known.current.table.models if known.current else ()
        fresh = min(
            pages.SHOWN, len(known.decisions), known.count - seen if seen >= 0 else pages.SHOWN
        )
        rows = [pages.row(known.decisions[-1 - i], models, prompts=prompts) for i in range(fresh)]
        return {
            "rows": self._part("_rows.html", latest=rows),
            "whole": seen < 0 or fresh == pages.SHOWN,
            "numbers": self._part("_numbers.html", numbers=pages.numbers(known, at)),
            "series": pages.series(known, at, since=second),
        }

    async def map(self, request: Request, viewer: Viewer) -> Response:
        """The clusters on a plane."""
        if (version := self.memory.current) is None:
            return self._html("no_table.html", viewer, "map")
        wanted = request.query_params.get("profile", Profile.quality.value)
        profile = Profile(wanted) if wanted in set(Profile) else Profile.quality
        return self._html(
            "map.html",
            viewer,
            "map",
            profiles=list(Profile),
            **pages.map_of(self.memory, version, profile),
        )

    async def cluster(self, request: Request, viewer: Viewer) -> Response:
        """One of them."""
        if (version := self.memory.current) is None:
            return self._html("no_table.html", viewer, "map")
        found = pages.cluster_of(
            self.memory, version, request.path_params["cluster"], prompts=viewer.may(May.admin)
        )
        if found is None:
            raise Trouble(
                404,
                "the current routing table has no such cluster; the Map shows those that it has",
            )
        return self._html("cluster.html", viewer, "map", may_prompts=viewer.may(May.admin), **found)

    async def models(self, request: Request, viewer: Viewer) -> Response:
        """What each model is good at."""
        if (version := self.memory.current) is None:
            return self._html("no_table.html", viewer, "models")
        dial = _slider(request.query_params.get("dial"), START["dial"])
        facts = await asyncio.to_thread(pages.models_of, version, dial)
        if "hx-request" in request.headers:
            return HTMLResponse(self._part("_dial.html", **facts))
        return self._html("models.html", viewer, "models", **facts)

    async def ask(self, _request: Request, viewer: Viewer) -> Response:
        """Where a prompt is typed."""
        return self._html(
            "try.html", viewer, "try", prompt="", trial=None, wrong=None, examples=EXAMPLES
        )

    async def route(self, request: Request, viewer: Viewer) -> Response:
        """Have it decided on."""
        prompt = (await self._form(request)).get("prompt", "")
        try:
            message = Submitted(
                request_id=f"try-{secrets.token_hex(12)}",
                prompt=prompt,
                profile=Profile.balanced,
                metadata={"sender": NAME},
            )
        except ValueError:
            text = (
                "Type a prompt first."
                if not prompt.strip()
                else "The prompt is too long: at most 256 KiB are taken."
            )
            return self._html(
                "try.html",
                viewer,
                "try",
                400,
                prompt=prompt[:10_000],
                trial=None,
                wrong=text,
                examples=EXAMPLES,
            )
        began = time.monotonic()
        with self.replies.expecting(message.request_id) as expected:
            await self.replies.send(message.model_copy(update={"submitted_at": datetime.now(UTC)}))
            try:
                decided = await asyncio.wait_for(expected.decided, self.settings.route_s)
            except TimeoutError:
                stuck = (
                    "no service has taken it"
                    if not expected.described.is_set()
                    else "it was described and not decided on"
                )
                text = (
                    f"No decision within {self.settings.route_s:.0f} s: {stuck}. Do describer, "
                    "embedder, assigner and selector run? "
                    "Without a routing table prompts wait; dead letters say what could not be "
                    "taken (`pointsman dead-letters list`)."
                )
                return self._html(
                    "try.html",
                    viewer,
                    "try",
                    504,
                    prompt=prompt,
                    trial=None,
                    wrong=text,
                    examples=EXAMPLES,
                )
        took, token = time.monotonic() - began, secrets.token_urlsafe(12)
        self.trials[token] = Trial(
            viewer.name, prompt, decided, took, await self._table(decided.decision.table.digest)
        )
        while len(self.trials) > TRIALS:
            self.trials.popitem(last=False)
        return RedirectResponse(f"/try/{token}", 303)

    async def _table(self, digest: str) -> RoutingTable:
        for version in self.memory.versions.values():
            if version.published.digest == digest:
                return version.table
        return (await find(self.kafka, digest)).read_table()

    async def trial(self, request: Request, viewer: Viewer) -> Response:
        """The decision, and what other rates would make of it."""
        token = request.path_params["token"]
        trial = self.trials.get(token)
        if trial is None or trial.owner != viewer.name:
            raise Trouble(404, "that trial is not kept any more; try the prompt again")
        decided = trial.decided
        place = pages.assignment_of(decided, trial.table)
        dials = {
            name: _slider(request.query_params.get(name), start) for name, start in START.items()
        }
        known = pages.profile_of(dials)
        rates = PROFILES[known] if known else pages.dialled(**dials)
        limits = pages.limits_of(decided, self.catalog.gone())
        prediction = pages.prediction_of(decided, trial.table)
        tokens = decided.prompt_tokens()
        scores = pages.ranking_of(
            trial.table, place, rates, limits, self.catalog.contexts(), prediction, tokens
        )
        facts = {"scores": scores, "dials": dials, "token": token, "known": known}
        if "hx-request" in request.headers:
            return HTMLResponse(self._part("_scores.html", **facts))
        shown = pages.trial_of(decided, trial.took_s)
        return self._html(
            "try.html",
            viewer,
            "try",
            prompt=trial.prompt,
            trial=shown,
            wrong=None,
            examples=(),
            **facts,
        )

    def _desk(
        self, request: Request, viewer: Viewer, said: str = "", status: int = 200
    ) -> Response:
        shown = self.rating.at(viewer.name)
        both, same = self.rating.agreement()
        facts = {
            "shown": shown,
            "answers": [
                a.text or ""
                for a in (shown.pair.answers if shown.straight else shown.pair.answers[::-1])
            ]
            if shown
            else [],
            "desk": self.rating.desk(viewer.name),
            "left": len(self.rating.open(viewer.name)),
            "compared": len(self.memory.pairs),
            "both": both,
            "same": same,
            "said": said,
            "rater": viewer.name,
        }
        if "hx-request" in request.headers:
            return HTMLResponse(self._part("_desk.html", **facts))
        if request.method == "POST" and not said:
            return RedirectResponse("/rate", 303)
        return self._html("rate.html", viewer, "rate", status, **facts)

    async def rate(self, request: Request, viewer: Viewer) -> Response:
        """The next pair."""
        return self._desk(request, viewer)

    async def rated(self, request: Request, viewer: Viewer) -> Response:
        """A vote, a skip or an undo."""
        form = await self._form(request)
        token, opinion = form.get("token", ""), form.get("opinion", "")
        if opinion == "undo":
            empty = self.rating.withdrawal(viewer.name)
            if empty is None:
                return self._desk(request, viewer, "There is no vote to take back.")
            await self._publish(empty)
            self.rating.undone(viewer.name)
            return self._desk(request, viewer)
        if opinion == "skip":
            self.rating.skip(viewer.name, token)
            return self._desk(request, viewer)
        opinions: Mapping[str, Opinion] = {one: one for one in get_args(Opinion)}
        if opinion not in opinions:
            raise Trouble(400, "that is none of A, B, tie, both bad, skip and undo")
        ballot = self.rating.ballot(viewer.name, token, opinions[opinion])
        if ballot is None:
            return self._desk(
                request,
                viewer,
                "That pair was rated already, perhaps in another window. Here is the next.",
                409,
            )
        await self._publish(ballot)
        self.rating.cast(viewer.name, token, opinions[opinion])
        return self._desk(request, viewer)

    async def _publish(self, evaluation: Evaluated) -> None:
        there = asyncio.Event()

        async def told(_partition: int, _offset: int) -> None:
            there.set()

        await self.replies.publish(EVALUATIONS, to_json(evaluation), evaluation.key, told)

    async def name(self, request: Request, viewer: Viewer) -> Response:
        """Where no keys are needed: who rates."""
        answer = RedirectResponse("/rate", 303)
        wanted = (await self._form(request)).get("name", "").strip()
        if not self.access.keys.open:
            return self._desk(
                request, viewer, "With keys, your votes stand under your key's name.", 409
            )
        if not self.access.call(request, wanted, answer):
            return self._desk(
                request,
                viewer,
                "A name has letters, digits, “.”, “@”, “_” and “-”, at most 60.",
                400,
            )
        return answer

    async def tables(self, request: Request, viewer: Viewer) -> Response:
        """All versions."""
        done = request.query_params.get("done", "")
        rows = pages.tables_of(self.memory)
        note = next((r["note"] for r in rows if r["version"] == done), "") if done else ""
        return self._html(
            "tables.html",
            viewer,
            "tables",
            rows=rows,
            done=done,
            note=note,
            may_roll=viewer.may(May.admin),
        )

    async def diff(self, request: Request, viewer: Viewer) -> Response:
        """Two of them."""
        names = [request.query_params.get(which, "") for which in ("old", "new")]
        versions = [await self._find(name) for name in names]
        facts = pages.diff_of(versions[0], versions[1])
        return self._html(
            "diff.html",
            viewer,
            "tables",
            old=names[0],
            new=names[1],
            rows=pages.tables_of(self.memory),
            **facts,
        )

    async def _find(self, name: str) -> Version:
        for version in self.memory.versions.values():
            if str(version.published.ref) == name:
                return version
        if not any(str(published.ref) == name for published, _ in self.memory.known.values()):
            raise Trouble(404, "there is no such version; choose two of the list")
        published = await find(self.kafka, name)
        return Version(published, await asyncio.to_thread(published.read_table))

    async def rollback(self, request: Request, viewer: Viewer) -> Response:
        """Publish an old version anew."""
        name = (await self._form(request)).get("version", "")
        if not any(str(published.ref) == name for published, _ in self.memory.known.values()):
            raise Trouble(404, "there is no such version; choose one of the list")
        version = await roll_back(self.kafka, self.redis, name)
        log.info("rolled back", to=name, version=str(version.ref), by=viewer.name)
        return await self._published(version)

    async def unpin(self, _request: Request, viewer: Viewer) -> Response:
        """Let what is learnt replace it again."""
        version = await unpin(self.kafka, self.redis)
        log.info("unpinned", version=str(version.ref), by=viewer.name)
        return await self._published(version)

    async def _published(self, version: TablePublished) -> Response:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARD_S):
                while version.ref.version not in self.memory.known:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        return RedirectResponse(f"/tables?done={version.ref}", 303)

    async def evidence(self, _request: Request, viewer: Viewer) -> Response:
        """How far votes can be relied on."""
        if self._facts is None or self._facts[0] != self._heard:
            heard, evaluations = self._heard, list(self.memory.evaluations.values())
            self._facts = (
                heard,
                await asyncio.to_thread(
                    pages.evidence_of, evaluations, self.settings.budget_usd_per_day
                ),
            )
        keys = pages.spending_of(self.memory, datetime.now(UTC)) if viewer.may(May.admin) else None
        return self._html(
            "evidence.html",
            viewer,
            "evidence",
            keys=keys,
            people=self.rating.agreement(),
            **self._facts[1],
        )

    async def metrics(self, _request: Request, _viewer: Viewer) -> Response:
        """Prometheus's text."""
        body, headers = metrics()
        return Response(body, headers=headers)

    async def ready(self, _request: Request) -> Response:
        """Whether the pages show what there is."""
        parts = {
            "caught_up": all(following.caught_up.is_set() for following in self._following),
            "keys": bool(self.access.keys.all()) or self.access.keys.open,
        }
        return JSONResponse(
            {"ready": all(parts.values()), **parts}, 200 if all(parts.values()) else 503
        )


START = pages.places_of(PROFILES["balanced"])
"""Where the dials stand at first."""


def _slider(text: str | None, start: int) -> int:
    return (
        min(100, int(text))
        if text and text.isascii() and text.isdigit() and len(text) < 4
        else start
    )
