"""Loading an encoder, preparing the default one first where it is missing."""

from __future__ import annotations

from pathlib import Path

from shared.adapters.errors import EncoderInvalid
from shared.adapters.onnx.encoder import GPU_TOKENS, OnnxEncoder, Provider
from shared.adapters.onnx.prepare import VARIANTS, prepare


def load(
    directory: Path | None,
    variant: str,
    provider: Provider = "auto",
    threads: int = 0,
    batch: int = 64,
    gpu_tokens: int = GPU_TOKENS,
) -> OnnxEncoder:
    """The encoder in `directory`; with None the default one of that variant, made on first use.
    Raises `EncoderInvalid`."""
    if directory is None:
        if variant not in VARIANTS:
            raise EncoderInvalid(f"a variant is {', '.join(VARIANTS)}, not {variant}")
        directory = prepare(variant)
    return OnnxEncoder(directory, provider, threads, batch, gpu_tokens)
