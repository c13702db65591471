"""The nearest tasks of the library, by the encoder beside the describer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.describer.settings import DescriberSettings
from shared.adapters.errors import AdapterError, EncoderInvalid
from shared.adapters.onnx.prepare import default_directory, variant_for
from shared.adapters.telemetry import log
from shared.catalog.tasks import points as places
from shared.contracts.places import EncoderRef, LibraryTask
from shared.contracts.vector import pack
from shared.routing.deciding.table import Encoder


class Library:
    """Looks prompts up, in a thread of its own. Raises `EncoderInvalid` where the encoder's tasks
    are not known.

    `table`: the encoder of the table in use. If it knows the tasks, it looks them up, so that the
    embedder can take its vectors."""

    def __init__(self, settings: DescriberSettings, table: Encoder | None = None) -> None:
        from shared.adapters.onnx.load import load

        if table is not None and (places.known(table) is None or table.quantization == "fp16"):
            table = None
        variant = variant_for(table, settings.encoder_dir, settings.variant)
        if variant.endswith("fp16"):
            raise EncoderInvalid("the encoder in half precision is for the embedder's GPU")
        self._encoder = load(settings.encoder_dir, variant, "cpu", settings.threads)
        identity = self._encoder.identity
        directory = settings.encoder_dir or default_directory(variant)
        self._points = places.beside(places.space_of(identity), directory)
        self._space = EncoderRef.of(identity)
        self._thread = ThreadPoolExecutor(1, "library")

    async def look(self, prompts: Sequence[str]) -> list[LibraryTask]:
        """The nearest task of each prompt."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, prompts)

    def _look(self, prompts: Sequence[str]) -> list[LibraryTask]:
        texts = list(dict.fromkeys(prompts))
        vectors = self._encoder.encode(texts)
        nearest, sure = self._points.nearest(vectors)
        tasks = {
            text: LibraryTask(
                name=self._points.names[task],
                confidence=float(confidence),
                vector=pack(vector),
                encoder=self._space,
            )
            for text, vector, task, confidence in zip(texts, vectors, nearest, sure, strict=True)
        }
        return [tasks[prompt] for prompt in prompts]

    def close(self) -> None:
        self._thread.shutdown()


def library_of(settings: DescriberSettings, table: Encoder | None = None) -> Library | None:
    """The library, where this machine has an encoder whose tasks are known."""
    try:
        return Library(settings, table)
    except (ImportError, OSError, AdapterError, LookupError) as error:
        missing = isinstance(error, ImportError)
        reason = "onnxruntime is not installed here" if missing else str(error)
        log.warning("rules describe prompts: the library of tasks can't be used", because=reason)
        return None
