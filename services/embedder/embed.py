"""From task descriptions to embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shared.contracts.messages import Described, Embedded, extend
from shared.contracts.parts import Embedding, EncoderRef
from shared.contracts.vector import pack
from shared.routing.extraction import together
from shared.routing.form import form
from shared.routing.table import Array, Encoder

Encode = Callable[[Sequence[str]], Array]
"""n texts to (n, dimension) float32, L2-normalised."""


def embed(
    messages: Sequence[Described], encode: Encode, encoder: Encoder, read: Callable[[Described], str] | None = None
) -> list[Embedded]:
    """Add to each message the embedding of its description, or of what `read` makes of it. Equal texts are encoded once."""
    read = read or _description
    began = time.perf_counter()
    texts = list(dict.fromkeys(map(read, messages)))
    vectors = dict(zip(texts, encode(texts), strict=True))
    took, space = time.perf_counter() - began, EncoderRef.of(encoder)
    return [
        extend(
            message,
            Embedded,
            embedding=Embedding(
                vector=pack(vectors[read(message)]),
                encoder=space,
                latency_s=took,
                batch=len(messages),
                form=pack(form(message.task_text())),
            ),
        )
        for message in messages
    ]


def both(message: Described) -> str:
    """The description and the prompt behind it; the encoder reads as much of it as it can."""
    return together(message.description.text, message.task_text())


def _description(message: Described) -> str:
    return message.description.text
