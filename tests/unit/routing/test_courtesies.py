"""Courtesies around a request are left out, and nothing else is.

`courtesies.tsv` has sentences of eleven languages: `courtesy`, or `says` where leaving it out would
change what is asked. The lists were written with sight of those marked `seen`, and without sight of
those marked `kept`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.tasks import library
from shared.routing.deciding.courtesies import READ_CHARS, is_courtesy, without_courtesies
from shared.routing.offline.perturbing import FILLERS

REQUEST = "Xqzt bcdf ghjk"
SENTENCES = [
    line.split("\t")
    for line in Path(__file__).with_name("courtesies.tsv").read_text("utf-8").splitlines()
]


def left_out(marked: str, kind: str) -> float:
    """The fraction of sentences that are left out before a request."""
    own = [said for mark, _, what, said in SENTENCES if (mark, what) == (marked, kind)]
    return sum(without_courtesies(f"{said}\n{REQUEST}") == REQUEST for said in own) / len(own)


@pytest.mark.parametrize(
    ("marked", "kind", "least", "most"),
    [
        ("seen", "courtesy", 0.92, 1.0),
        ("seen", "says", 0.0, 0.0),
        ("kept", "courtesy", 0.75, 1.0),
        ("kept", "says", 0.0, 0.01),
    ],
)
def test_courtesies_are_left_out_and_what_says_something_is_not(
    marked: str, kind: str, least: float, most: float
) -> None:
    assert least <= left_out(marked, kind) <= most


@pytest.mark.parametrize("filler", FILLERS)
def test_a_disturbance_by_politeness_is_none(filler: str) -> None:
    for text in (f"{filler} Sum up the report.", f"Sum up the report. {filler}"):
        assert without_courtesies(text) == "Sum up the report."


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("Hi Claude, sort these ships by age. Thanks, Anna", "sort these ships by age."),
        ("  Sort these ships, please!", "Sort these ships"),
        ("Sort these ships.\n\nBest regards,\nAnna Schmidt", "Sort these ships."),
        ("你好！请翻译这句话。谢谢", "请翻译这句话。"),
        ("Thank you very much!", "Thank you very much!"),
        ("Hello. Thanks!", "Hello. Thanks!"),
        ("Translate: thank you very much", "Translate: thank you very much"),
        ("Translate into Polish:\nGood morning, Tom", "Translate into Polish:\nGood morning, Tom"),
        ('Say it "politely, thank you"', 'Say it "politely, thank you"'),
        ("One morning, 3 ducks left.", "One morning, 3 ducks left."),
        ("\n", ""),
    ],
)
def test_what_is_worked_on_stays(prompt: str, left: str) -> None:
    assert without_courtesies(prompt) == left


@given(st.text(max_size=400))
def test_a_part_of_the_prompt_stays_and_is_never_empty(prompt: str) -> None:
    left = without_courtesies(prompt)
    assert left in prompt
    assert bool(left) == bool(prompt.strip())
    assert len(left) >= len(prompt.strip()) - 8 * (READ_CHARS + 10)


@given(st.sampled_from(["hi ", "hi, ", "thanks. ", "\n", "。", ", "]), st.integers(0, 20_000))
def test_a_long_prompt_of_one_phrase_is_read_at_its_ends_only(phrase: str, times: int) -> None:
    assert without_courtesies(phrase * times) in phrase * times


def test_few_prompts_of_the_library_have_courtesies() -> None:
    prompts = [text for task in library() for text in (*task.train, *task.test)]
    shorter = sum(without_courtesies(text) != text.strip() for text in prompts)
    assert 0 < shorter < 0.02 * len(prompts)


def test_a_quotation_a_number_or_code_is_no_courtesy() -> None:
    assert is_courtesy("thanks a lot :)")
    for text in ("thanks = 3", "“thanks”", "thanks 2", "</thanks>", "Thanks: a poem", ""):
        assert not is_courtesy(text), text
