"""Settings of the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.contracts.settings import ServiceSettings


class JudgeSettings(ServiceSettings):
    """POINTSMAN_JUDGE_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_JUDGE_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    budget_usd_per_day: Annotated[float, Field(ge=0)] = 5.0
    """What all judges together may spend in a day (UTC), shadow answers included. Never
    exceeded."""
    kind: Literal["votes"] = "votes"
    """How answers are compared. votes: a judge model votes six times, three times in each
    order."""
    rate: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Fraction of answered prompts that are compared. It is higher where a comparison teaches
    more."""
    pairs: Annotated[int, Field(ge=1, le=50)] = 1
    """Pairs compared on a sampled prompt. Further pairs share its answers, so they cost less and
    say less."""
    models: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "openai/gpt-5.6-luna",
        "google/gemini-3.8-flash",
    )
    """Judge models, by their names in the catalogue or a provider's ids; the default provider gets
    ids that the catalogue lacks. Each comparison goes to one of them, in rotation."""
    both: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Fraction of comparisons that two judge models get, to measure their agreement."""
    price_input: Annotated[float, Field(ge=0)] = 1.0
    """Assumed USD per million input tokens of a judge model without a known price: an upper
    bound."""
    price_output: Annotated[float, Field(ge=0)] = 5.0
    """The same for output tokens."""
    orders: Annotated[int, Field(ge=1, le=10)] = 3
    """Votes in each of the two orders."""
    max_tokens: Annotated[int, Field(ge=16)] = 2000
    """Most tokens of a judge's answer, reasoning included. Models without reasoning need ten."""
    rest_s: Annotated[float, Field(gt=0)] = 3600.0
    """How long a judge rests when more than half of its latest votes could not be read."""
    call_s: Annotated[float, Field(gt=0)] = 60.0
    """Time limit of one call in seconds, retries included."""
    answer_chars: Annotated[int, Field(ge=200)] = 16_000
    """Most characters of an answer that a judge gets; a longer answer loses its middle."""
    keep_texts: bool = True
    """Put prompt and answers into the evaluation, so that people can rate them."""
    workers: Annotated[int, Field(ge=1)] = 8
    """Comparisons judged at the same time."""
    catalog: Path | None = None
    """File of models with their prices and ids. None: the catalogue that comes with Pointsman."""
    profile: str = "current"
    """The catalogue's models that may be challengers."""
