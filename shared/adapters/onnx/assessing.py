"""How probably an answer is good enough, by the heads of the routing table that its decision was
made with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shared.adapters.errors import AdapterError
from shared.adapters.tables import Tables
from shared.adapters.telemetry import log
from shared.contracts.answers import Answer
from shared.contracts.messages import Decided
from shared.contracts.vector import unpack
from shared.routing.deciding.cascade import Answered
from shared.routing.deciding.form import form
from shared.routing.deciding.table import Array, Encoder, RoutingTable

if TYPE_CHECKING:
    from shared.adapters.onnx.encoder import OnnxEncoder


ENCODERS = 2
"""Kept at a time: those of a table and the one before it."""


class Assessor:
    """Assesses answers of cascades. Use inside `running`; the encoder is loaded when the first
    table needs it."""

    def __init__(self, tables: Tables, encoder_dir: Path | None, variant: str) -> None:
        self._tables = tables
        self._directory = encoder_dir
        self._variant = variant
        self._thread = ThreadPoolExecutor(1, "assessing")
        self._encoders: dict[Encoder, OnnxEncoder] = {}
        self._missing: set[Encoder] = set()
        self._told: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Keep up with routing tables while the block runs."""
        async with self._tables.running():
            try:
                yield
            finally:
                self._thread.shutdown(cancel_futures=True)

    async def __call__(self, message: Decided, answer: Answer, /) -> float | None:
        """The probability that `answer` is good enough; None where there is no text, no encoder, or
        no table that could tell."""
        if not answer.text.strip():
            return None
        try:
            table = await self._tables.get(message.decision.table)
        except AdapterError:
            return None
        heads = table.cascade
        if heads is None or answer.model not in heads.models:
            return None
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._assess, message, answer, table
        )

    def _assess(self, message: Decided, answer: Answer, table: RoutingTable) -> float | None:
        encoder = self._loaded(table.encoder)
        if encoder is None or table.cascade is None:
            return None
        if encoder.identity != table.encoder:
            if table.digest not in self._told:
                self._told.add(table.digest)
                log.warning(
                    "answers can't be assessed: the table is of another encoder",
                    table=str(table.encoder),
                    here=str(encoder.identity),
                )
            return None
        prompt = message.request_text()
        vector: Array | None = (
            unpack(message.embedding.vector) if message.embedding.text == "prompt" else None
        )
        vectors = encoder.encode([answer.text] if vector is not None else [answer.text, prompt])
        before = vector if vector is not None else vectors[1]
        seen = Answered.of(before[None], form(prompt)[None], vectors[:1], [answer.text])
        return float(table.cascade(answer.model, seen)[0])

    def _loaded(self, wanted: Encoder) -> OnnxEncoder | None:
        """The encoder of a table, where it comes with Pointsman; else that of the settings."""
        if wanted not in self._encoders and wanted not in self._missing:
            try:
                from shared.adapters.onnx.load import load
                from shared.adapters.onnx.prepare import variant_for

                variant = variant_for(wanted, self._directory, self._variant)
                loaded = load(self._directory, variant, "cpu", 1)
                while len(self._encoders) >= ENCODERS:
                    del self._encoders[next(iter(self._encoders))]
                self._encoders[wanted] = loaded
            except (ImportError, OSError, AdapterError) as error:
                self._missing.add(wanted)
                reason = (
                    "onnxruntime is not installed here"
                    if isinstance(error, ImportError)
                    else str(error)
                )
                log.warning("answers can't be assessed, so no cascade is followed", because=reason)
        return self._encoders.get(wanted)

    async def ready(self, message: Decided) -> bool:
        """Whether answers to this message could be assessed at all, so that a cascade may begin."""
        try:
            table = await self._tables.get(message.decision.table)
        except AdapterError:
            return False
        if table.cascade is None:
            return False
        encoder = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._loaded, table.encoder
        )
        return encoder is not None and encoder.identity == table.encoder
