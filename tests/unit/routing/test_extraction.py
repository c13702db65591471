"""The local description: extractive, deterministic, short, and bounded whatever is sent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.deciding.extraction import (
    MAX_WORDS,
    READ_CHARS,
    extract,
    polished,
    sentences,
)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (
            (
                "Hi! Could you please fix the bug in my python function?\n```python\ndef f(): "
                "return "
                "1/0\n```"
            ),
            "Fix the bug in my python function?",
        ),
        (
            "Translate the patient leaflet from English to Turkish: Take one tablet.",
            "Translate the patient leaflet from English to Turkish",
        ),
        (
            (
                '"I am so angry that my parcel did not arrive at all" Classify the sentiment of '
                "this "
                "customer review."
            ),
            "Classify the sentiment of this customer review.",
        ),
        (
            "Fasse den folgenden Vertrag in drei Sätzen zusammen: Der Mieter zahlt.",
            "Fasse den folgenden Vertrag in drei Sätzen zusammen",
        ),
    ],
)
def test_it_finds_the_instruction_and_leaves_the_content(prompt: str, expected: str) -> None:
    assert extract(prompt) == expected


@given(st.text(min_size=1, max_size=3000).filter(lambda s: s.strip()))
def test_it_is_short_deterministic_and_never_empty(prompt: str) -> None:
    text = extract(prompt)
    assert text.strip()
    assert len(text.split()) <= MAX_WORDS
    assert len(text) <= 400
    assert text == extract(prompt)


def test_numbers_addresses_and_links_are_left_out() -> None:
    text = extract(
        "Write a reminder to jane@doe.example about invoice 4471, see https://pay.example/4471 for "
        "99.50 EUR."
    )
    assert not re.search(r"jane|4471|99|https", text)


def test_only_the_beginning_and_the_end_of_a_long_prompt_are_read() -> None:
    filler = "the quick brown fox " * 20_000
    assert extract(f"{filler}\nSummarise this text.") == "Summarise this text."
    middle = filler[: 2 * READ_CHARS] + "\nTranslate everything.\n" + filler[: 2 * READ_CHARS]
    assert "Translate" not in extract(middle)


@pytest.mark.parametrize(
    "unit", ["a", ". ", "1,", '"x ', "„", "```", "a.", "....", "@", "a@a", "?", "\n"]
)
def test_hostile_repetition_is_bounded(unit: str) -> None:
    """Regular expressions over what nobody bounds once took five minutes here; only READ_CHARS are
    read now: what stands between changes nothing."""
    whole = unit * (250_000 // len(unit)) + "x"
    head, tail = whole[: READ_CHARS * 3 // 4], whole[-READ_CHARS // 4 :]
    assert extract(whole) == extract(f"{head}{'Summarise this. ' * 9000}{tail}")
    assert len(extract(whole).split()) <= MAX_WORDS


def test_sentences_are_a_prompts_own_words_without_code_and_quotations() -> None:
    prompt = (
        "Hello! Please make this page friendlier: keep the three warnings as they are. "
        "“Nobody may enter the hall after eight in the evening.”\n"
        "x = [f(y) for y in rows]; print(x)\n```\nrows = []\n```\nBy Friday?"
    )
    assert [s.text for s in sentences(prompt)] == [
        "Make this page friendlier",
        "Keep the three warnings as they are",
        "By Friday?",
    ]
    first, *_, last = sentences(prompt)
    assert first.instructs > last.instructs


def test_by_what_people_are_reached_is_not_quoted() -> None:
    text = "Hi! Write to anna@example.org or +49 30 1234-5678, by 2026-11-27, 1,400 USD at most"
    assert polished(text) == "Write to … or +…, by 2026-11-27, 1,400 USD at most"
    (said,) = sentences("Pay it with card 4111 1111 1111 1111 today.")
    assert said.text == "Pay it with card … today"


@given(st.text(max_size=400))
def test_sentences_are_short_whatever_is_sent(text: str) -> None:
    for sentence in sentences(text):
        assert sentence.text.strip()
        assert len(sentence.text.split()) <= MAX_WORDS
