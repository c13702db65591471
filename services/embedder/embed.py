"""From task descriptions to embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.contracts.messages import Described, Embedded, extend
from shared.contracts.places import Description, Embedding, EncoderRef, Source
from shared.contracts.vector import Vector, pack
from shared.routing.deciding.extraction import extract, together
from shared.routing.deciding.form import form
from shared.routing.deciding.table import Array, Encoder, Text
from shared.routing.deciding.views import views

Encode = Callable[[Sequence[str]], Array]
"""n texts to (n, dimension) float32, L2-normalised."""


def embed(
    messages: Sequence[Described],
    encode: Encode,
    encoder: Encoder,
    text: Text | None = None,
    *,
    guard: bool = False,
) -> list[Embedded]:
    """Add to each message the embedding of what `text` names; None: of what `fitting` says. Equal
    texts are encoded once.

    Where the describer has made the point in this very space, that is it, and nothing is
    encoded. `guard`: with the views of what is embedded; where rules wrote the
    description, with what they write of the prompt's views.
    """
    began = time.perf_counter()
    space = EncoderRef.of(encoder)
    jobs = [_Job.of(message, text or fitting(message), space, guard=guard) for message in messages]
    texts = list(dict.fromkeys(one for job in jobs for one in job.texts))
    vectors = dict(zip(texts, map(pack, encode(texts)), strict=True)) if texts else {}
    took = time.perf_counter() - began
    return [
        extend(
            job.message,
            Embedded,
            embedding=Embedding(
                vector=vectors[job.texts[0]] if job.vector is None else job.vector,
                views=tuple(vectors[one] for one in job.texts[1:]),
                encoder=space,
                latency_s=took,
                batch=len(messages),
                form=pack(form(job.asked)),
                text=job.text,
            ),
        )
        for job in jobs
    ]


def fitting(message: Described) -> Text:
    """What to embed before a routing table says so: a language model's description, else the prompt
    itself.

    What rules extract of a prompt routes worse than the prompt (docs/decisions/0010-true-units.md).
    """
    written = message.description
    real = written.source in {Source.llm, Source.cache} and not written.simulated
    return "description" if real or written.foreseen is not None else "prompt"


@dataclass(frozen=True, slots=True)
class _Job:
    """One message with what is to be encoded for it: its text, and the views of that behind it.
    Nothing where its point is known."""

    message: Described
    asked: str
    """The prompt without courtesies."""
    text: Text
    vector: Vector | None
    texts: tuple[str, ...]

    @classmethod
    def of(cls, message: Described, text: Text, space: EncoderRef, *, guard: bool) -> _Job:
        written, asked = message.description, message.request_text()
        # the describer may have made the point already: of the description it foresaw, or of the
        # prompt, to find the nearest task of the library
        made = {"description": written.foreseen, "prompt": written.library}.get(text)
        if made is not None and made.encoder == space and (text == "description" or not guard):
            return cls(message, asked, text, made.vector, ())
        own = {
            "prompt": asked,
            "description": written.text,
            "both": together(written.text, asked),
        }[text]
        beside = _views(written, asked, text) if guard else ()
        return cls(message, asked, text, None, (own, *beside))


def _views(written: Description, asked: str, text: Text) -> tuple[str, ...]:
    """What is embedded, without its edges.

    A gadget stands at the edge of a prompt. A language model's words have it there too, if at all;
    rules may take it into the middle.
    """
    if text == "description":
        if written.source is Source.local:
            return tuple(extract(view) for view in views(asked))
        return views(written.text)
    return views(asked) if text == "prompt" else ()
