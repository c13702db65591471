"""Wiring of the embedder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from faststream import FastStream

from services.embedder.embed import both, embed
from services.embedder.settings import EmbedderSettings
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.adapters.telemetry import PROVIDER, log
from shared.contracts.messages import Described, Embedded
from shared.contracts.topics import DESCRIPTIONS, EMBEDDINGS


def build(settings: EmbedderSettings | None = None, encoder: OnnxEncoder | None = None) -> FastStream:
    """The embedder as an application; the encoder is loaded when it starts, and runs in a thread of its own."""
    settings = settings or EmbedderSettings()
    thread = ThreadPoolExecutor(1, "encoder")
    read = both if settings.text == "both" else None
    loaded: list[OnnxEncoder] = [encoder] if encoder else []

    async def work(batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        live = loaded[0]

        def run() -> Sequence[Embedded]:
            try:
                return embed(batch, live.encode, live.identity, read, guard=settings.guard)
            except Exception:
                live.probe()  # an encoder that fails on anything (a GPU that is gone) must not make dead letters of all there is
                raise

        return await asyncio.get_running_loop().run_in_executor(thread, run)

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        if not loaded:
            loaded.append(
                load(settings.encoder_dir, settings.variant, settings.provider, settings.threads, settings.batch, settings.gpu_tokens)
            )
        live = loaded[0]
        PROVIDER.labels(live.provider, str(live.identity)).set(1)
        log.info("encoder ready", encoder=str(live.identity), provider=live.provider)
        yield
        thread.shutdown()

    stage = Stage(
        service="embedder",
        about="Turns each task description into a point",
        consumes=DESCRIPTIONS,
        publishes=EMBEDDINGS,
        work=work,
        batch=settings.batch,
        window_s=settings.window_ms / 1000,
        workers=2,  # one batch is encoded while the one before is published
        lifespan=lifespan,
    )
    return connect(stage)
