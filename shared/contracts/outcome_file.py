"""The file of an outcome matrix: JSON lines, one prompt each, and the file of prices beside it.

    {"prompt": "…", "scores": {"model-a": 1, "model-b": 0.5}, "cost_usd": {…}, "latency_s": {…}, "description": "…"}

Only `prompt` and `scores` are needed. A model that is missing in a row did not answer that prompt. Prices are
`{"prices": {"model-a": 0.2, "model-b": {"input": 3, "output": 15}}}`, in USD per million tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.catalog.models import Price
from shared.contracts.messages import describe_error
from shared.routing.errors import OutcomesInvalid
from shared.routing.outcomes import Matrix, Outcomes

BYTES_PER_TOKEN = 4
ANSWER_TOKENS = 300
"""Length of an answer where only prices are known."""

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Row(BaseModel):
    """One prompt with what each model made of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: Annotated[str, Field(min_length=1)]
    scores: Annotated[dict[str, Score], Field(min_length=1)]
    cost_usd: dict[str, Amount] = {}
    latency_s: dict[str, Amount] = {}
    description: str | None = None


def read_rows(lines: Iterable[str | bytes]) -> list[Row]:
    """The rows of a file. Raises `OutcomesInvalid` naming the line and the field."""
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            raise OutcomesInvalid(f"line {number}: {describe_error(error)}") from None
    if not rows:
        raise OutcomesInvalid("the file holds no row; each line is a JSON object with prompt and scores")
    return rows


def read_prices(text: str) -> dict[str, Price]:
    """Prices by model. One number serves input and output alike. Raises `OutcomesInvalid`."""
    try:
        data: Any = json.loads(text)
        prices = data.get("prices", data)
        return {m: Price(input=p, output=p) if isinstance(p, int | float) else Price(**p) for m, p in prices.items()}
    except (ValueError, TypeError, AttributeError):
        raise OutcomesInvalid('the prices are not in the form {"prices": {"model": 0.2 or {"input": 3, "output": 15}}}') from None


def matrix(rows: list[Row], prices: Mapping[str, Price], texts: list[str]) -> Outcomes:
    """Rows as arrays; `texts` is what is embedded of each. Costs come from the rows, else from prices.

    Raises `OutcomesInvalid` if some models have neither: a model whose cost is not known would look free.
    """
    models = tuple(sorted({model for row in rows for model in row.scores}))
    places = {model: i for i, model in enumerate(models)}

    def array(field: str) -> Matrix:
        values = np.full((len(rows), len(models)), np.nan)
        for i, row in enumerate(rows):
            for model, value in getattr(row, field).items():
                if model in places:
                    values[i, places[model]] = value
        return values

    cost, latency = array("cost_usd"), array("latency_s")
    tokens = np.array([len(row.prompt.encode()) / BYTES_PER_TOKEN for row in rows])
    for model, i in places.items():
        if model in prices:
            estimate = np.array([prices[model].cost_usd(t, ANSWER_TOKENS) for t in tokens])
            cost[:, i] = np.where(np.isfinite(cost[:, i]), cost[:, i], estimate)
    return Outcomes(tuple(texts), models, array("scores"), _complete(cost, models, "cost"), _complete(latency, models, "latency"))


def _complete(values: Matrix, models: tuple[str, ...], what: str) -> Matrix:
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).any(axis=0))
    if not known.any():
        return np.zeros(len(models))
    if not known.all():
        bare = ", ".join(m for m, k in zip(models, known, strict=True) if not k)
        raise OutcomesInvalid(f"no {what} for {bare}, though there is for others; add it to the rows{' or the prices' * (what == 'cost')}")
    return values
