"""Which sentences of a prompt say its task."""

import numpy as np
import pytest

from services.describer.quoting import quote, whole
from shared.routing.deciding.extraction import MAX_WORDS, Sentence

AXES = np.eye(3, dtype=np.float32)
WANTED = np.array([0.8, 0.6, 0.0], np.float32)
LONG = "it rained and rained and rained for " * 4


def test_the_nearest_sentence_is_quoted_and_another_that_adds_to_it() -> None:
    said = [Sentence(LONG + "days", 0.0), Sentence("Mend my roof", 0.0), Sentence("Soon!", 0.0)]
    assert quote(said, AXES[[2, 0, 1]], WANTED) == "Mend my roof. Soon!"
    assert quote(said, AXES[[2, 0, 2]], WANTED) == "Mend my roof"
    assert quote(said, AXES[[1, 2, 0]], WANTED) == f"{LONG}days. Soon!"


def test_what_looks_like_an_instruction_wins_among_equals() -> None:
    said = [Sentence(LONG, 0.0), Sentence("my roof", 0.0), Sentence("Mend my roof", 5.0)]
    assert quote(said, AXES[[2, 0, 0]], WANTED) == "Mend my roof"


def test_sentences_that_fit_are_all_quoted_and_never_too_many() -> None:
    few = [Sentence("How so?", 0.0), Sentence("Not the same", 0.0)]
    assert quote(few, AXES[[2, 2]], WANTED) == "How so? Not the same"
    many = [Sentence("one two three four five six seven", 0.0)] * 9
    vectors = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert len(quote(many, vectors, WANTED).split()) <= MAX_WORDS


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("hello, fix  my\nroof", "Fix my roof"),
        ("word " * (MAX_WORDS + 1), ""),
        ("字" * 241, ""),
        ("字" * 240, "字" * 240),
    ],
)
def test_a_short_prompt_stands_for_itself(prompt: str, text: str) -> None:
    assert whole(prompt) == text
