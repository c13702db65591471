"""Courtesies around a request are left out, and nothing else is.

`courtesies.tsv` has sentences of eleven languages: `courtesy`, or `says` where leaving it out would
change what is asked. The lists were written with sight of those marked `seen`, and without sight of
those marked `kept`.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.tasks import library
from shared.routing.deciding.courtesies import READ_CHARS, is_courtesy, without_courtesies
from shared.routing.offline.perturbing import FILLERS

REQUEST = "Xqzt bcdf ghjk lmnp qrst"
SENTENCES = [
    line.split("\t")
    for line in Path(__file__).with_name("courtesies.tsv").read_text("utf-8").splitlines()
]


def left_out(marked: str, kind: str) -> float:
    """The fraction of sentences that are left out before a request or behind it."""
    own = [said for mark, _, what, said in SENTENCES if (mark, what) == (marked, kind)]
    prompts = [(f"{said}\n{REQUEST}", f"{REQUEST}\n{said}") for said in own]
    return sum(REQUEST in map(without_courtesies, both) for both in prompts) / len(own)


@pytest.mark.parametrize(
    ("marked", "kind", "least", "most"),
    [
        ("seen", "courtesy", 0.85, 1.0),
        ("seen", "says", 0.0, 0.0),
        ("kept", "courtesy", 0.7, 1.0),
        ("kept", "says", 0.0, 0.0),
    ],
)
def test_courtesies_are_left_out_and_what_says_something_is_not(
    marked: str, kind: str, least: float, most: float
) -> None:
    assert least <= left_out(marked, kind) <= most


@pytest.mark.parametrize("filler", FILLERS)
def test_a_disturbance_by_politeness_is_none(filler: str) -> None:
    assert without_courtesies(f"{filler} Sum up the report.") == "Sum up the report."
    after = without_courtesies(f"Sum up the report. {filler}")
    assert after == (
        "Sum up the report." if filler != "Hello there." else f"Sum up the report. {filler}"
    )


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("Hi Claude, sort these ships by age. Thanks, Anna", "sort these ships by age."),
        ("  Sort the ships by age, please!", "Sort the ships by age"),
        ("Sort the ships by age.\n\nBest regards,\nAnna Schmidt", "Sort the ships by age."),
        ("你好！请解释这件事情。谢谢", "请解释这件事情。"),
        ("Sort the ships by age. Thanks a lot! :)", "Sort the ships by age."),
        ("Hello! I have a question. Why is the sky blue?", "Why is the sky blue?"),
        ("SELECT a FROM t WHERE b;\nplease", "SELECT a FROM t WHERE b;"),
        (
            unicodedata.normalize("NFD", "Dziękuję. Sort the ships by age."),
            "Sort the ships by age.",
        ),
    ],
)
def test_a_request_is_read_without_what_stands_around_it(prompt: str, left: str) -> None:
    assert without_courtesies(prompt) == left


@pytest.mark.parametrize(
    "prompt",
    [
        "Thank you very much!",
        "Hello. Thanks!",
        "got the job!! thanks for everything, bye",
        "Translate: thank you very much",
        "Translate into French: hello, how are you, thanks",
        "Translate into Polish:\nDear Tom,\nI wait for your answer.\nThank you",
        "翻译：谢谢，你好",
        "User: hi\nAssistant: hello\nUser: my train is late, thanks",
        "Translate what I send you into French.\nGood morning, how are you?",
        "Classify the intent of this message.\n\nhi, i need help",
        "Repeat what I write.\nI am sorry for being late",
        'Say in Spanish: "I need it now. Thank you',
        "1. hello a b c\n2. thanks",
        "Recommend a gift for ten euros. For my boss.",
        "Recommend the cities of Spain. Only the best.",
        "写一封信，感谢老师",
        "Hello World. Write it in Rust.",
        "One morning, three ducks left the pond.",
        "Translate the sentence into German.\nThank you so much for your help.",
        "Thank you so much for your patience.\n\nTranslate the sentence above into German.",
        "Tell a story about a dog. Please make it longer.",
        "Write a letter to my landlord. Make it urgent.",
        "Écris un mail à mon chef, très gentil",
        "Sign the letter to the bank with\nKind regards,\nAnna Smith",
        "  def f(x):\n    return x + a\n\n",
        "\n",
    ],
)
def test_what_may_be_worked_on_stays(prompt: str) -> None:
    assert without_courtesies(prompt) == prompt


@given(st.text(max_size=400))
def test_a_part_of_the_prompt_stays_and_is_never_empty(prompt: str) -> None:
    left = without_courtesies(prompt)
    assert left in prompt
    assert bool(left) == bool(prompt)
    assert len(left) >= len(prompt.strip()) - 8 * (READ_CHARS + 10)


@pytest.mark.parametrize(
    "phrase", ["hi ", "hi, ", "thanks. ", "\n", " \n", "。", ", ", '"a": "b", ', "1. ", ":)"]
)
def test_a_prompt_of_the_largest_size_is_read_once(phrase: str) -> None:
    """What took quadratic time would not come to an end here."""
    prompt = f"Sort these ships. {phrase * (250_000 // len(phrase))}\nthanks"
    assert without_courtesies(prompt) in prompt


def test_few_prompts_of_the_library_have_courtesies() -> None:
    prompts = [text for task in library() for text in (*task.train, *task.test)]
    shorter = sum(without_courtesies(text) != text for text in prompts)
    assert 0 < shorter < 0.02 * len(prompts)


def test_a_quotation_a_number_or_code_is_no_courtesy() -> None:
    assert is_courtesy("thanks a lot :)")
    assert is_courtesy("good morning")
    assert not is_courtesy("good morning", last=True)
    assert not is_courtesy("thank you very much for it", most=4)
    for text in ("thanks = 3", "“thanks”", "thanks 2", "</thanks>", "Thanks: a poem", ""):
        assert not is_courtesy(text), text
