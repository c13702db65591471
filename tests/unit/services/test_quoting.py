"""Which sentences of a prompt say its task."""

import numpy as np

from services.describer.quoting import quote
from shared.routing.deciding.extraction import MAX_WORDS, Sentence, length

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


def test_sentences_are_joined_as_their_language_does() -> None:
    few = [Sentence("Keep it short:", 0.0), Sentence("two lines.", 0.0)]
    assert quote(few, AXES[[2, 2]], WANTED) == "Keep it short: two lines"
    chinese = [Sentence("今天下雨。", 0.0), Sentence("写一首诗。", 0.0)]
    assert quote(chinese, AXES[[2, 2]], WANTED) == "今天下雨。写一首诗"
    arabic = [Sentence("كيف حالك؟", 0.0), Sentence("اكتب رسالة", 0.0)]
    assert quote(arabic, AXES[[2, 2]], WANTED) == "كيف حالك؟ اكتب رسالة"


def test_a_text_without_spaces_is_chosen_from_too() -> None:
    many = [Sentence("今天下雨天气很冷路上没有人。" * 3, 0.0)] * 8 + [Sentence("写一首诗。", 5.0)]
    found = quote(many, AXES[[2] * 8 + [0]], WANTED)
    assert found.endswith("写一首诗")
    assert length(found) <= MAX_WORDS
