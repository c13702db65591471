"""What SIMULATED models say: JSON that fits the schema it was asked for, the tool it was given, and
texts of visibly different quality."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.llm.simulated import World
from shared.adapters.llm.simulated_answers import SAYS, made_for, text

PROMPT = (
    "Extract the name, age and city: Anna is 34 years old. She lives in Vienna and likes bread."
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
        },
    },
}


def said(body: dict[str, Any], prompt: str = PROMPT) -> dict[str, Any]:
    asked = {"model": "gpt-5.6", "messages": [{"role": "user", "content": prompt}], **body}
    status, value = World().respond(asked)
    assert status == 200
    choice: dict[str, Any] = value["choices"][0]
    return choice


def draw(what: str) -> float:
    return (len(what) * 0.37) % 1.0


scalars = st.one_of(
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 40),
        st.integers(0, 40),
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-50, 50),
        st.integers(0, 90),
    ),
    st.builds(
        lambda low, more: {
            "type": "number",
            "exclusiveMinimum": low,
            "exclusiveMaximum": low + more,
        },
        st.integers(-50, 50),
        st.integers(1, 90),
    ),
    st.just({"type": "integer", "minimum": 3, "multipleOf": 5}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": ["string", "null"]}),
    st.sampled_from([{"enum": ["a", 1, None]}, {"const": {"x": [1]}}]),
    st.sampled_from([{"type": "string", "format": f} for f in ("date", "email", "uuid")]),
)


def inner(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text("abcdefg", min_size=1, max_size=3)
    return st.one_of(
        st.dictionaries(names, schemas, max_size=4).map(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        ),
        st.builds(
            lambda items, least, more: {
                "type": "array",
                "items": items,
                "minItems": least,
                "maxItems": least + more,
            },
            schemas,
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        st.lists(schemas, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    )


@given(st.recursive(scalars, inner, max_leaves=8))
def test_json_fits_the_schema(schema: dict[str, Any]) -> None:
    value = json.loads(json.dumps(made_for(schema, PROMPT, draw)))
    jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())


def test_a_schema_that_refers_to_itself_and_joins_others_has_an_end() -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name", "next", "children"],
            },
            "dated": {
                "properties": {"on": {"type": "string", "format": "date"}},
                "required": ["on"],
            },
        },
        "allOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/dated"}],
    }
    value = made_for(schema, PROMPT, draw)
    jsonschema.validate(value, schema)
    assert value["on"]


def test_no_schema_makes_a_model_hang_or_fail() -> None:
    for schema in (
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9, "items": {"type": "null"}},
        {"$ref": "#"},
        {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]},
        {"type": "word"},
        {"type": "any_of"},
    ):
        assert len(json.dumps(made_for(schema, PROMPT, draw))) < 10_000
    nameless = {"tools": [{"type": "function", "function": {}}], "tool_choice": "required"}
    asked = {"model": "gpt-5.6", "messages": [{"role": "user", "content": "x"}], **nameless}
    assert World().respond(asked)[0] == 400


def test_structured_outputs_are_json_alone() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema, "strict": True}}
    assert json.loads(said({"response_format": form})["message"]["content"]) == {"age": 34}
    loose = said({"response_format": {"type": "json_object"}})["message"]["content"]
    assert SAYS in json.loads(loose)["answer"]


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "get_weather"}}, "auto"],
)
def test_a_given_tool_is_called_with_arguments_that_fit(choice: Any) -> None:
    got = said({"tools": [WEATHER], "tool_choice": choice}, "What is the weather in Vienna?")
    assert got["finish_reason"] == "tool_calls"
    (call,) = got["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    arguments = json.loads(call["function"]["arguments"])
    jsonschema.validate(arguments, WEATHER["function"]["parameters"])  # type: ignore[index]


def test_a_tool_is_not_called_unasked_where_that_could_do_harm() -> None:
    run = {
        "type": "function",
        "function": {
            "name": "run_shell",
            "description": "Run a shell command.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
        },
    }
    prompt = "Run a shell command that lists the weather of each city."
    assert said({"tools": [run]}, prompt)["finish_reason"] == "stop"
    assert said({"tools": [WEATHER] * 4}, prompt)["finish_reason"] == "stop"
    assert said({"tools": [WEATHER], "tool_choice": "none"}, prompt)["finish_reason"] == "stop"


def test_what_a_tool_said_is_answered_with() -> None:
    turns = [
        {"role": "user", "content": "What is the weather in Vienna?"},
        {"role": "tool", "tool_call_id": "x", "content": "11 degrees"},
    ]
    got = said({"tools": [WEATHER], "messages": turns})
    assert "11 degrees" in got["message"]["content"]


def test_n_stop_and_limits_are_kept() -> None:
    body = {
        "model": "gpt-5.6",
        "messages": [{"role": "user", "content": PROMPT}],
        "n": 3,
    }
    choices = World().respond(body)[1]["choices"]
    assert [c["index"] for c in choices] == [0, 1, 2]
    assert len({c["message"]["content"] for c in choices}) == 3
    cut = said({"stop": ["answer"]})["message"]["content"]
    assert cut.startswith("SIMULATED ")
    assert "answer" not in cut
    short = said({"max_tokens": 3})
    assert short["finish_reason"] == "length"
    assert len(short["message"]["content"].split("<!--")[0].split()) == 3


def test_quality_can_be_seen() -> None:
    degrees = [text(PROMPT, (degree + 0.5) / 6, draw) for degree in range(6)]
    assert len(set(degrees)) == 6
    assert sorted(degrees[2:], key=len) == degrees[2:]
    good, fair, poor = degrees[5], degrees[2], degrees[0]
    assert all(one.startswith(SAYS) for one in (good, fair, poor))
    points = ("Anna is 34 years old", "She lives in Vienna")
    assert all(point in good for point in points)
    assert points[0] not in poor
    assert not poor.endswith(".")
    assert len(good) > len(fair)
