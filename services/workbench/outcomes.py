"""Reading outcome matrices and embedding what is in them, for the commands that work on them."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.markup import escape

from services.screen import err
from services.workbench.outcome_file import (
    LEAST_PRICE,
    Row,
    doubtful,
    read_csv,
    read_prices,
    read_rows,
)
from services.workbench.vote_file import Preference, read_votes
from shared.adapters.onnx.encoder import OnnxEncoder
from shared.catalog import models
from shared.routing.deciding.courtesies import without_courtesies
from shared.routing.deciding.extraction import together
from shared.routing.deciding.table import Array, Text
from shared.routing.errors import OutcomesInvalid
from shared.routing.offline.outcomes import FEW, enough

CHUNK = 64


def check_target(path: Path | None) -> None:
    """Raise before the work if its result could not be written to `path` after it."""
    if path is not None and path.is_dir():
        raise OutcomesInvalid(f"{path} is a folder; name a file in it")


def read(
    path: Path, prices: Path | None, few_are: str = "treated as average until there are more"
) -> tuple[list[Row], dict[str, models.Price]]:
    """The rows of a file, JSON lines or CSV (by its name, `.gz` unpacked), and prices: of the file,
    else of the catalogue.

    Says what is passed over and what is doubtful. Raises `OutcomesInvalid`, naming the row and the
    column.
    """
    passed: list[str] = []
    with _opened(path) as file:
        if ".csv" in path.suffixes:
            with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
                rows, passed = read_csv(text)
        else:
            rows = read_rows(file)
    models_ = sorted({model for row in rows for model in row.scores})
    if ".csv" in path.suffixes:
        over = f"; passed over, since they are no model's: {', '.join(passed)}" if passed else ""
        _say(f"{path.name}: scores of {len(models_)} models: {', '.join(models_)}{over}")
    if few := [f"{model} ({count})" for model, count in few_scored(rows).items()]:
        _say(f"{path.name}: fewer than {FEW:g} scores of {', '.join(few)}: {few_are}")
    model_prices = prices_of(models_, prices, beside(path))
    paid = {model for row in rows for model in (row.cost_usd or ())}
    unknown = [model for model in models_ if model not in model_prices and model not in paid]
    if unknown and not paid and prices is None and beside(path) is None:
        if model_prices:
            _say(
                f"{path.name}: no cost of {', '.join(unknown)} is known, so costs have no effect; "
                "name --prices to have them"
            )
        return rows, {}
    return rows, model_prices


def few_scored(rows: Sequence[Row]) -> dict[str, int]:
    """The models that have fewer than `FEW` scores though others have more, with how many."""
    counts = sorted(Counter(model for row in rows for model in row.scores).items())
    return {
        model: count
        for (model, count), good in zip(counts, enough([count for _, count in counts]), strict=True)
        if not good
    }


def without(rows: Sequence[Row], names: Collection[str]) -> list[Row]:
    """The rows without these models; those that scored nobody else are gone."""
    fields = ("scores", "cost_usd", "latency_s", "input_tokens", "output_tokens", "responses")
    left = [
        {name: {m: v for m, v in getattr(row, name).items() if m not in names} for name in fields}
        for row in rows
    ]
    return [
        row.model_copy(update=parts)
        for row, parts in zip(rows, left, strict=True)
        if parts["scores"]
    ]


def _say(text: str) -> None:
    err.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)


def votes_of(path: Path) -> list[Preference]:
    """The votes of a file, JSON or CSV (by its name, `.gz` unpacked). Raises `OutcomesInvalid`,
    naming the row and the field."""
    with _opened(path) as file:
        text = file.read().decode()
    return read_votes(text, is_csv=".csv" in path.suffixes)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked. Raises `OutcomesInvalid`, also for what goes wrong while they are
    read."""
    try:
        opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            yield file
    except UnicodeDecodeError as error:
        raise OutcomesInvalid(
            f"{path} is not in UTF-8: {error.reason} at byte {error.start}"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise OutcomesInvalid(
            f"{path} can't be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def beside(path: Path) -> Path | None:
    """The file of prices that belongs to one of outcomes or votes by its name: `mine.prices.json`
    to `mine.jsonl.gz`."""
    price_file = path.with_name(path.name.split(".")[0] + ".prices.json")
    return price_file if price_file.exists() else None


def prices_of(named: Collection[str], *files: Path | None) -> dict[str, models.Price]:
    """Prices of models: of the first file that has them, else of the catalogue. Raises
    `OutcomesInvalid`."""
    catalog = models.load()
    model_prices = {m: catalog.models[m].price for m in named if m in catalog.models}
    for prices in reversed([file for file in files if file is not None]):
        try:
            read_ = read_prices(prices.read_text("utf-8"))
            if odd := doubtful(read_):
                _say(
                    f"{prices.name}: below {LEAST_PRICE:g}: {', '.join(odd)}; prices are USD per "
                    "million tokens, and are used so"
                )
            model_prices |= read_
        except (OSError, UnicodeDecodeError) as error:
            raise OutcomesInvalid(
                f"the prices {prices} can't be read: {getattr(error, 'strerror', None) or error}"
            ) from None
    return model_prices


def readings(
    prompts: Sequence[str], descriptions: Sequence[str] | None = None
) -> dict[Text, list[str]]:
    """What an encoder may read of each prompt, as the embedder has it read. Without descriptions it
    is the prompt alone."""
    asked = [without_courtesies(prompt) for prompt in prompts]
    if descriptions is None:
        return {"prompt": asked}
    both = [together(text, prompt) for text, prompt in zip(descriptions, asked, strict=True)]
    return {"prompt": asked, "description": list(descriptions), "both": both}


async def embed(texts: Sequence[str], encoder: OnnxEncoder, tick: Callable[[int], object]) -> Array:
    """(n, dimension) float32; equal texts are embedded once, and texts of like length together.
    `tick` hears how many are done."""
    distinct = sorted(
        dict.fromkeys(texts), key=len
    )  # not a set, whose order is another in every process
    place = {text: i for i, text in enumerate(distinct)}
    count = np.bincount([place[t] for t in texts], minlength=len(distinct))
    chunks = []
    for start in range(0, len(distinct), CHUNK):
        chunks.append(await asyncio.to_thread(encoder.encode, distinct[start : start + CHUNK]))
        tick(int(count[start : start + CHUNK].sum()))
    vectors: Array = np.concatenate(chunks)[[place[t] for t in texts]]
    return vectors


async def embed_responses(
    rows: Sequence[Row], encoder: OnnxEncoder, tick: Callable[[int], object]
) -> list[dict[str, Array]]:
    """For each row the embeddings of its responses, (dimension,) each, by model."""
    texts = [text for row in rows for text in row.responses.values()]
    vectors = iter(await embed(texts, encoder, tick) if texts else ())
    return [{model: next(vectors) for model in row.responses} for row in rows]


def mean_responses(responses: Sequence[Mapping[str, Array]]) -> Array | None:
    """(n, dimension): the mean of each prompt's; None if a prompt has none."""
    if not all(responses):
        return None
    return np.stack([np.mean(list(response.values()), axis=0) for response in responses]).astype(
        np.float32
    )
