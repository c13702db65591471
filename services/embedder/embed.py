"""From task descriptions to embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from shared.contracts.messages import Described, Embedded, extend
from shared.contracts.parts import Embedding, EncoderRef
from shared.contracts.vector import pack
from shared.routing.table import Array, Encoder

Encode = Callable[[Sequence[str]], Array]
"""n texts to (n, dimension) float32, L2-normalised."""


def embed(messages: Sequence[Described], encode: Encode, encoder: Encoder) -> list[Embedded]:
    """Add to each message the embedding of its description. Equal descriptions are encoded once."""
    began = time.perf_counter()
    texts = list(dict.fromkeys(m.description.text for m in messages))
    vectors = dict(zip(texts, encode(texts), strict=True))
    took, space = time.perf_counter() - began, EncoderRef.of(encoder)
    return [
        extend(
            message,
            Embedded,
            embedding=Embedding(vector=pack(vectors[message.description.text]), encoder=space, latency_s=took, batch=len(messages)),
        )
        for message in messages
    ]
