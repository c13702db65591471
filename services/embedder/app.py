"""Wiring of the embedder."""

from __future__ import annotations

from faststream import FastStream

from services.embedder import FLOW
from services.embedder.settings import EmbedderSettings
from services.embedder.wiring import BatchEmbedder
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.onnx.encoder import OnnxEncoder


def build(
    settings: EmbedderSettings | None = None, encoder: OnnxEncoder | None = None
) -> FastStream:
    """The embedder as an application; tests pass their own encoder."""
    settings = settings or EmbedderSettings()
    embedding = BatchEmbedder(settings, encoder)
    stage = Stage(
        FLOW,
        embedding.work,
        batch=settings.batch,
        window_s=settings.window_ms / 1000,
        workers=2,  # one batch is encoded while the one before is published
        lifespan=embedding.running,
    )
    return connect(stage)
