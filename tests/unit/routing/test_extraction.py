"""The local description: extractive, deterministic, short, and bounded whatever is sent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.deciding.extraction import (
    MAX_WORDS,
    READ_CHARS,
    extract,
    length,
    scrubbed,
    sentences,
    whole,
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
        "Make this page friendlier:",
        "keep the three warnings as they are.",
        "By Friday?",
    ]
    first, *_, last = sentences(prompt)
    assert first.instructs > last.instructs


@pytest.mark.parametrize(
    "sentence",
    [
        "Select the best title for my essay.",
        "I want to return my shoes, so write the letter.",
        "Write a Python function that merges two sorted lists.",
        "My class has thirty pupils and no chairs.",
        "Solve \\frac{x}{2} + \\sqrt{y} = 3 for x.",
    ],
)
def test_words_that_stand_in_programs_stand_in_prose_too(sentence: str) -> None:
    assert sentence in [s.text for s in sentences(f"It rained. {sentence} It snowed.")]


@pytest.mark.parametrize("place", [0, 20, 40])
def test_an_instruction_is_found_wherever_it_stands_among_many_sentences(place: int) -> None:
    diary = [f"On day {i} the sea was grey and the gulls were loud." for i in range(40)]
    diary.insert(place, "Summarise this diary in two sentences.")
    found = [s.text for s in sentences(" ".join(diary))]
    assert "Summarise this diary in two sentences." in found
    assert len(found) == 16


@pytest.mark.parametrize(
    ("prompt", "last"),
    [
        ("今天下雨。" * 30 + "请把这篇日记总结成一句话。", "请把这篇日记总结成一句话。"),
        ("आज बारिश हुई। " * 30 + "इसे एक वाक्य में लिखो।", "इसे एक वाक्य में लिखो।"),
        ("هل أمطرت اليوم؟ " * 30 + "لخص اليوميات في جملة", "لخص اليوميات في جملة"),
    ],
    ids=["Chinese", "Hindi", "Arabic"],
)
def test_sentences_end_where_each_language_ends_them(prompt: str, last: str) -> None:
    assert sentences(prompt)[-1].text == last


@given(st.text(max_size=400))
def test_sentences_are_short_whatever_is_sent(text: str) -> None:
    for sentence in sentences(text):
        assert sentence.text.strip()
        assert length(sentence.text) <= MAX_WORDS + 1, "and a colon"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("hello, fix  my\nroof", "Fix my roof"),
        ("Dear Mr Smith, please fix it", "Fix it"),
        ("hi roast my sheep pls", "Hi roast my sheep pls"),
        ("thank you card for my teacher, funny", "Thank you card for my teacher, funny"),
        ("good morning routine for a toddler", "Good morning routine for a toddler"),
        ("Hi can you tell me how to fix it? Now.", "Hi can you tell me how to fix it? Now."),
        ("word " * (MAX_WORDS + 1), ""),
        ("字" * 241, ""),
        ("字" * 240, "字" * 240),
        ("https://example.org/a", ""),
        ("```python\nprint(1)\n```", ""),
        ("???", ""),
    ],
)
def test_a_short_prompt_stands_for_itself(prompt: str, text: str) -> None:
    assert whole(prompt) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to anna@mail.my-company.co.uk", "write to …"),
        ("see WWW.example.com/reset?token=abc now", "see … now"),
        ("ftp://u:pw@host/x and HTTPS://x.example/y", "… and …"),
        ("call +49 (0)30 1234-567 or 0211/1234567", "call … or …"),
        ("call 06 12 34 56 78", "call …"),
        ("card 4111 1111 1111 1111 expired", "card … expired"),
        ("key sk-abc123ABCdef456GHIjkl", "key …"),
        ("Convert 2026-11-27 14:05 to UTC", "Convert 2026-11-27 14:05 to UTC"),
        ("What comes next: 2 4 8 16 32 64 128", "What comes next: 2 4 8 16 32 64 128"),
        ("Is 1000000007 prime?", "Is 1000000007 prime?"),
        ("123456789*987654321", "123456789*987654321"),
        ("1,400 USD in 2006-2015", "1,400 USD in 2006-2015"),
    ],
)
def test_by_what_people_are_reached_is_left_out(text: str, left: str) -> None:
    assert scrubbed(text) == left


@pytest.mark.parametrize(
    "piece", ["a", "-", "0", "1 ", ".", "@a", "a.", "w://", "„", '"', "\\", "：", "a-1", "(0)"]
)
def test_texts_that_lead_patterns_astray_are_read(piece: str) -> None:
    """A pattern that tries every way to match would not come to an end here."""
    text = piece * 50_000
    assert len(sentences(text)) <= 16
    assert len(scrubbed(text)) <= len(text)
    assert whole(text) == ""
