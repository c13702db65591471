"""Disturbances keep what is asked, and are the same every time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.routing.offline.perturbing import FILLERS, KINDS, perturbed

TEXT = (
    "Write a function that sorts numbers. It takes a list; it returns a list. Don't use any "
    "library!"
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_and_another_another(kind: str) -> None:
    assert perturbed(TEXT, kind, 1) == perturbed(TEXT, kind, 1)
    assert len({perturbed(TEXT, kind, seed) for seed in range(12)}) > 1
    assert any(perturbed(TEXT, kind, seed) != TEXT for seed in range(3))


@given(st.text(max_size=200), st.sampled_from(sorted(KINDS)), st.integers(0, 5))
def test_any_text_can_be_disturbed(text: str, kind: str, seed: int) -> None:
    assert isinstance(perturbed(text, kind, seed), str)


def test_what_each_disturbance_leaves_as_it_is() -> None:
    for seed in range(20):
        assert perturbed(TEXT, "case", seed).lower() == TEXT.lower()
        assert perturbed(TEXT, "spacing", seed).split() == TEXT.split()
        assert any(
            perturbed(TEXT, "filler", seed) in (f"{f} {TEXT}", f"{TEXT} {f}") for f in FILLERS
        )
        assert sorted(re.split(r"(?<=[.!?;])\s", perturbed(TEXT, "reordered", seed))) == sorted(
            re.split(r"(?<=[.!?;])\s", TEXT)
        )
        changed = [
            (a, b)
            for a, b in zip(TEXT.split(), perturbed(TEXT, "typos", seed).split(), strict=True)
            if a != b
        ]
        assert len(changed) == 1, "3% of its long words, and never none"
        assert abs(len(changed[0][0]) - len(changed[0][1])) <= 1


def test_longer_texts_get_more_typos_and_short_words_none() -> None:
    long = " ".join(["something"] * 200)
    assert sum(a != "something" for a in perturbed(long, "typos", 0).split()) in range(4, 7)
    assert perturbed("to be or not to be", "typos", 0) == "to be or not to be"
    assert perturbed("one clause", "reordered", 0) == "one clause"
    with pytest.raises(KeyError):
        perturbed("x", "translated", 0)
