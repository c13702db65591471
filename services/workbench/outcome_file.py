"""The file of an outcome matrix, JSON lines or CSV, one prompt each, and the file of prices beside
it.

    {"prompt": "…", "scores": {"model-a": 1, "model-b": 0.5}, "cost_usd": {…}, "latency_s": {…},
    "description": "…"}

Only `prompt` and `scores` are needed. A model that is missing in a row did not answer that prompt.
`input_tokens` and `output_tokens` by model give costs where there are prices; `responses` by model
are the answers themselves. Prices are `{"prices": {"model-a": 0.2, "model-b": {"input": 3,
"output": 15}}}`, in USD per million tokens.

A CSV file has the columns `prompt`, one for each model with its scores, and optionally
`description`. A model's name with `_response`, `_cost_usd`, `_latency_s`, `_input_tokens` or
`_output_tokens` behind it is optional too. An empty cell means unknown.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.catalog.estimates import ANSWER_TOKENS, estimate_tokens
from shared.catalog.models import Price
from shared.contracts.messages import describe_error
from shared.routing.errors import OutcomesInvalid
from shared.routing.offline.outcomes import Matrix, Outcomes

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Row(BaseModel):
    """One prompt with what each model made of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: Annotated[str, Field(min_length=1)]
    scores: Annotated[dict[str, Score], Field(min_length=1)]
    cost_usd: dict[str, Amount] = {}
    latency_s: dict[str, Amount] = {}
    input_tokens: dict[str, Amount] = {}
    output_tokens: dict[str, Amount] = {}
    responses: dict[str, str] = {}
    description: str | None = None


def read_rows(lines: Iterable[str | bytes]) -> list[Row]:
    """The rows of a file. Raises `OutcomesInvalid` naming the line and the field."""
    rows = []
    for number, line in enumerate(lines, 1):
        text = (
            line.removeprefix(b"\xef\xbb\xbf")
            if isinstance(line, bytes)
            else line.removeprefix("\ufeff")
        )
        if not text.strip():
            continue
        if text.lstrip()[:1] in ("[", b"["):
            raise OutcomesInvalid(
                f"line {number} begins a JSON array; each line must be one JSON object, a prompt "
                "with its scores"
            )
        try:
            rows.append(Row.model_validate_json(text))
        except ValidationError as error:
            hole = any(
                item["loc"][:1] == ("scores",) and item["input"] is None for item in error.errors()
            )
            hint = "; leave a model out of a row that has no score of it" if hole else ""
            raise OutcomesInvalid(f"line {number}: {describe_error(error)}{hint}") from None
    if not rows:
        raise OutcomesInvalid(
            "the file holds no row; each line is a JSON object with prompt and scores"
        )
    return rows


SUFFIXES = ("response", "cost_usd", "latency_s", "input_tokens", "output_tokens")
MISNAMED = (
    "cost",
    "costs",
    "price",
    "usd",
    "latency",
    "time",
    "tokens",
    "answer",
    "output",
    "input",
    "score",
    "scores",
)
"""Endings that a model's name hardly has, where the rest is a model's name."""
HOLES = frozenset({"na", "n/a", "nan", "null", "none", "-", "?"})
TRUTH = {
    "true": 1.0,
    "false": 0.0,
    "yes": 1.0,
    "no": 0.0,
    "pass": 1.0,
    "fail": 0.0,
    "correct": 1.0,
    "incorrect": 0.0,
}
LONGEST_CELL = 16 * 1024 * 1024
_NO_MODEL = (
    "difficulty_level difficulty_score hardness is_hard similarity toxicity weight average mean "
    "median oracle confidence correct "
    "seed rank unnamed num_tokens prompt_tokens "
    "id idx index row prompt_id question_id sample_id task_id uuid hash key name title category "
    "categories topic subject "
    "task task_name dataset data source eval_name benchmark split fold subset lang language level "
    "difficulty domain type "
    "kind tag tags reference gold target answer ground_truth label labels choices options context "
    "system instruction "
    "notes note comment timestamp date time length n_tokens"
)
NO_MODEL = frozenset(_NO_MODEL.split())
"""Names of columns that data sets have beside models'."""


def read_csv(lines: Iterable[str]) -> tuple[list[Row], list[str]]:
    """The rows of a CSV file (RFC 4180) with a header, and the columns that were passed over since
    they are no model's.

    Raises `OutcomesInvalid` naming the row and the column.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        table = [
            (number, cells)
            for number, cells in enumerate(reader, 2)
            if any(cell.strip() for cell in cells)
        ]
        for number, cells in table:
            if len(cells) != len(header):
                raise OutcomesInvalid(
                    f"row {number}: {len(cells)} cells, the header has {len(header)}"
                )
        passed = _no_models(header, [cells for _, cells in table])
        columns = _columns(header, passed)
        rows = [_row(number, cells, columns) for number, cells in table]
    except csv.Error as error:
        raise OutcomesInvalid(f"row {reader.line_num}: not CSV: {error}") from None
    scored_models = {model for row in rows for model in row.scores}
    if rows and (
        empty := [
            name for name, field, _ in columns if field == "scores" and name not in scored_models
        ]
    ):
        raise OutcomesInvalid(
            f"column {empty[0]} has no score in any row; fill it, or leave it out"
        )
    if not rows:
        raise OutcomesInvalid("the file holds no row; a header and one row a prompt are needed")
    return rows, passed


def _no_models(header: list[str], rows: list[list[str]]) -> list[str]:
    """Columns that are no model's: by their names, or since none of their cells is a score while
    two others' are."""
    named = []
    text = []
    others = 0
    for place, name in enumerate(header):
        owns = any(f"{name}_{suffix}" in header for suffix in SUFFIXES)
        if (
            name in {"", "prompt", "description"}
            or owns
            or any(name.endswith(f"_{suffix}") for suffix in SUFFIXES)
        ):
            others += owns
            continue
        cells = {cell for row in rows if (cell := row[place].strip().lower())} - HOLES
        if name.lower().replace(" ", "_").split(":")[0] in NO_MODEL:
            named.append(name)
        elif cells and not any(cell in TRUTH or _number(cell) for cell in cells):
            text.append(name)
        else:
            others += 1
    return sorted([*named, *(text if others > 1 else ())], key=header.index)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(header: list[str], passed: Collection[str]) -> list[tuple[str, str, str | None]]:
    """For each column its name, its field ("" if it is passed over) and its model."""
    if "prompt" not in header:
        other = (
            next((c for c in ";\t|" if "prompt" in header[0].split(c)), None) if header else None
        )
        hint = f"; columns must be parted by commas, not by {other!r}" if other else ""
        raise OutcomesInvalid(
            f"there is no column prompt; there are {', '.join(header[:8]) or 'none'}{hint}"
        )
    if twice := [name for i, name in enumerate(header) if name in header[:i]]:
        raise OutcomesInvalid(f"column {twice[0]} comes twice")
    if "" in header:
        place = header.index("") + 1
        raise OutcomesInvalid(
            f"column {place} has no name; name it after its model, or leave it out (pandas writes "
            "one: index=False)"
        )
    columns: list[tuple[str, str, str | None]] = []
    for name in header:
        if near := next((s for s in SUFFIXES if re.search(rf"[:. -]{s}$", name)), None):
            meant = f"{name[: -len(near) - 1]}_{near}"
            raise OutcomesInvalid(f"column {name} is no model's score; did you mean {meant}?")
        suffix = next((s for s in SUFFIXES if name.endswith(f"_{s}")), None)
        if name in passed:
            columns.append((name, "", None))
        elif name in {"prompt", "description"}:
            columns.append((name, name, None))
        elif suffix and (model := name.removesuffix(f"_{suffix}")) in header:
            columns.append((name, "responses" if suffix == "response" else suffix, model))
        elif suffix:
            raise OutcomesInvalid(
                f"column {name} belongs to no model: there is no column "
                f"{name.removesuffix(f'_{suffix}')} with its scores"
            )
        elif end := next(
            (
                e
                for e in MISNAMED
                if name.endswith(f"_{e}") and name.removesuffix(f"_{e}") in header
            ),
            None,
        ):
            raise OutcomesInvalid(
                f"column {name}: _{end} means nothing here; what belongs to a model ends with "
                f"_{', _'.join(SUFFIXES)}"
            )
        else:
            columns.append((name, "scores", name))
    if not any(field == "scores" for _, field, _ in columns):
        raise OutcomesInvalid(
            "there is no column with scores: one column a model, named like it, is needed"
        )
    return columns


def _row(number: int, cells: list[str], columns: list[tuple[str, str, str | None]]) -> Row:
    values: dict[str, Any] = {}
    for cell, (name, field, model) in zip(cells, columns, strict=True):
        if not field:
            continue
        if model is None:
            if cell.strip() or field == "prompt":
                values[field] = cell
        elif field == "responses":
            if cell:
                values.setdefault(field, {})[model] = cell
        elif text := cell.strip().lower():
            try:
                values.setdefault(field, {})[model] = (
                    TRUTH[text] if field == "scores" and text in TRUTH else float(text)
                )
            except ValueError:
                wanted = (
                    "a number from 0 to 1, or true or false" if field == "scores" else "a number"
                )
                hole = (
                    "; leave the cell empty where the model gave no answer" if text in HOLES else ""
                )
                raise OutcomesInvalid(f"row {number}, column {name}: not {wanted}{hole}") from None
    values.setdefault("scores", {})
    try:
        return Row.model_validate(values)
    except ValidationError as error:
        place = error.errors()[0]["loc"]
        model = str(place[1]) if len(place) > 1 else None
        column = next(
            (name for name, field, owner in columns if field == place[0] and owner == model),
            str(place[0]),
        )
        if place == ("scores",):
            raise OutcomesInvalid(
                f"row {number}: no model has a score; leave the row out"
            ) from None
        raise OutcomesInvalid(f"row {number}, column {column}: {describe_error(error)}") from None


def read_prices(text: str) -> dict[str, Price]:
    """Prices by model, USD per million tokens. One number serves input and output alike; LiteLLM's
    prices per token are read, too.

    Raises `OutcomesInvalid`, naming the model.
    """
    try:
        data: Any = json.loads(text.removeprefix("\ufeff"))
        prices = dict(data.get("prices", data))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise OutcomesInvalid(PRICES_FORM) from None
    found = {}
    for model, price in prices.items():
        try:
            found[model] = _price(price)
        except (ValueError, TypeError, AttributeError, OverflowError):
            if (
                isinstance(price, dict)
                and any("cost_per_" in name for name in price)
                and PER_TOKEN["input"] not in price
            ):
                continue  # LiteLLM's file has pictures and sounds, too
            raise OutcomesInvalid(
                f"the price of {model} is neither a number of USD per million tokens nor "
                f"{PRICE_FORM}"
            ) from None
    return found


PRICE_FORM = (
    '{"input": 3, "output": 15}, or LiteLLM\'s {"input_cost_per_token": 3e-6, '
    '"output_cost_per_token": 15e-6}'
)
PRICES_FORM = f'the prices are not in the form {{"prices": {{"model": 0.2 or {PRICE_FORM}}}}}'
PER_TOKEN = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
}
LEAST_PRICE = 0.001
"""USD per million tokens: nobody is as cheap, so a price below it is one per token, or per
thousand."""


def _price(value: Any) -> Price:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int | float):
        return Price(input=value, output=value)
    if any(isinstance(part, bool) for part in value.values()):
        raise TypeError
    if PER_TOKEN["input"] in value or PER_TOKEN["output"] in value:
        given = {name: value.get(key) for name, key in PER_TOKEN.items()}
        return Price(
            **{"output": 0.0}
            | {name: 1e6 * float(usd) for name, usd in given.items() if usd is not None}
        )
    return Price(**value)


def doubtful(prices: Mapping[str, Price]) -> list[str]:
    """Models whose prices look as if they were not per million tokens."""
    return sorted(
        model
        for model, price in prices.items()
        if any(0 < usd < LEAST_PRICE for usd in (price.input, price.output))
    )


def matrix(rows: list[Row], prices: Mapping[str, Price], texts: list[str]) -> Outcomes:
    """Rows as arrays; `texts` is what is embedded of each. Costs come from the rows, else from
    prices.

    Raises `OutcomesInvalid` if some models have neither: a model whose cost is not known would look
    free.
    """
    models = tuple(sorted({model for row in rows for model in row.scores}))
    places = {model: i for i, model in enumerate(models)}
    for field in ("cost_usd", "latency_s", "input_tokens", "output_tokens", "responses"):
        for number, row in enumerate(rows, 1):
            if strange := next((m for m in getattr(row, field) if m not in places), None):
                raise OutcomesInvalid(
                    f"prompt {number}: {field} names {strange}, which has no score in any row; is "
                    "it misspelt?"
                )

    def array(field: str) -> Matrix:
        values = np.full((len(rows), len(models)), np.nan)
        for i, row in enumerate(rows):
            for model, value in getattr(row, field).items():
                if model in places:
                    values[i, places[model]] = value
        return values

    cost = array("cost_usd")
    latency = array("latency_s")
    read = array("input_tokens")
    written = array("output_tokens")
    for i, row in enumerate(rows):
        for model, text in row.responses.items():
            if text and np.isnan(written[i, places[model]]):
                written[i, places[model]] = estimate_tokens(len(text.encode()))
    usual = float(np.nanmean(written)) if np.isfinite(written).any() else ANSWER_TOKENS
    guess = np.array([estimate_tokens(len(row.prompt.encode())) for row in rows])
    for model, i in places.items():
        if model in prices:
            tokens = (
                np.where(np.isfinite(read[:, i]), read[:, i], guess),
                np.where(np.isfinite(written[:, i]), written[:, i], usual),
            )
            estimate = np.array(
                [prices[model].cost_usd(a, b) for a, b in zip(*tokens, strict=True)]
            )
            cost[:, i] = np.where(np.isfinite(cost[:, i]), cost[:, i], estimate)
    charged = np.array([prices[m].input / 1e6 if m in prices else 0.0 for m in models])
    return Outcomes(
        tuple(texts),
        models,
        array("scores"),
        _complete(cost, models, "cost"),
        _complete(latency, models, "latency"),
        prompt_tokens=guess,
        usd_per_token=charged,
    )


def _complete(values: Matrix, models: tuple[str, ...], what: str) -> Matrix:
    measured: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).any(axis=0))
    if not measured.any():
        return np.zeros(len(models))
    if not measured.all():
        bare = ", ".join(m for m, k in zip(models, measured, strict=True) if not k)
        raise OutcomesInvalid(
            f"no {what} for {bare}, though there is for others; add it to the "
            f"rows{' or the prices' * (what == 'cost')}"
        )
    return values
