"""Files of preferences are read in the forms that people have them in, and refused with the
place."""

from __future__ import annotations

import json

import pytest

from services.workbench.vote_file import Preference, read_votes
from shared.routing.errors import OutcomesInvalid

ARENA = {
    "model_a": "a",
    "model_b": "b",
    "winner": "model_b",
    "conversation_a": [
        {"role": "user", "content": "Write a poem"},
        {"role": "assistant", "content": "No."},
    ],
}


def read(*rows: object) -> list[Preference]:
    return read_votes("\n".join(map(json.dumps, rows)), is_csv=False)


def test_arena_alpaca_and_kaggle_forms_are_read() -> None:
    alpaca = {
        "instruction": "Sum it",
        "generator_1": "ref",
        "generator_2": "new",
        "preference": 1.9,
        "output_1": "x",
    }
    assert read(
        ARENA, alpaca, {"prompt": "p", "model_a": "a", "model_b": "b", "winner": "tie (bothbad)"}
    ) == [
        Preference("Write a poem", "a", "b", 0.0),
        Preference("Sum it", "ref", "new", pytest.approx(0.1)),
        Preference("p", "a", "b", None),
    ]
    assert read_votes(json.dumps([alpaca]), is_csv=False) == read(alpaca), (
        "AlpacaEval has one array"
    )
    kaggle = (
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\r\n"
        '1,gpt-4,llama,"[""Is it \u2028 true?"",""And?""]","[""x""]","[""y""]",1,0,0\r\n'
        '2,gpt-4,llama,"[""Why?""]","[""x""]","[""y""]",0,0,1\r\n'
    )
    assert read_votes(kaggle, is_csv=True) == [
        Preference("Is it \u2028 true?", "gpt-4", "llama", 1.0),
        Preference("Why?", "gpt-4", "llama", None),
    ]
    assert read_votes("\ufeff" + json.dumps(ARENA) + "\n\n", is_csv=False) == read(ARENA)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no vote"),
        ("{", "line 1: not JSON"),
        ("[1]", "entry 1: not a JSON object"),
        (
            json.dumps(ARENA) + "\n" + json.dumps(ARENA | {"winner": "a"}),
            "line 2, winner: not model_a, model_b, tie",
        ),
        (
            json.dumps({"model_a": "a", "model_b": "b", "winner": "tie"}),
            "line 1: there is no prompt",
        ),
        (json.dumps(ARENA | {"model_b": None}), "line 1: there is no model_b"),
        (
            json.dumps(
                {"instruction": "x", "generator_1": "a", "generator_2": "b", "preference": 3}
            ),
            "line 1, preference: not a number from 1",
        ),
        (
            json.dumps({"prompt": "x", "model_a": "a", "model_b": "b"}),
            "one of winner_model_a, winner_model_b and winner_tie",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, words: str) -> None:
    with pytest.raises(OutcomesInvalid, match=words):
        read_votes(text, is_csv=False)
