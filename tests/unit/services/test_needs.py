"""What requests need of a model. Over the built-in catalogue nothing goes to a model that can't
take it, and nothing is refused that some model could take."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from support import described, embedded, placed, submitted, table, wish

from services.gateway.forms.chat import CHAT
from services.gateway.forms.messages import MESSAGES
from services.gateway.forms.responses import RESPONSES
from services.gateway.requests import RequestWishes
from services.gateway.understanding import understand
from services.selector.decide import decide
from shared.catalog import models
from shared.catalog.models import Model
from shared.contracts.messages import Submitted, to_json
from shared.contracts.needs import fitting, needed_abilities
from shared.protocols import compact
from shared.routing.deciding.abilities import Abilities, Ability, Needs

CATALOG = models.load()
POOL = tuple(CATALOG.models.values())
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
MEDIA: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "text": ([], set()),
    "image": ([IMAGE], {"image"}),
    "document": ([FILE], {"document"}),
    "audio": ([SOUND], {"audio"}),
    "image and audio": ([IMAGE, SOUND], {"image", "audio"}),
}
EXTRAS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "plain": ({}, set()),
    "forty tools": ({"tools": [TOOL] * 40}, {"tools"}),
    "schema": ({"response_format": SCHEMA}, {"structured_output"}),
    "tools and schema": (
        {"tools": [TOOL], "response_format": SCHEMA},
        {"tools", "structured_output"},
    ),
    "long answer": ({"max_tokens": 100_000}, set()),
}
LENGTHS = (0, 5_000, 20_000, 100_000, 150_000, 300_000, 950_000, 1_100_000)


def requests() -> list[tuple[str, dict[str, Any], set[str]]]:
    """200 requests: kinds of media, of parameters and of length, each with each."""
    made = []
    for (medium, (parts, first)), (extra, (parameters, second)), length in itertools.product(
        MEDIA.items(), EXTRAS.items(), LENGTHS
    ):
        history = [
            {"role": "user", "content": "Before."},
            {"role": "assistant", "content": "x " * (3 * length)},
        ]
        text = {"type": "text", "text": "What do you make of it?"}
        body = {
            "messages": [
                *(history if length else ()),
                {"role": "user", "content": [text, *parts]},
            ],
            **parameters,
        }
        made.append((f"{medium}, {extra}, {length}", body, first | second))
    return made


ALL = requests()


def can(model: Model, needed: set[str], needs: Needs) -> bool:
    """Calculated here again, from the catalogue alone."""
    has = set(model.can or ())
    implied = {"structured_output": "json", "parallel_tools": "tools"}
    has |= {implied[ability] for ability in has if ability in implied}
    answer = min(needs.answer_tokens, model.largest_output or needs.answer_tokens)
    return needed <= has and needs.prompt_tokens + answer <= model.context_tokens


def test_there_are_200_and_each_model_refuses_some_and_takes_some() -> None:
    assert len(ALL) == 200
    current = CATALOG.profile("current")
    assert all(model.can is not None for model in current)
    assert len({model.can for model in current}) >= 3


@pytest.mark.parametrize("start", range(0, 200, 25))
def test_no_request_goes_to_a_model_that_can_not_take_it_and_none_is_refused_without_need(
    start: int,
) -> None:
    pool = tuple(model for model in POOL if model.can is not None)
    tab = table(2, tuple(model.name for model in pool))
    for name, body, needed in ALL[start : start + 25]:
        asked = CHAT.read(compact(body).encode(), {})
        wanted = understand(asked, RequestWishes(), "r", "k", CATALOG, frozenset(), len(str(body)))
        assert wanted.submitted is not None
        assert {str(ability) for ability in wanted.needs.abilities} == needed, name
        message = placed(tab, embedded(described(wanted.submitted)))
        decision = decide(message, tab, CATALOG.models, wish()).decision
        chosen = {candidate.model for candidate in decision.candidates}
        able = {model.name for model in pool if can(model, needed, wanted.needs)}
        assert chosen == able, name
        assert decision.status == ("decided" if able else "no_eligible_model")
        assert {one.model for one in decision.ruled_out} == {m.name for m in pool} - able
        assert all(one.reason for one in decision.ruled_out)


def test_a_chat_that_is_too_long_for_a_topic_says_what_it_needs() -> None:
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "word " * 90_000}, IMAGE]}
        ]
    }
    asked = CHAT.read(compact(body).encode(), {})
    wanted = understand(asked, RequestWishes(), "r", "k", CATALOG, frozenset(), 10)
    assert not wanted.whole
    assert wanted.submitted is not None
    assert wanted.submitted.needed().abilities == {Ability.image}
    assert wanted.submitted.needed().room(Abilities()) >= wanted.needs.prompt_tokens


def test_the_topic_reads_needs_from_the_message_and_takes_those_it_states() -> None:
    turns = ({"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]},)
    shown = Submitted.model_validate(
        {"messages": turns, "parameters": {"tools": [TOOL]}}, strict=False
    )
    assert shown.needed().abilities == {Ability.image, Ability.tools}
    stated = submitted(needs=(Ability.audio,))
    assert stated.needed().abilities == {Ability.audio}
    assert Submitted.model_validate_json(to_json(stated)).needs == (Ability.audio,)


def test_every_form_comes_to_the_same_needs() -> None:
    """A picture, a tool and a schema, in each protocol's words."""
    tool = {"name": "f", "input_schema": {"type": "object"}}
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    bodies: list[tuple[Any, dict[str, Any]]] = [
        (
            CHAT,
            {
                "messages": [{"role": "user", "content": [IMAGE]}],
                "tools": [TOOL],
                "response_format": SCHEMA,
            },
        ),
        (
            MESSAGES,
            {
                "model": "auto",
                "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}],
                "tools": [tool],
                "output_config": {"format": schema},
            },
        ),
        (
            RESPONSES,
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_image", "image_url": IMAGE["image_url"]["url"]}
                        ],
                    }
                ],
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
                "text": {"format": schema | {"name": "a"}},
            },
        ),
    ]
    for form, body in bodies:
        asked = form.read(compact(body).encode(), {})
        wanted = understand(asked, RequestWishes(), "r", "k", CATALOG, frozenset(), 10)
        assert wanted.needs.abilities == {
            Ability.image,
            Ability.tools,
            Ability.structured_output,
        }
        assert wanted.submitted is not None


def test_several_calls_in_a_turn_need_a_model_that_makes_them() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    one = [{"role": "assistant", "tool_calls": [call]}]
    two = [{"role": "assistant", "tool_calls": [call, call]}]
    assert needed_abilities(one, {}) == {Ability.tools}
    assert needed_abilities(two, {}) == {Ability.parallel_tools}
    assert (
        Abilities(can=frozenset({Ability.parallel_tools})).lacks(frozenset({Ability.tools})) == ()
    )


@pytest.mark.parametrize(
    ("asked", "model", "sent", "changed"),
    [
        ({"max_tokens": 9}, Abilities(), {"max_tokens": 9}, ()),
        ({"max_tokens": 9}, Abilities(largest_output=5), {"max_tokens": 5}, ("max_tokens",)),
        ({"temperature": 0.3}, Abilities(can=frozenset()), {}, ("temperature",)),
        ({"temperature": 0.3}, Abilities(can=None), {"temperature": 0.3}, ()),
        ({"reasoning_effort": "none"}, Abilities(can=frozenset()), {}, ()),
        ({"reasoning_effort": "high"}, Abilities(can=frozenset()), {}, ("reasoning_effort",)),
        (
            {"reasoning_effort": "max"},
            Abilities(can=None, efforts=("low", "high")),
            {"reasoning_effort": "high"},
            ("reasoning_effort",),
        ),
        (
            {"reasoning_effort": "minimal"},
            Abilities(can=None, efforts=("none", "low")),
            {"reasoning_effort": "low"},
            ("reasoning_effort",),
        ),
    ],
)
def test_parameters_are_fitted_to_the_model_and_what_changed_is_named(
    asked: dict[str, Any], model: Abilities, sent: dict[str, Any], changed: tuple[str, ...]
) -> None:
    assert fitting(asked, model) == (sent, changed)
