"""The gateway without a network: what is understood, who is let in, what streams become, what
answers when routing is unreachable."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from support import placed, table, wish

from services.gateway.answering import (
    Answering,
    AnswerUnderWay,
    StreamedReply,
    ask_streamed,
    left_out,
    unanswered,
)
from services.gateway.choice import Choice, Conversation, _kept, choose
from services.gateway.documented import openapi, page
from services.gateway.fallback import Fallback
from services.gateway.forms.chat import CHAT, decision_asked
from services.gateway.forms.responses import RESPONSES, ResponsesRequest
from services.gateway.hot_path import HotPath
from services.gateway.remembered import Spoke
from services.gateway.requests import (
    ChatRequest,
    Problem,
    RequestWishes,
    RouteRequest,
    parse,
    wishes_of,
)
from services.gateway.settings import GatewaySettings
from services.gateway.understanding import UnderstoodRequest, understand
from services.gateway.wiring.admission import CODINGS, ConcurrencyLimit, Slot
from services.gateway.wiring.endpoints import Gateway
from services.selector.decide import decide
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.keys import (
    Key,
    KeyFileInvalid,
    Keys,
    KeySettings,
    Refused,
    Scope,
    new,
    read,
    write,
)
from shared.adapters.llm.breaker import Breaker
from shared.catalog import models
from shared.contracts.answers import Answer
from shared.contracts.decisions import CandidateScore, CascadePlan, Decision
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Submitted, to_json
from shared.contracts.places import TableRef
from shared.contracts.wishes import Preferences, Profile
from shared.protocols.portable import fingerprint
from shared.routing.deciding.abilities import Ability

CATALOG = models.load()


def wanted(
    body: bytes = b'{"messages": [{"role": "user", "content": "Sum 3 and 4"}]}', **wishes: Any
) -> UnderstoodRequest:
    asked = CHAT.read(body, {})
    return understand(
        asked, RequestWishes(**wishes), "r-1", "team", CATALOG, CATALOG.retired, len(body)
    )


def test_a_short_message_is_read_with_what_it_follows() -> None:
    turns = [
        {
            "role": "user",
            "content": "Translate this notice into French, keeping its formal tone: closed on "
            "Monday.",
        },
        {"role": "assistant", "content": "Fermé."},
        {"role": "user", "content": "Shorter"},
        {"role": "user", "content": "and in Spanish"},
    ]
    message = Submitted.model_validate({"messages": turns}, strict=False)
    assert message.task_text().startswith("Translate this notice")
    assert message.task_text().endswith("Shorter\n\nand in Spanish")
    long = {
        "role": "user",
        "content": "Now write a Python function that reverses a list, and explain how it works.",
    }
    assert (
        Submitted.model_validate({"messages": [*turns, long]}, strict=False).task_text()
        == long["content"]
    )


def test_what_goes_to_the_model_is_what_came() -> None:
    got = wanted(
        b'{"messages": [{"role": "user", "content": "x", "name": "ada", "odd": null}], '
        b'"temperature": null, "seed": 3, "stream": true}'
    )
    assert got.chat == [{"role": "user", "content": "x", "name": "ada", "odd": None}]
    assert got.parameters == {"temperature": None, "seed": 3}
    assert got.stream
    assert not got.usage


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"x-pointsman-profile": "best"}, "quality"),
        ({"x-pointsman-cost-quality-tradeoff": "much"}, "0 (quality)"),
        ({"x-pointsman-cost-quality-tradeoff": "11"}, "less than or equal"),
        ({"x-pointsman-preferences": "performance=-1"}, "usd_per_point=0.1"),
        ({"x-pointsman-max-cost-usd": "nan"}, "finite"),
    ],
)
def test_wrong_headers_are_named(headers: dict[str, str], said: str) -> None:
    with pytest.raises(Problem) as problem:
        wishes_of(headers, RequestWishes())
    assert problem.value.status == 400
    assert said in problem.value.error["message"]


def test_headers_fill_what_the_body_leaves_open() -> None:
    body = RequestWishes.model_validate_json('{"constraints": {"max_cost_usd": 0.5}}')
    got = wishes_of(
        {
            "x-pointsman-max-cost-usd": "9",
            "x-pointsman-deny": "a, b",
            "x-pointsman-profile": "fast",
        },
        body,
    )
    assert got.constraints.max_cost_usd == 0.5
    assert got.constraints.deny == {"a", "b"}
    assert got.profile is Profile.fast


@pytest.mark.parametrize(
    ("called", "key_s", "profile"),
    [
        ("somebody/unknown", None, Profile.economy),
        ("somebody/unknown", Preferences(keep=0.9), Profile.economy),
        ("gpt-4o", None, Profile.balanced),
    ],
)
def test_an_alias_may_name_a_profile(
    called: str, key_s: Preferences | None, profile: Profile
) -> None:
    settings = GatewaySettings(aliases={"gpt-4o": "auto", "*": "auto:economy"})
    endpoints: Any = SimpleNamespace(
        settings=settings, catalog=CurrentCatalog(None), _named=lambda limits: limits
    )
    body = json.dumps({"model": called, "messages": [{"role": "user", "content": "x"}]}).encode()
    call: Any = SimpleNamespace(
        request=SimpleNamespace(headers={}),
        key=SimpleNamespace(name="k", preferences=key_s),
        request_id="r-1",
        body=body,
    )
    understood = Gateway._understand(endpoints, call, CHAT.read(body, {}))
    assert understood.submitted is not None
    assert understood.submitted.profile == profile


def test_a_model_is_known_by_its_provider_s_id_too() -> None:
    name = next(n for n in CATALOG.models if n not in CATALOG.retired)
    body = (
        f'{{"model": "{CATALOG.models[name].openrouter}", "messages": [{{"role": "user", '
        '"content": "x"}]}'
    )
    assert wanted(body.encode()).model == name
    for bad in ("auto:best", "gpt-99"):
        with pytest.raises(Problem) as problem:
            wanted(
                f'{{"model": "{bad}", "messages": [{{"role": "user", "content": "x"}}]}}'.encode()
            )
        assert problem.value.status == 404


def test_a_prompt_to_be_routed_alone() -> None:
    got = understand(
        decision_asked(b'{"prompt": "x"}'), RequestWishes(), "r", "k", CATALOG, frozenset(), 10
    )
    assert got.submitted is not None
    assert got.submitted.metadata == {"gateway.key": "k"}
    with pytest.raises(Problem):
        understand(decision_asked(b"{}"), RequestWishes(), "r", "k", CATALOG, frozenset(), 10)


@pytest.mark.parametrize(
    "field",
    [b'"profile": "economy"', b'"preferences": {"cost": 1}', b'"constraints": {"deny": ["a"]}'],
)
def test_wishes_outside_their_place_are_refused_and_not_passed_over(field: bytes) -> None:
    with pytest.raises(Problem, match='goes into "pointsman"'):
        parse(RouteRequest, b'{"prompt": "x", ' + field + b"}")
    assert (
        parse(RouteRequest, b'{"prompt": "x", "pointsman": {' + field + b"}}").pointsman
        != RequestWishes()
    )
    assert parse(RouteRequest, b'{"prompt": "x", "temperature": 1}').prompt == "x"


@pytest.mark.parametrize(
    ("field", "param"),
    [
        (b'"temperature": NaN', "temperature"),
        (b'"temperature": 1e999', "temperature"),
        (b'"extra": {"deep": [1, Infinity]}', "extra.deep.1"),
        (
            b'"messages": [{"role": "user", "content": "x", "weight": -Infinity}]',
            "messages.0.weight",
        ),
        (
            (
                b'"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "at": '
                b"NaN}]}]"
            ),
            "messages.0.content.0.at",
        ),
    ],
)
def test_a_number_that_is_not_finite_is_refused_at_the_gateway_by_field(
    field: bytes, param: str
) -> None:
    for kind in (ChatRequest, RouteRequest):
        with pytest.raises(Problem) as problem:
            parse(kind, b'{"messages": [{"role": "user", "content": "x"}], ' + field + b"}")
        assert problem.value.status == 400
        assert problem.value.error["param"] == param
        assert "not finite" in problem.value.error["message"]


def test_what_no_service_could_hand_on_is_refused_at_the_gateway() -> None:
    for depth, fits in ((90, True), (150, False)):
        body = (
            b'{"messages": [{"role": "user", "content": "x"}], "extra": '
            + b"[" * depth
            + b"]" * depth
            + b"}"
        )
        if fits:
            assert parse(ChatRequest, body)
            continue
        with pytest.raises(Problem, match="more than 100 lists and objects in one another"):
            parse(ChatRequest, body)


def test_a_byte_order_mark_is_taken_off() -> None:
    assert parse(RouteRequest, b'\xef\xbb\xbf{"prompt": "x"}').prompt == "x"


IMAGE = '[{"type": "image_url", "image_url": {"url": "data:,"}}]'


class Remembers:
    """Texts in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        return self.texts.get(key)

    async def put(self, key: str, text: str) -> None:
        self.texts[key] = text


@pytest.mark.parametrize(
    ("content", "task", "needed"),
    [
        (IMAGE, "Look at an image that came without words.", {Ability.image}),
        (
            '[{"type": "input_audio", "input_audio": {}}, {"type": "file", "file": {}}]',
            "Look at a recording and a document that came without words.",
            {Ability.audio, Ability.document},
        ),
    ],
)
def test_what_comes_without_words_is_routed_by_what_it_is(
    content: str, task: str, needed: set[Ability]
) -> None:
    asked = wanted(f'{{"messages": [{{"role": "user", "content": {content}}}]}}'.encode())
    assert asked.submitted is not None
    assert asked.submitted.task_text() == task
    assert asked.needs.abilities == asked.submitted.needed().abilities == needed


@pytest.mark.parametrize(
    "messages",
    [
        '[{"role": "user", "content": ""}]',
        '[{"role": "assistant", "content": "I have spoken."}]',
    ],
)
async def test_without_words_the_default_model_answers(messages: str) -> None:
    asked = wanted(f'{{"messages": {messages}}}'.encode())
    assert asked.submitted is None
    choice = await choose(asked, _hot_path(), Remembers(), GatewaySettings(), "k")
    assert choice.order
    assert choice.headers("m")["x-pointsman-default"] == "there are no words to route by"


def test_what_the_system_says_is_routed_where_the_user_says_nothing() -> None:
    got = wanted(b'{"messages": [{"role": "system", "content": "Greet me."}]}')
    assert got.submitted is not None
    assert got.submitted.task_text() == "Greet me."


def _second_turn() -> UnderstoodRequest:
    call = {
        "id": "call_0123456789abcdef",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    turns = [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
            "reasoning_details": [{"s": 1}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "seen"},
    ]
    return wanted(json.dumps({"messages": turns}).encode())


def test_another_model_gets_a_history_that_it_understands() -> None:
    asked = _second_turn()
    last = Conversation("k", before=Spoke(model="b", cluster="", cares=""))
    wrote = {fingerprint(asked.chat[1]): "a"}
    known = Conversation("k", before=Spoke(model="b", cluster="", cares="", authors=wrote))
    for choice, own in (
        (Choice(("a", "b"), None), "a"),
        (Choice(("a", "b"), None, conversation=last), "b"),
        (Choice(("b", "a"), None, conversation=known), "a"),
    ):
        for model in ("a", "b"):
            history = choice.history(asked, model)
            assert (history == asked.chat) is (model == own)
            assert ("reasoning_details" in history[1]) is (model == own)
            assert history[1]["tool_calls"][0]["id"] == history[2]["tool_call_id"]


async def test_usage_is_left_out_where_the_client_says_so_and_bad_figures_are_replaced() -> None:
    end = [{"index": 0, "delta": {"content": "ab"}, "finish_reason": "stop"}]
    bad = {"prompt_tokens": "seven", "total_tokens": None, "kept": 1}
    for options, chunks in (
        (b"{}", 1),
        (b'{"include_usage": false}', 1),
        (b'{"include_usage": true}', 2),
    ):
        body = (
            b'{"messages": [{"role": "user", "content": "x"}], "stream": true, "stream_options": '
            + options
            + b"}"
        )
        talk = SimpleNamespace(chunks=_chunks({"choices": end, "usage": bad}), answer=_answer)
        got = [
            c async for c in StreamedReply(wanted(body), talk, Answering("m", None, ())).chunks()
        ]
        assert len(got) == chunks
        told = {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "kept": 1,
            "cost": 0.5,
        }
        assert got[-1].get("usage") == (None if b"false" in options else told)


async def _chunks(*chunks: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    for chunk in chunks:
        yield chunk


def _answer(cost: float = 0.5) -> Answer:
    return Answer(
        model="m",
        text="ab",
        provider="p",
        prompt_tokens=1,
        completion_tokens=2,
        cost_usd=cost,
        cost_source="provider",
        latency_s=1.0,
    )


async def test_the_cost_is_in_the_last_chunk_even_when_no_usage_came() -> None:
    delta = [{"index": 0, "delta": {"content": "ab"}, "finish_reason": None}]
    end = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    for sent in (
        [{"choices": delta}, {"choices": end}],
        [{"choices": delta}],
        [{"choices": delta}, {"choices": end}, {"choices": [], "usage": {"a": 1}}],
    ):
        talk = SimpleNamespace(chunks=_chunks(*sent), answer=_answer)
        got = [c async for c in StreamedReply(wanted(), talk, Answering("m", None, ())).chunks()]
        assert len(got) == 2
        assert got[-1]["choices"][0]["finish_reason"] == "stop"
        assert got[-1]["usage"]["cost"] == 0.5
        assert {(c["id"], c["model"]) for c in got} == {("r-1", "m")}


@pytest.mark.parametrize("piece", [{"content": "c"}, {"tool_calls": [{"index": 0}]}])
async def test_a_stream_ends_once_whatever_comes_after_the_end(piece: dict[str, Any]) -> None:
    """As OpenRouter sends it: an empty chunk with the usage, after the one that ends."""

    def chunk(delta: dict[str, Any], reason: str | None, **more: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]} | more

    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    empty = chunk({"role": "assistant", "content": ""}, None, usage=usage)
    for sent in (
        [chunk(piece, None), chunk({}, "stop"), empty],
        [chunk(piece, "stop"), chunk({"content": ""}, "stop"), empty],
        [chunk({}, "stop"), chunk(piece, None), empty],
    ):
        talk = SimpleNamespace(chunks=_chunks(*sent), answer=_answer)
        got = [c async for c in StreamedReply(wanted(), talk, Answering("m", None, ())).chunks()]
        reasons = [c["choices"][0]["finish_reason"] for c in got]
        assert reasons == [None] * (len(got) - 1) + ["stop"]
        assert [c["choices"][0]["delta"] for c in got].count(piece) == 1
        assert got[-1]["usage"]["cost"] == 0.5
        assert all("usage" not in c for c in got[:-1])


async def test_a_second_end_does_not_hide_that_tools_are_called() -> None:
    def chunk(reason: str) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}

    for first, second in (("tool_calls", "stop"), ("stop", "length"), ("length", "stop")):
        talk = SimpleNamespace(chunks=_chunks(chunk(first), chunk(second)), answer=_answer)
        got = [c async for c in StreamedReply(wanted(), talk, Answering("m", None, ())).chunks()]
        reasons = [c["choices"][0]["finish_reason"] for c in got]
        assert reasons == [first if first != "stop" else second]


async def test_words_after_an_end_stand_after_its_own() -> None:
    def chunk(content: str, reason: str | None) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]}

    talk = SimpleNamespace(chunks=_chunks(chunk("a", "stop"), chunk("b", None)), answer=_answer)
    got = [c async for c in StreamedReply(wanted(), talk, Answering("m", None, ())).chunks()]
    said = [one["delta"].get("content", "") for c in got for one in c["choices"]]
    assert "".join(said) == "ab"
    assert [one["finish_reason"] for one in got[-1]["choices"]] == ["stop"]


async def test_every_choice_of_a_stream_has_its_end() -> None:
    def chunk(index: int, content: str, reason: str | None) -> dict[str, Any]:
        delta = {"content": content} if content else {}
        return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}

    sent = [chunk(0, "a", None), chunk(0, "", "stop"), chunk(1, "b", None), chunk(1, "", "length")]
    talk = SimpleNamespace(chunks=_chunks(*sent), answer=_answer)
    got = [c async for c in StreamedReply(wanted(), talk, Answering("m", None, ())).chunks()]
    assert [c["choices"][0]["delta"].get("content") for c in got[:-1]] == ["a", "b"]
    ends = [(c["index"], c["finish_reason"]) for c in got[-1]["choices"]]
    assert ends == [(0, "stop"), (1, "length")]


class _Models:
    def __init__(self, **errors: ModelUnavailable) -> None:
        self.errors, self.asked = errors, list[str]()

    @asynccontextmanager
    async def open(
        self, model: str, chat: Any, parameters: Any, within_s: float, silence_s: float
    ) -> AsyncIterator[Any]:
        self.asked.append(model)
        if model in self.errors:
            raise self.errors[model]

        async def chunks() -> AsyncIterator[dict[str, Any]]:
            yield {"choices": [{"index": 0, "delta": {"content": "a"}}]}
            if model == "breaks":
                raise ModelUnavailable("the stream was cut off")

        yield SimpleNamespace(chunks=chunks(), answer=_answer)


async def test_a_stream_that_breaks_in_the_middle_is_not_begun_again_elsewhere() -> None:
    made = _Models(down=ModelUnavailable("HTTP 500", 500))
    kept: list[StreamedReply] = []

    async def listen() -> None:
        async with ask_streamed(
            wanted(), Choice(("down", "breaks", "good"), None), made, 5, 5, AnswerUnderWay()
        ) as speaking:  # type: ignore[arg-type]
            kept.append(speaking)
            async for _ in speaking.chunks():
                pass

    with pytest.raises(Problem) as problem:
        await listen()
    assert made.asked == ["down", "breaks"]
    assert problem.value.status == 502
    assert kept[0].told.failed[0].model == "down"


def test_what_all_models_say_decides_what_the_client_hears() -> None:
    assert unanswered([("a", ModelUnavailable("HTTP 429", 429))]).headers["retry-after"]
    assert (
        unanswered([("a", ModelUnavailable("HTTP 429", 429, retry_after_s=59.2))]).headers[
            "retry-after"
        ]
        == "60"
    )
    both = [
        ("a", ModelUnavailable("HTTP 429", 429, retry_after_s=59.2)),
        ("b", ModelUnavailable("HTTP 429", 429, retry_after_s=7)),
    ]
    assert unanswered(both).headers["retry-after"] == "7"
    assert unanswered([("a", ModelUnavailable("whatever it says", late=True))]).status == 504
    assert unanswered([("a", ModelUnavailable("an error within 3 words"))]).status == 502, (
        "a status is no matter of words"
    )
    failed = unanswered([("a", ModelUnavailable("an error (code 502)", 502, {"message": "down"}))])
    assert (failed.status, failed.error["type"]) == (502, "upstream_error")
    assert "down" in failed.error["message"]
    assert (
        unanswered(
            [("a", ModelUnavailable("HTTP 500", 500)), ("b", ModelUnavailable("HTTP 429", 429))]
        ).status
        == 502
    )


def _hot_path(current: Any = lambda: None, **settings: Any) -> HotPath:
    chosen = GatewaySettings(**settings)
    fallback = Fallback(current, lambda: CATALOG, lambda: CATALOG.retired, chosen)
    return HotPath(SimpleNamespace(), Breaker(3, 5), fallback, chosen)  # type: ignore[arg-type]


def test_the_default_model_is_named_or_the_table_s_best_or_by_price() -> None:
    quality, _ = _hot_path().default(wanted(profile=Profile.quality))
    economy, _ = _hot_path().default(wanted(profile=Profile.economy))
    assert quality[0] in {m.name for m in CATALOG.profile("current")}, "no model of an old study"
    assert CATALOG.models[quality[0]].price.output > CATALOG.models[economy[0]].price.output
    assert not set(quality) & CATALOG.retired
    assert (
        _hot_path(defaults={"economy": "gpt-5.6"}).default(wanted(profile=Profile.economy))[0][0]
        == "gpt-5.6"
    )
    assert (
        _hot_path(defaults={"economy": "gpt-5.6"}).default(wanted(cost_quality_tradeoff=10))[0][0]
        == economy[0]
    )
    made = table(models=("gpt-5.6", "gpt-5.6-luna", "deepseek-v4-pro"))
    ref = TableRef(epoch=2, sequence=3, digest=made.digest)
    best, version = _hot_path(lambda: (ref, made)).default(wanted(profile=Profile.quality))
    assert version == "2.3"
    assert set(best) == set(made.models)
    with pytest.raises(Problem):
        _hot_path().default(
            wanted(
                constraints=wishes_of({"x-pointsman-allow": "none"}, RequestWishes()).constraints
            )
        )


def test_keys_are_hashed_found_scoped_and_read_again(tmp_path: Path) -> None:
    clear, key = new("ada", frozenset({Scope.vote}), None, None)
    path = tmp_path / "keys.yaml"
    write(path, (key,))
    assert clear not in path.read_text()
    assert hashlib.sha256(clear.encode()).hexdigest() in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    keys = Keys(KeySettings(file=path))
    assert keys.find(clear) == key
    assert keys.find(clear + "x") is None
    assert key.may(Scope.vote)
    assert not key.may(Scope.admin)
    assert Key(name="x", sha256="0" * 64, scopes=frozenset({Scope.admin})).may(Scope.complete)
    write(path, ())
    keys._looked = 0.0
    assert keys.find(clear) is None
    path.write_text("keys: [{name: a}]")
    keys._looked = 0.0
    assert keys.all() == (), "what was read last stays"
    for text in ("x", "keys: 3", "keys: [{name: a b}]", "keys: [{}]"):
        path.write_text(text)
        with pytest.raises(KeyFileInvalid):
            read(path)
    later = tmp_path / "later.yaml"
    waiting = Keys(KeySettings(file=later))
    with pytest.raises(Refused, match="none yet"):
        waiting.admit(None, "127.0.0.1", "localhost", forwarded=False)
    write(later, (key,))
    waiting._looked = 0.0
    assert waiting.find(clear) == key, "a file that is made later is read"


def test_no_key_no_service_except_from_this_machine_where_that_is_allowed(tmp_path: Path) -> None:
    closed, opened = Keys(KeySettings()), Keys(KeySettings(open_on_loopback=True))
    for keys, peer, host, forwarded in (
        (closed, "127.0.0.1", "localhost", False),
        (opened, "10.0.0.7", "localhost", False),
        (opened, "127.0.0.1", "evil.example:8787", False),
        (opened, "127.0.0.1", "localhost", True),
    ):
        with pytest.raises(Refused):
            keys.admit(None, peer, host, forwarded=forwarded)
    for host in ("localhost:8787", "127.0.0.1", "[::1]:8787"):
        assert opened.admit("any", "::1", host, forwarded=False).may(Scope.admin)
    path = tmp_path / "keys.yaml"
    write(path, ())
    with pytest.raises(Refused, match="no such key"):
        Keys(KeySettings(file=path, open_on_loopback=True)).admit(
            "any", "127.0.0.1", "localhost", forwarded=False
        )


def test_room_is_bounded_in_requests_and_in_bytes() -> None:
    room = ConcurrencyLimit(1, 100)
    with room.place() as place:
        assert isinstance(place, Slot)
        place.take(100)
        for act in (room.place, lambda: place.take(1)):
            with pytest.raises(Problem) as problem:
                act()  # type: ignore[operator]
            assert problem.value.status == 429
    assert (room.requests, room.bytes) == (0, 0)


def test_the_api_is_described() -> None:
    described = openapi()
    assert described["components"]["schemas"]["RequestWishes"]["properties"][
        "cost_quality_tradeoff"
    ]
    assert "RequestWishes" in page("http://127.0.0.1:8787")
    assert "cdn" not in page("http://127.0.0.1:8787")


def _decision(**utilities: float) -> Decision:
    return Decision.model_construct(
        candidates=tuple(
            CandidateScore.model_construct(model=name, utility=utility)
            for name, utility in utilities.items()
        )
    )


def test_a_conversation_stays_unless_another_is_points_ahead() -> None:
    before = Spoke(model="b", cluster="", cares="")
    near, far = _decision(a=0.5, b=0.49, c=0.1), _decision(a=0.5, b=0.4, c=0.1)
    assert _kept(near, before, 0.02) == (("b", "a", "c"), True)
    assert _kept(far, before, 0.02) == (("a", "b", "c"), False)
    assert _kept(near, None, 0.02) == (("a", "b", "c"), False)
    assert _kept(near, Spoke(model="gone"), 0.02) == (("a", "b", "c"), False)
    assert _kept(_decision(b=0.5, a=0.4), before, 0.02) == (("b", "a"), False)


def test_what_the_turns_before_were_about_fades_and_is_dropped_in_another_space() -> None:
    tab = table()
    message = decide(placed(tab), tab, {}, wish())
    once = Conversation("k").decided(message)
    assert once.tasks == {
        part.id: pytest.approx(0.8 * part.weight, abs=1e-3) for part in message.assignment.clusters
    }
    spoke = Spoke(model="m", space=once.space, tasks={"old": 1.0})
    assert Conversation("k", before=spoke).decided(message).tasks["old"] == pytest.approx(0.8)
    other = spoke.model_copy(update={"space": "another@1"})
    assert "old" not in Conversation("k", before=other).decided(message).tasks


async def test_what_was_written_and_read_is_remembered() -> None:
    texts = Remembers()
    talk = Conversation("k", cluster="c")
    answer = _answer().model_copy(update={"text": " Hello. "})
    await talk.keep(texts, "m", answer, 50)
    again = Conversation("k", before=await Spoke.recall(texts, "k"))
    assert again.author({"role": "assistant", "content": "Hello."}) == "m"
    assert again.author({"role": "assistant", "content": "Bye."}) is None
    now = time.time()
    assert again.cached(now, 300) == {"m": 50}
    assert again.cached(now + 301, 300) == {}
    assert again.so_far(70, 300).cached_tokens == {"m": 50}
    await texts.put("old", "m\ncluster\n1 2 3")
    older = await Spoke.recall(texts, "old")
    assert older is not None
    assert (older.model, older.authors) == ("m", {})


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_what_is_unpacked_takes_no_more_room_than_it_has(coding: str) -> None:
    pack = {"br": cramjam.brotli.compress, "zstd": cramjam.zstd.compress}[coding]
    room = ConcurrencyLimit(10, 3_000_000)
    with room.place() as one, room.place() as other:
        assert CODINGS[coding](bytes(pack(b"{}")), one, 2_000_000) == b"{}"
        assert CODINGS[coding](bytes(pack(b"[]")), other, 2_000_000) == b"[]"
        assert room.bytes == 4
        for broken, status in ((b"no such thing", 400), (bytes(pack(b" " * 2_000_001)), 413)):
            with room.place() as third, pytest.raises(Problem) as problem:
                CODINGS[coding](broken, third, 2_000_000)
            assert problem.value.status == status
    assert room.bytes == 0


def test_a_header_names_what_was_left_out_whatever_it_is_called() -> None:
    models_ = SimpleNamespace(
        left_out=lambda *_: ("температура\r\nx: y", "seed" * 100), native=lambda _: False
    )
    names = left_out(wanted(), "m", models_)  # type: ignore[arg-type]
    assert all(name.isascii() and name.isprintable() and len(name) < 700 for name in names)
    assert any(name.startswith("seed") and len(name) == 60 for name in names)


def test_a_chat_that_grew_on_the_way_is_measured_as_it_is() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 3_000_000}
    before = [{"role": "user", "content": [picture]}]
    request = parse(ResponsesRequest, b'{"input": "And now?"}')
    asked = RESPONSES.going_on(request, before, {})
    got = understand(asked, RequestWishes(), "r", "k", CATALOG, frozenset(), 30)
    assert not got.whole
    assert got.submitted is not None
    assert len(to_json(got.submitted)) < 1_000_000
    assert got.submitted.needed().abilities == {Ability.image}


def test_a_conversation_is_known_by_what_its_user_says_first() -> None:
    def begins(system: str, user: str) -> str:
        turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return wanted(json.dumps({"messages": turns}).encode()).begins

    long = "Look at the whole repository and tell me what its build needs, step by step."
    assert begins("billing: 1", long) == begins("billing: 2", long)
    assert begins("Be brief.", "Hi") != begins("Be long.", "Hi")


class _Routes:
    """A hot path that decides by a table."""

    def __init__(self, models_: tuple[str, ...]) -> None:
        self.made = table(models=models_)
        self.fallback = _hot_path()

    async def route(self, _message: Submitted) -> Any:
        return decide(placed(self.made), self.made, {}, wish())

    def default(self, asked: UnderstoodRequest) -> tuple[list[str], str]:
        return self.fallback.default(asked)


async def test_a_table_of_models_that_nobody_can_call_leaves_the_default_model() -> None:
    known = CATALOG.models
    nobody = await choose(
        wanted(), _Routes(("a", "b", "c")), Remembers(), GatewaySettings(), "k", known=known
    )
    assert nobody.order
    assert set(nobody.order) <= set(known)
    assert "in no catalogue" in nobody.headers("m")["x-pointsman-default"]
    some = await choose(
        wanted(), _Routes(("a", "gpt-5.6", "c")), Remembers(), GatewaySettings(), "k", known=known
    )
    assert some.order == ("gpt-5.6",)
    assert some.decided is not None


def test_a_table_of_unknown_models_is_passed_over_for_defaults_too() -> None:
    made = table(models=("a", "b", "c"))
    ref = TableRef(epoch=2, sequence=3, digest=made.digest)
    best, version_ = _hot_path(lambda: (ref, made)).default(wanted())
    assert version_ == ""
    assert set(best) <= set(CATALOG.models)


def test_a_limit_of_cost_holds_for_default_models_too() -> None:
    limits = {"max_cost_usd": 1e-9}
    made = table(models=("gpt-5.6", "gpt-5.6-luna", "deepseek-v4-pro"))
    strangers = table(models=("a", "b", "c"))
    for one in (made, strangers):
        ref = TableRef(epoch=2, sequence=3, digest=one.digest)
        with pytest.raises(Problem, match="no model meets"):
            _hot_path(lambda ref=ref, one=one: (ref, one)).default(wanted(constraints=limits))
    with pytest.raises(Problem, match="no model meets"):
        _hot_path().default(wanted(constraints=limits))


def test_foreign_headers_pass_and_misspelt_ones_do_not() -> None:
    body = RequestWishes()
    assert wishes_of({"x-pointsman-tenant": "a"}, body) == body
    with pytest.raises(Problem, match="did you mean x-pointsman-profile"):
        wishes_of({"x-pointsman-profil": "economy"}, body)


async def test_a_cascade_of_unknown_models_is_left_out() -> None:
    class Plans(_Routes):
        async def route(self, message: Submitted) -> Any:
            decided = await super().route(message)
            plan = CascadePlan(
                first="a",
                then="gpt-5.6",
                accept_at=0.5,
                success=0.9,
                cost_usd=0.1,
                latency_s=1.0,
                escalated=0.1,
                gain=0.1,
            )
            decision = decided.decision.model_copy(update={"cascade": plan})
            return decided.model_copy(update={"decision": decision})

    class Ready:
        async def ready(self, _message: Any) -> bool:
            return True

    routes = Plans(("a", "gpt-5.6", "c"))
    settings = GatewaySettings(cascade="whole")
    ready: Any = Ready()
    asked = wanted(), routes, Remembers(), settings, "k", ready
    assert (await choose(*asked)).cascade is not None
    assert (await choose(*asked, known=CATALOG.models)).cascade is None
