"""The embedder: what is embedded, and how often."""

from collections.abc import Sequence

import numpy as np
from support import ENCODER, described, submitted

from services.embedder.embed import embed
from shared.contracts.messages import Described, Embedded, extend, read, to_json
from shared.contracts.places import Description, Source
from shared.contracts.vector import unpack
from shared.routing.deciding.extraction import extract
from shared.routing.deciding.views import views


def test_equal_descriptions_are_encoded_once() -> None:
    calls: list[int] = []

    def encode(texts: object) -> np.ndarray:
        calls.append(len(texts))  # type: ignore[arg-type]
        return np.eye(4, dtype=np.float32)[: len(texts)]  # type: ignore[arg-type]

    out = embed([described(), described(), described()], encode, ENCODER)
    assert calls == [1]
    assert len({m.embedding.vector for m in out}) == 1
    assert out[0].embedding.batch == 3
    np.testing.assert_array_equal(unpack(out[0].embedding.vector), [1, 0, 0, 0])


def test_a_guarded_text_is_embedded_without_its_edges_too() -> None:
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]

    short, long = described(), described()
    words = " ".join(f"w{i}" for i in range(20))
    long = long.model_copy(
        update={
            "description": long.description.model_copy(update={"text": words, "source": Source.llm})
        }
    )
    first, second = embed([short, long], encode, ENCODER, "description", guard=True)
    assert not first.embedding.views
    assert len(second.embedding.views) == 2
    assert seen == [
        short.description.text,
        words,
        " ".join(f"w{i}" for i in range(12, 20)),
        " ".join(f"w{i}" for i in range(8)),
    ]
    assert read(Embedded, to_json(second)) == second
    assert not embed([long], encode, ENCODER)[0].embedding.views


def test_a_guarded_prompt_that_rules_describe_is_described_without_its_edges_too() -> None:
    """Rules may take a gadget at the prompt's end into the middle of what they say, where no edge
    of it holds it all."""
    prompt = "Translate this letter into French for me, please.\n" + " ".join(
        f"word{i}" for i in range(20)
    )
    message = submitted(prompt)
    local = extend(
        message,
        Described,
        description=Description(
            text=extract(prompt), source=Source.local, latency_s=0.1, cost_usd=0.0
        ),
    )
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]

    (found,) = embed([local], encode, ENCODER, "description", guard=True)
    assert len(found.embedding.views) == 2
    assert set(seen) == {extract(prompt), *(extract(view) for view in views(prompt))}


def test_what_is_embedded_is_what_the_table_reads_else_a_language_models_description_else_the_prompt() -> (
    None
):
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.eye(4, dtype=np.float32)[[0] * len(texts)]

    ruled, simulated = described(), described()
    written = ruled.model_copy(
        update={
            "description": ruled.description.model_copy(
                update={"source": Source.llm, "text": "Translate."}
            )
        }
    )
    simulated = written.model_copy(
        update={"description": written.description.model_copy(update={"simulated": True})}
    )
    kinds = [e.embedding.text for e in embed([ruled, written, simulated], encode, ENCODER)]
    assert kinds == ["prompt", "description", "prompt"]
    assert seen == [ruled.task_text(), "Translate."]
    for text in ("prompt", "description", "both"):
        seen.clear()
        (one,) = embed([written], encode, ENCODER, text)
        assert one.embedding.text == text
        assert ("Translate." in seen[0]) == (text != "prompt")
        assert (written.task_text()[:20] in seen[0]) == (text != "description")
        assert read(Embedded, to_json(one)) == one
