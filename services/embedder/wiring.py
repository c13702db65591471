"""The outside as the embedder uses it: its encoder, in a thread of its own, and the table that says
what is embedded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress

from services.embedder import FLOW
from services.embedder.embed import embed
from services.embedder.settings import EmbedderSettings
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import PROVIDER, log
from shared.contracts.messages import Described, Embedded
from shared.routing.deciding.table import Text

LOOK_S = 10.0
"""How long the first look for a routing table may take before embedding begins without."""


class BatchEmbedder:
    """Embeds batches. The encoder is loaded when it starts, unless one is given."""

    def __init__(self, settings: EmbedderSettings, encoder: OnnxEncoder | None) -> None:
        self._settings = settings
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(1, "encoder")
        by_table = settings.text == "table"
        self._tables = Tables(FLOW.name, KafkaSettings(), RedisSettings()) if by_table else None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With an encoder; and once it was looked for a routing table."""
        encoder = self._encoder = self._encoder or self._load()
        PROVIDER.labels(encoder.provider, str(encoder.identity)).set(1)
        log.info("encoder ready", encoder=str(encoder.identity), provider=encoder.provider)
        async with self._tables.running() if self._tables else nullcontext():
            if self._tables:
                # without a table what is embedded follows the description until one is found
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._tables.looked.wait(), LOOK_S)
            yield
        self._thread.shutdown()

    def _load(self) -> OnnxEncoder:
        settings = self._settings
        return load(
            settings.encoder_dir,
            settings.variant,
            settings.provider,
            settings.threads,
            settings.batch,
            settings.gpu_tokens,
        )

    async def work(self, batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        """Embed a batch in the encoder's thread."""
        encoder = self._encoder
        text = self._text()
        guard = self._settings.guard
        assert encoder is not None, "use it inside running()"

        def run() -> Sequence[Embedded]:
            try:
                return embed(batch, encoder.encode, encoder.identity, text, guard=guard)
            except Exception:
                # an encoder that fails on anything (a GPU that is gone) must not make dead letters
                # of all there is
                encoder.probe()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _text(self) -> Text | None:
        """What is embedded; None while there is no table to say so. Tables of the version before
        were made with descriptions."""
        if self._settings.text != "table":
            return self._settings.text
        current = self._tables.at_hand() if self._tables else None
        return None if current is None else current[1].text or "description"
