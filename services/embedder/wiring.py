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
from shared.adapters.errors import AdapterError, EncoderInvalid
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.adapters.onnx.load import load
from shared.adapters.onnx.prepare import variant_of
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import Tables
from shared.adapters.telemetry import PROVIDER, log
from shared.contracts.messages import Described, Embedded
from shared.routing.deciding.table import Encoder, Text

LOOK_S = 10.0
"""How long the first look for a routing table may take before embedding begins without."""


class BatchEmbedder:
    """Embeds batches. The encoder is loaded when it starts, unless one is given."""

    def __init__(self, settings: EmbedderSettings, encoder: OnnxEncoder | None) -> None:
        self._settings = settings
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._follow = settings.follow and encoder is None and settings.encoder_dir is None
        needed = settings.text == "table" or self._follow
        self._tables = Tables(FLOW.name, KafkaSettings(), RedisSettings()) if needed else None
        self._declined: Encoder | None = None
        self._unguarded = False
        self._switching = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """With an encoder; and once it was looked for a routing table."""
        # making it first takes seconds; no variable here keeps it when the table's takes its place
        if self._encoder is None:
            self._use(await asyncio.to_thread(self._load, self._settings.variant))
        else:
            self._use(self._encoder)
        async with self._tables.running() if self._tables else nullcontext():
            if self._tables:
                # without a table what is embedded follows the description until one is found
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._tables.looked.wait(), LOOK_S)
            await self._follow_table()
            yield
        self._thread.shutdown()

    def _use(self, encoder: OnnxEncoder) -> None:
        self._encoder = encoder
        PROVIDER.clear()
        PROVIDER.labels(encoder.provider, str(encoder.identity)).set(1)
        log.info("encoder ready", encoder=str(encoder.identity), provider=encoder.provider)

    async def _follow_table(self) -> None:
        """Change to the encoder of the table in use, so that a table of an earlier default encoder
        keeps working."""
        async with self._switching:
            current = self._tables.at_hand() if self._tables and self._follow else None
            wanted = current[1].encoder if current else None
            encoder = self._encoder
            if wanted is None or encoder is None or wanted in {encoder.identity, self._declined}:
                return
            try:
                variant = variant_of(wanted)
                if variant is None:
                    raise EncoderInvalid("it does not come with Pointsman")
                if encoder.provider == "cuda" and "int8" in variant:
                    raise EncoderInvalid(
                        "int8 is no gain on a GPU; build the table with the encoder that runs here"
                    )
                loop = asyncio.get_running_loop()
                self._use(await loop.run_in_executor(self._thread, self._load, variant))
            except (AdapterError, ImportError, OSError) as error:
                self._declined = wanted
                log.error(
                    "the routing table's encoder is not used here",
                    table=str(wanted),
                    here=str(encoder.identity),
                    because=str(error),
                )

    def _load(self, variant: str) -> OnnxEncoder:
        settings = self._settings
        return load(
            settings.encoder_dir,
            variant,
            settings.provider,
            settings.threads,
            settings.batch,
            settings.gpu_tokens,
        )

    async def work(self, batch: Sequence[Described]) -> Sequence[Embedded | Exception]:
        """Embed a batch in the encoder's thread."""
        await self._follow_table()
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
        text = None if current is None else current[1].text or "description"
        if text == "both" and self._settings.guard and not self._unguarded:
            self._unguarded = True
            log.error(
                "prompts are not guarded: the table reads prompt and description together, and the "
                "guard can't take edges off both; build a table of prompts or of descriptions"
            )
        return text
