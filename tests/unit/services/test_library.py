"""Descriptions without a language model: the nearest task of the library."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from described import Asking, Remembering, backend
from support import submitted

from services.describer.describe import Looked, describe
from services.describer.settings import DescriberSettings
from services.describer.wiring.library import Library
from services.embedder.embed import embed
from shared.adapters.onnx.load import load
from shared.contracts.messages import Described, read
from shared.contracts.places import EncoderRef, LibraryTask, Source
from shared.contracts.vector import pack, unpack
from shared.routing.deciding.extraction import MAX_WORDS
from shared.routing.deciding.table import Encoder

SPACE = Encoder("made", "1", 4, "mean", "none")
POINT = np.array([1, 0, 0, 0], np.float32)


def looked(confidence: float, quote: str = "") -> Looked:
    task = LibraryTask(
        name="Translate text",
        confidence=confidence,
        vector=pack(POINT),
        encoder=EncoderRef.of(SPACE),
    )
    return Looked(task, quote)


SIX_LAYERS = Encoder("pointsman/e5-small-tasks", "1571fc-33a5ca16-r2", 384, "mean", "int8")
"""The task encoder of six layers, before the lessons."""
BEFORE = Encoder("pointsman/e5-small-tasks", "1571fc-83f6e55a-r1", 384, "mean", "int8")
"""The task encoder of three layers."""


@pytest.mark.parametrize(
    ("table", "variant"),
    [
        (None, "int8"),
        (BEFORE, "tasks1-int8"),
        (SIX_LAYERS, "tasks2-int8"),
        (replace(BEFORE, quantization="fp16"), "int8"),
        (replace(BEFORE, id="sentence-transformers/all-MiniLM-L6-v2"), "int8"),
    ],
    ids=["no table", "three layers", "six layers", "for a GPU", "knows no tasks"],
)
async def test_the_library_looks_in_the_space_of_the_table_where_it_can(
    table: Encoder | None, variant: str
) -> None:
    """So that the embedder takes its vectors, and a prompt is encoded once."""
    library = Library(DescriberSettings(), table)
    try:
        (found,) = await library.look(["Translate this contract into German: The tenant shall …"])
    finally:
        library.close()
    assert found.task.encoder == EncoderRef.of(load(None, variant).identity)
    assert "Translate" in found.task.name


async def test_where_no_task_is_near_enough_the_prompt_speaks_for_itself() -> None:
    """In any language, wherever in the prompt the task stands; short prompts as a whole."""
    library = Library(DescriberSettings.model_validate({"library_from": 1.0}))
    long = (
        "Ich leite die Nachtwache auf Station 4 und habe wenig Zeit. Gestern fiel der Aufzug aus, "
        "zwei Betten mussten über die Treppe, und niemand hat die Angehörigen angerufen. Verfasst "
        "mir einen Entschuldigungsbrief an die Familie Krüger. Der Vater liegt noch bei uns, die "
        "Tochter kommt jeden Abend um sieben."
    )
    try:
        short, deep, code, again = await library.look(
            ["hi, roast my sheep pls", long, "```python\nprint(1)\n``` " * 20, long]
        )
    finally:
        library.close()
    assert short.quote == "Roast my sheep pls"
    assert "Entschuldigungsbrief" in deep.quote
    assert len(deep.quote.split()) <= MAX_WORDS
    assert code.quote == "", "it has no words of its own"
    assert again == deep


async def described(confidence: float, quote: str = "") -> Described:
    ask = Asking("never asked")
    message = await describe(
        submitted(), backend("library"), ask, Remembering(), library=looked(confidence, quote)
    )
    assert not ask.asked
    return message


async def test_the_nearest_task_stands_where_it_is_sure_enough() -> None:
    message = await described(0.9)
    assert message.description.text == "Translate text to French"
    assert (message.description.origin, message.description.model) == ("library", None)
    assert message.description.byline == "library"
    assert not message.description.simulated
    assert message.description.library is not None
    assert message.description.library.confidence == pytest.approx(0.9)


@pytest.mark.parametrize("quote", ["In French, please", ""], ids=["a quotation", "rules"])
async def test_below_that_it_is_quoted_and_the_point_is_not_made_again(quote: str) -> None:
    message = await described(0.2, quote)
    assert message.description.text == (quote or "Translate this notice into French")
    assert (message.description.origin, message.description.byline) == ("local", "quoted")
    assert message.description.library is not None
    assert message.description.library.vector == pack(POINT)


async def test_without_an_encoder_rules_write() -> None:
    message = await describe(submitted(), backend("library"), Asking(""), Remembering())
    assert (message.description.origin, message.description.library) == ("local", None)


async def test_the_version_before_reads_it_as_a_local_description() -> None:
    message = await described(0.9)
    value = json.loads(message.model_dump_json())
    assert value["description"]["source"] == "local"
    del value["description"]["library"]  # which it passes over
    assert read(Described, json.dumps(value).encode()).description.source is Source.local


async def test_the_embedder_takes_the_prompts_point_from_the_describer() -> None:
    message = await described(0.9)
    texts: list[str] = []

    def encode(some: list[str]) -> np.ndarray:
        texts.extend(some)
        return np.tile(np.array([0, 1, 0, 0], np.float32), (len(some), 1))

    made = embed([message], encode, SPACE, "prompt")[0]
    assert not texts
    assert list(unpack(made.embedding.vector)) == list(POINT)
    assert made.embedding.text == "prompt"
    other = Encoder("made", "2", 4, "mean", "none")
    assert list(unpack(embed([message], encode, other, "prompt")[0].embedding.vector)) == [
        0,
        1,
        0,
        0,
    ]
    assert texts == [message.task_text()], "a point of another space is none of ours"
    embed([message], encode, SPACE, "description")
    assert texts[-1] == "Translate text to French"
    embed([message], encode, SPACE, "prompt", guard=True)
    assert message.task_text() in texts[2:], "what is guarded is looked at whole"
