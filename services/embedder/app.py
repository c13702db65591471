"""Wiring of the embedder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress

from faststream import FastStream

from services.embedder import FLOW
from services.embedder.embed import embed
from services.embedder.settings import EmbedderSettings
from services.embedder.wiring import LOOK_S, _text
from shared.adapters.kafka.edge import Stage, connect
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import PROVIDER, log
from shared.contracts.messages import Described, Embedded


def build(
    settings: EmbedderSettings | None = None, encoder: OnnxEncoder | None = None
) -> FastStream:
    """The embedder as an application; the encoder is loaded when it starts, and runs in a thread of
    its own."""
    settings = settings or EmbedderSettings()
    thread = ThreadPoolExecutor(1, "encoder")
    tables = (
        Tables("embedder", KafkaSettings(), RedisSettings()) if settings.text == "table" else None
    )
    loaded: list[OnnxEncoder] = [encoder] if encoder else []

    async def work(batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        live, text = loaded[0], _text(settings, tables)

        def run() -> Sequence[Embedded]:
            try:
                return embed(batch, live.encode, live.identity, text, guard=settings.guard)
            except Exception:
                # an encoder that fails on anything (a GPU that is gone) must not make dead letters
                # of all there is
                live.probe()
                raise

        return await asyncio.get_running_loop().run_in_executor(thread, run)

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None, None]:
        if not loaded:
            loaded.append(
                load(
                    settings.encoder_dir,
                    settings.variant,
                    settings.provider,
                    settings.threads,
                    settings.batch,
                    settings.gpu_tokens,
                )
            )
        live = loaded[0]
        PROVIDER.labels(live.provider, str(live.identity)).set(1)
        log.info("encoder ready", encoder=str(live.identity), provider=live.provider)
        async with tables.running() if tables else nullcontext():
            if tables:
                with suppress(
                    TimeoutError
                ):  # then what is embedded follows the description until a table is found
                    await asyncio.wait_for(tables.looked.wait(), LOOK_S)
            yield
        thread.shutdown()

    stage = Stage(
        flow=FLOW,
        work=work,
        batch=settings.batch,
        window_s=settings.window_ms / 1000,
        workers=2,  # one batch is encoded while the one before is published
        lifespan=lifespan,
    )
    return connect(stage)
