"""Adding is one small thing: what stands in a table of kinds keeps that table's promises."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest
from support import placed, submitted, table, wish

from services.console.app import MENU, PAGES
from services.describer.describe import BACKENDS, ModelReply, describe
from services.describer.settings import DescriberSettings
from services.judge.judge import KINDS, counted
from services.judge.settings import JudgeSettings
from services.reclusterer.settings import ReclustererSettings
from services.selector.decide import decide
from shared.adapters.errors import ModelUnreachable
from shared.adapters.llm.chat import Chat, LLMSettings
from shared.adapters.llm.providers import Provider, Said
from shared.adapters.llm.wire import WIRES
from shared.contracts.answers import Answer as ModelAnswer
from shared.contracts.answers import Completion
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Completed, extend
from shared.contracts.places import Source
from shared.routing.learning.clustering import CLUSTERINGS


@pytest.mark.parametrize(
    ("settings", "field", "kinds", "more"),
    [
        (ReclustererSettings, "method", CLUSTERINGS, set()),
        (DescriberSettings, "backend", BACKENDS, {"auto"}),
        (JudgeSettings, "kind", KINDS, set()),
    ],
)
def test_a_setting_takes_what_its_table_has(
    settings: Any, field: str, kinds: Any, more: set[str]
) -> None:
    taken = set(get_args(settings.model_fields[field].annotation))
    apart = taken ^ (set(kinds) | more)
    assert not apart, (
        f"{sorted(apart)}: add to the Literal of {settings.__name__}.{field}, or remove"
    )


class _Asked:
    text, finish_reason, model, simulated, cost_usd = "Write an ode", "stop", "m", True, 0.0


class _Nothing:
    async def get(self, _key: str) -> None:
        return None

    async def put(self, _key: str, _text: str) -> None:
        return None


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
async def test_every_backend_describes_whatever_comes(backend: Any, answers: bool) -> None:
    from shared.contracts.errors import ModelUnavailable as NoAnswer

    async def ask(_instruction: str, _content: str) -> ModelReply:
        if not answers:
            raise NoAnswer("away")
        return _Asked()

    settings = DescriberSettings(backend=backend)
    for prompt in ("Write an ode to rain.", "?", "x" * 20_000, "雨についての詩を書いて", "\n\n?\n"):
        message = await describe(submitted(prompt), settings, ask, _Nothing())
        assert message.description.source in Source
        assert len(message.description.text) < 5_000


def completed() -> Completed:
    known = table()
    decision = decide(placed(known), known, {}, wish())
    return extend(decision, Completed, completion=Completion(status="answered"))


def answer(model: str) -> ModelAnswer:
    return ModelAnswer(
        model=model,
        text=f"by {model}",
        provider="p",
        prompt_tokens=1,
        completion_tokens=1,
        cost_usd=0.0,
        cost_source="provider",
        latency_s=1.0,
    )


@pytest.mark.parametrize("says", ['{"better": "first"}', "nonsense", None])
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_judge_votes_or_abstains(kind: str, says: str | None) -> None:
    """Also where the judge model is unreachable: then it abstains, and nothing is raised."""

    async def ask(*_: object) -> Said:
        if says is None:
            raise ModelUnavailable("away")
        return Said(says, "stop", "m", True, 0.001)

    judge = KINDS[kind]("a judge", JudgeSettings(), ask)
    votes = counted(await judge.compare(completed(), answer("a"), answer("b")))
    total = votes.ties + votes.abstentions + sum(votes.counts())
    assert total > 0
    assert (votes.abstentions == total) == (says != '{"better": "first"}')


@pytest.mark.parametrize("api", WIRES)
async def test_every_api_says_in_our_words_that_nobody_is_there(api: str) -> None:
    settings = LLMSettings(api_key="k", base_url="http://127.0.0.1:9/v1", attempts=1)
    model = Chat(settings.model_copy(update={"api": api}))
    turns = [{"role": "user", "content": "hello"}]
    with pytest.raises(ModelUnreachable):
        await model.complete("m", turns, within_s=2.0)

    async def streamed() -> None:
        async with model.open("m", turns, within_s=2.0, parameters={}) as stream:
            async for _ in stream:
                pass

    with pytest.raises(ModelUnreachable):
        await streamed()
    await model.close()
    assert Provider(base_url="http://x", key_env="K", api=api).api == api


def test_an_api_that_nobody_speaks_is_named() -> None:
    with pytest.raises(ValueError, match="there is openai"):
        Provider(base_url="http://x", key_env="K", api="telepathy")


def test_no_two_pages_have_the_same_path() -> None:
    paths = [(route.path, route.method) for page in PAGES for route in page.ROUTES]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.TITLE)
def test_every_page_has_a_title_a_place_in_the_menu_and_endpoints(page: Any) -> None:
    name, title = MENU[PAGES.index(page)]
    assert page.ROUTES[0].path == f"/{name}"
    assert title == page.TITLE
    for route in page.ROUTES:
        assert list(inspect.signature(route.draw).parameters) in (
            ["desk", "request", "viewer"],
            ["desk", "_request", "viewer"],
        )
