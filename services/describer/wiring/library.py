"""The nearest tasks of the library, by the encoder beside the describer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.describer.describe import Looked
from services.describer.quoting import entire, quote
from services.describer.settings import DescriberSettings
from shared.adapters.errors import AdapterError, EncoderInvalid
from shared.adapters.onnx.prepare import default_directory, variant_for
from shared.adapters.telemetry import log
from shared.catalog.tasks import points as places
from shared.contracts.places import EncoderRef, LibraryTask
from shared.contracts.vector import pack
from shared.routing.deciding.extraction import sentences, whole
from shared.routing.deciding.table import Encoder


class Library:
    """Looks prompts up with its `encoder` and `points`, in a thread of its own. Raises
    `EncoderInvalid` where the encoder's tasks are not known.

    `table`: the encoder of the table in use. If it knows the tasks, it looks them up, so that the
    embedder can take its vectors."""

    def __init__(self, settings: DescriberSettings, table: Encoder | None = None) -> None:
        from shared.adapters.onnx.load import load

        if table is not None and (places.known(table) is None or table.quantization == "fp16"):
            table = None
        variant = variant_for(table, settings.encoder_dir, settings.variant)
        if variant.endswith("fp16"):
            raise EncoderInvalid("the encoder in half precision is for the embedder's GPU")
        self.encoder = load(settings.encoder_dir, variant, "cpu", settings.threads)
        identity = self.encoder.identity
        directory = settings.encoder_dir or default_directory(variant)
        self.points = places.beside(places.space_of(identity), directory)
        self._space = EncoderRef.of(identity)
        self._from = settings.library_from
        self._thread = ThreadPoolExecutor(1, "library")

    async def look(self, prompts: Sequence[str]) -> list[Looked]:
        """The nearest task of each prompt, and what says it where no task is near enough."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, prompts)

    def _look(self, prompts: Sequence[str]) -> list[Looked]:
        texts = list(dict.fromkeys(prompts))
        vectors = self.encoder.encode(texts)
        nearest, sure = self.points.nearest(vectors)
        tasks = [
            LibraryTask(
                name=self.points.names[task],
                confidence=float(confidence),
                vector=pack(vector),
                encoder=self._space,
            )
            for vector, task, confidence in zip(vectors, nearest, sure, strict=True)
        ]
        unsure = [i for i, task in enumerate(tasks) if task.confidence < self._from]
        quotes = self._quotes(texts, vectors, unsure)
        looked = {
            text: Looked(task, quotes.get(i, ""))
            for i, (text, task) in enumerate(zip(texts, tasks, strict=True))
        }
        return [looked[prompt] for prompt in prompts]

    def _quotes(
        self, texts: Sequence[str], vectors: places.Array, rows: Sequence[int]
    ) -> dict[int, str]:
        """What the texts of these rows say of their tasks, by row. Only of a text that is too long
        to be quoted whole are the sentences encoded."""
        quotes = {row: whole(texts[row]) for row in rows}
        said = {row: sentences(texts[row]) for row, done in quotes.items() if not done}
        quotes |= {row: entire(one) for row, one in said.items()}
        long = {row: one for row, one in said.items() if one and not quotes[row]}
        parts = list(dict.fromkeys(sentence.text for one in long.values() for sentence in one))
        if not parts:
            return quotes
        encoded = places.task_part(self.encoder.encode(parts))
        at = {text: i for i, text in enumerate(parts)}
        for row, one in long.items():
            own = encoded[[at[sentence.text] for sentence in one]]
            quotes[row] = quote(one, own, self.points.around(vectors[row]))
        return quotes

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
