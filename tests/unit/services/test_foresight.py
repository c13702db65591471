"""Foreseeing descriptions."""

import asyncio
import pickle
import time
from collections.abc import Sequence

import numpy as np
from described import Asking, Remembering
from support import ENCODER, submitted, table

from services.describer.describe import describe
from services.describer.foresee import Forecast, Foreseeing, ModelDescription, Read
from services.describer.settings import DescriberSettings
from services.describer.wiring.foresight import _Foreseeing
from services.embedder.embed import embed
from shared.contracts.messages import Embedded, read, to_json
from shared.contracts.places import EncoderRef, Foreseen, Source
from shared.contracts.vector import pack, unpack
from shared.contracts.wishes import Constraints
from shared.routing.deciding.rates import PROFILES, Goal, Rates
from shared.routing.deciding.table import Encoder


class Foreseer:
    """A port that gives one glance for every prompt, and remembers what it was told."""

    def __init__(self, glance: Forecast | None, *, reads_prompts: bool = False) -> None:
        self.glance, self.noted, self.reads_prompts = glance, [], reads_prompts

    async def look(self, prompt: str, wanted: Rates | Goal, /) -> Forecast | None:
        return self.glance

    def note(self, written: ModelDescription, glance: Forecast, /) -> None:
        self.noted.append(written.text)

    def needless(self) -> bool:
        return self.reads_prompts


def glance(*, sure: bool, encoder: Encoder = ENCODER) -> Forecast:
    vector = np.eye(4, dtype=np.float32)[2]
    part = Foreseen(vector=pack(vector), encoder=EncoderRef.of(encoder), agreement=0.95)
    return Forecast(
        Read.of("prompt"), PROFILES["balanced"], vector, sure, part, "Translate a sign.", True
    )


async def test_a_description_that_is_foreseen_is_not_asked_for_and_its_point_is_not_encoded() -> (
    None
):
    ask, foresee = Asking("Translate a notice."), Foreseer(glance(sure=True))
    message = await describe(
        submitted(), DescriberSettings(foresee_check=0.0), ask, Remembering(), foresee
    )
    told = message.description
    assert (told.origin, told.source, told.text, told.simulated) == (
        "foreseen",
        Source.cache,
        "Translate a sign.",
        True,
    )
    assert not ask.asked
    assert not foresee.noted
    (embedded_,) = embed([message], Asking, ENCODER)  # type: ignore[arg-type]  # would fail if it were called
    assert unpack(embedded_.embedding.vector).tolist() == [0, 0, 1, 0]
    assert read(Embedded, to_json(embedded_)) == embedded_


async def test_the_language_model_is_not_asked_where_the_table_reads_the_prompt_itself() -> None:
    ask = Asking("Translate a notice.")
    found = await describe(
        submitted(), DescriberSettings(), ask, Remembering(), Foreseer(None, reads_prompts=True)
    )
    assert found.description.source is Source.local
    assert not ask.asked


async def test_the_language_model_is_asked_where_nothing_is_sure_and_sometimes_where_it_is() -> (
    None
):
    for seen, settings in (
        (glance(sure=False), DescriberSettings(foresee_check=0.0)),
        (glance(sure=True), DescriberSettings(foresee_check=1.0)),
    ):
        ask, foresee = Asking("Translate a notice."), Foreseer(seen)
        message = await describe(submitted(), settings, ask, Remembering(), foresee)
        assert message.description.source is Source.llm
        assert message.description.foreseen is None
        assert foresee.noted == ["Translate a notice."]


async def test_what_was_foreseen_in_another_space_is_encoded_from_its_text() -> None:
    other = Encoder("another", "1", 4, "mean", "none")
    message = await describe(
        submitted(),
        DescriberSettings(foresee_check=0.0),
        Asking(""),
        Remembering(),
        Foreseer(glance(sure=True, encoder=other)),
    )
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.eye(4, dtype=np.float32)[: len(texts)]

    (one,) = embed([message], encode, ENCODER)
    assert seen == ["Translate a sign."]
    assert one.embedding.encoder == EncoderRef.of(ENCODER)
    assert unpack(one.embedding.vector).tolist() == [1, 0, 0, 0]


def test_foreseeing_keeps_no_word_of_a_prompt_and_learns_from_what_it_is_told() -> None:
    words = {"red": 0, "green": 1, "blue": 2, "translate": 3}

    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 4), np.float32) + 0.01
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[words.get(word, len(word) % 4)] += 1.0
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    tab, weights = table(), PROFILES["quality"]
    settings = DescriberSettings(foresee_from=100, foresee_pairs=150)
    live = Foreseeing(settings, encode, ENCODER, keep_s=1e9)
    assert not live.look("Canaryword red", weights, tab).sure
    for i in range(200):
        colour = ("red", "green", "blue")[i % 3]
        live.note(
            Read.of(f"Canaryword {colour} number {i}"),
            ModelDescription(f"Canaryword paint {colour}", False, time.time()),
        )
    assert len(live) == 150
    assert live.due(tab)
    live.learn(tab)
    assert not live.due(tab)
    seen = live.look("Canaryword blue number 77", weights, tab)
    assert seen.sure
    assert seen.label in {c.label for c in tab.clusters}
    assert (
        live.note(
            seen.read, ModelDescription("Canaryword paint blue", False, time.time()), seen, tab
        )
        is True
    )
    assert not live.look(
        "Canaryword blue number 77",
        weights,
        table(encoder=Encoder("another", "1", 4, "mean", "none")),
    ).sure
    assert b"Canaryword" not in pickle.dumps([live._pairs, live._learnt])
    old = Foreseeing(settings, encode, ENCODER, keep_s=3600)
    for i in range(120):
        old.note(
            Read.of(f"red number {i}"),
            ModelDescription("Paint something red", False, time.time() - (7200 if i < 20 else 0)),
        )
    assert old.learn(tab) is not None
    assert len(old) == 100
    for i in range(30):
        old.note(
            Read.of(f"green number {i}"),
            ModelDescription("Paint something green", True, time.time()),
        )
    assert old.due(tab), "a fifth of them is new"
    assert old.learn(tab) is None, (
        "what a SIMULATED model wrote is not mixed with what a real one did"
    )
    assert not old.look("red number 1", weights, tab).sure


async def test_foresight_that_fails_costs_a_question_and_no_prompt() -> None:
    class Broken(Foreseeing):
        def look(self, *_: object) -> Forecast:
            raise ValueError("look")

        def note(self, *_: object) -> bool:
            raise ValueError("note")

    class NoTable:
        def at_hand(self) -> None:
            return None

    live = _Foreseeing(
        Broken(DescriberSettings(), lambda _: np.zeros((1, 4)), ENCODER, 1.0), NoTable(), 10
    )  # type: ignore[arg-type]
    ask = Asking("Translate a notice.")
    message = await describe(submitted(), DescriberSettings(), ask, Remembering(), live)
    assert message.description.source is Source.llm
    live.note(ModelDescription("text", False, 0.0), glance(sure=False))
    await asyncio.gather(*live.noting)


async def test_a_prompt_that_not_every_model_can_read_is_never_foreseen() -> None:
    for prompt, origin in (("word " * 2000, "foreseen"), ("word " * 3000, "llm")):
        message = submitted(prompt)
        found = await describe(
            message,
            DescriberSettings(foresee_check=0.0),
            Asking("Read."),
            Remembering(),
            Foreseer(glance(sure=True)),
        )
        assert found.description.origin == origin


async def test_a_request_with_limits_is_never_foreseen() -> None:
    """Other models are left to choose from than those it was seen for."""
    ask = Asking("Translate a notice.")
    message = submitted(constraints=Constraints(deny=frozenset({"gpt-5.6"})))
    found = await describe(
        message,
        DescriberSettings(foresee_check=0.0),
        ask,
        Remembering(),
        Foreseer(glance(sure=True)),
    )
    assert found.description.origin == "llm"


def test_what_stands_at_a_prompts_edge_makes_nothing_sure() -> None:
    """A gadget before the prompt moves the prompt's own point, and is missing in one of its
    views."""
    rng = np.random.default_rng(0)
    places = np.eye(4, dtype=np.float32)

    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = np.stack(
            [
                sum(
                    (places[int(w[1])] for w in t.split() if w[0] == "t"),
                    np.full(4, 0.01, np.float32),
                )
                for t in texts
            ]
        )
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    tab = table(
        4,
        ("a", "b", "c", "d"),
        top_p=1,
        centroids=places,
        strength=5 * places,
        cost_usd=np.ones((4, 4)),
        latency_s=np.ones((4, 4)),
    )
    live = Foreseeing(DescriberSettings(foresee_from=100), encode, ENCODER, keep_s=1e9)
    for i in range(400):
        task = f"t{i % 4}"
        mixed = " ".join(rng.permutation([task] * int(rng.integers(15, 40)) + [f"x{i}"]))
        live.note(Read.of(mixed), ModelDescription(task, False, time.time()))
    live.learn(tab)
    clean = " ".join(["t1"] * 20)
    assert live.look(clean, PROFILES["quality"], tab).sure
    assert not live.look(
        " ".join(["t3"] * 12) + " " + " ".join(["t1"] * 11), PROFILES["quality"], tab
    ).sure


def test_what_was_borrowed_gives_way_to_what_a_language_model_wrote() -> None:
    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = np.random.default_rng(len(texts[0])).normal(size=(len(texts), 4))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    settings = DescriberSettings(foresee_from=100, foresee_pairs=150)
    live = Foreseeing(settings, encode, ENCODER, keep_s=1e9)
    live.borrow([(f"prompt {i}", f"Do task {i}.") for i in range(120)], time.time())
    assert len(live) == 120
    assert live.due(table())
    live.note(Read.of("prompt 3"), ModelDescription("Do it.", False, time.time()))
    assert len(live) == 119, "the same prompt, and one of the others for it"
    for i in range(70):
        live.note(Read.of(f"real {i}"), ModelDescription(f"Do {i}.", False, time.time()))
    assert len(live) == 119
    for i in range(70, 200):
        live.note(Read.of(f"real {i}"), ModelDescription(f"Do {i}.", False, time.time()))
    assert len(live) == 150, "nothing that was borrowed is left"
