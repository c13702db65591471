"""From task descriptions to embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shared.contracts.messages import Described, Embedded, extend
from shared.contracts.parts import Embedding, EncoderRef, Source
from shared.contracts.vector import pack
from shared.routing.extraction import extract, together
from shared.routing.form import form
from shared.routing.table import Array, Encoder
from shared.routing.views import views

Encode = Callable[[Sequence[str]], Array]
"""n texts to (n, dimension) float32, L2-normalised."""


def embed(
    messages: Sequence[Described],
    encode: Encode,
    encoder: Encoder,
    read: Callable[[Described], str] | None = None,
    *,
    guard: bool = False,
) -> list[Embedded]:
    """Add to each message the embedding of its description, or of what `read` makes of it. Equal texts are encoded once.

    Where the describer has foreseen the description's point in this very space, that is it, and nothing is encoded.
    `guard`: with the views of the description; where rules wrote it, with what they write of the prompt's views.
    """
    alone = read is None
    read = read or _description
    began, space = time.perf_counter(), EncoderRef.of(encoder)
    foreseen = [m.description.foreseen if alone else None for m in messages]
    given = [f.vector if f is not None and f.encoder == space else None for f in foreseen]
    seen = [(read(m), *(_views(m) if guard else ())) if vector is None else () for m, vector in zip(messages, given, strict=True)]
    texts = list(dict.fromkeys(text for own in seen for text in own))
    vectors = dict(zip(texts, map(pack, encode(texts)), strict=True)) if texts else {}
    took = time.perf_counter() - began
    return [
        extend(
            message,
            Embedded,
            embedding=Embedding(
                vector=vectors[own[0]] if vector is None else vector,
                views=tuple(vectors[text] for text in own[1:]),
                encoder=space,
                latency_s=took,
                batch=len(messages),
                form=pack(form(message.task_text())),
            ),
        )
        for message, vector, own in zip(messages, given, seen, strict=True)
    ]


def both(message: Described) -> str:
    """The description and the prompt behind it; the encoder reads as much of it as it can."""
    return together(message.description.text, message.task_text())


def _views(message: Described) -> tuple[str, ...]:
    """A gadget stands at the edge of a prompt. A language model's words have it there too, if at all; rules may take it into the middle."""
    if message.description.source is Source.local:
        return tuple(extract(view) for view in views(message.task_text()))
    return views(message.description.text)


def _description(message: Described) -> str:
    return message.description.text
