"""Files of preferences: pairs of answers to one prompt, and which was better. JSON lines, a JSON
array, or CSV.

Three forms are read, each by its own fields:

- pairs with a winner, as Chatbot Arena's: `prompt` (or `conversation_a`, whose first turn is
  taken), `model_a`, `model_b`, `winner`
  (`model_a`, `model_b`, `tie`, `tie (bothbad)`); or, in place of `winner`, `winner_model_a`,
  `winner_model_b`, `winner_tie`.
- preference against a reference, as AlpacaEval's annotations: `instruction`, `generator_1`,
  `generator_2`, `preference` from 1 (the first
  is better) to 2 (the second is).

Fields that are not named here are passed over.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shared.routing.errors import OutcomesInvalid

TIES = frozenset({"tie", "tie (bothbad)", "both_bad", "bothbad"})
LONGEST_CELL = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Preference:
    """One vote on two models' answers to a prompt."""

    prompt: str
    first: str
    second: str
    first_better: float | None
    """How probably the first answer is the better: 1 or 0 where one won. None: a tie."""


def read_votes(text: str, *, is_csv: bool) -> list[Preference]:
    """The votes of a file. Raises `OutcomesInvalid` naming the row and the field."""
    votes = [_vote(number, row) for number, row in (_csv(text) if is_csv else _json(text))]
    if not votes:
        raise OutcomesInvalid(
            "the file holds no vote; each names a prompt, two models and which answer was better"
        )
    return votes


def _json(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if text.lstrip("\ufeff \t\r\n")[:1] == "[":
        rows: Iterable[tuple[str, Any]] = (
            (f"entry {i}", row) for i, row in enumerate(_parsed("the file", text), 1)
        )
    else:
        lines = (
            (f"line {i}", line)
            for i, line in enumerate(text.split("\n"), 1)
            if line.strip("\ufeff \t\r")
        )
        rows = ((place, _parsed(place, line)) for place, line in lines)
    for place, row in rows:
        if not isinstance(row, dict):
            raise OutcomesInvalid(f"{place}: not a JSON object")
        yield place, row


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text.lstrip("\ufeff"))
    except RecursionError:
        raise OutcomesInvalid(f"{place}: more lists in one another than can be read") from None
    except ValueError as error:
        raise OutcomesInvalid(f"{place}: not JSON: {error}") from None


def _csv(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
    try:
        for number, row in enumerate(reader, 2):
            yield f"row {number}", row
    except csv.Error as error:
        raise OutcomesInvalid(f"row {reader.line_num}: not CSV: {error}") from None


def _vote(place: str, row: Mapping[str, Any]) -> Preference:
    if "instruction" in row and "preference" in row:
        prompt, first, second = (
            _text(place, row, name) for name in ("instruction", "generator_1", "generator_2")
        )
        return Preference(prompt, first, second, _between(place, row["preference"]))
    first = _text(place, row, "model_a")
    second = _text(place, row, "model_b")
    return Preference(_prompt(place, row), first, second, _winner(place, row))


def _prompt(place: str, row: Mapping[str, Any]) -> str:
    turns: Any = row.get("prompt") if row.get("prompt") is not None else row.get("conversation_a")
    if isinstance(turns, str) and turns.lstrip()[:1] == "[":  # Kaggle's CSV has the turns as JSON
        with suppress(ValueError):
            turns = json.loads(turns)
    if isinstance(turns, list) and turns:
        turns = turns[0].get("content") if isinstance(turns[0], dict) else turns[0]
    if not isinstance(turns, str) or not turns.strip():
        raise OutcomesInvalid(
            f"{place}: there is no prompt; it stands in prompt, conversation_a or instruction"
        )
    return turns


def _winner(place: str, row: Mapping[str, Any]) -> float | None:
    if "winner" in row:
        won = row["winner"]
        if won in ("model_a", "model_b"):
            return 1.0 if won == "model_a" else 0.0
        if isinstance(won, str) and won in TIES:
            return None
        raise OutcomesInvalid(f"{place}, winner: not model_a, model_b, tie or tie (bothbad)")
    marks = {
        name: str(row.get(name, "")).strip().lower() in {"1", "1.0", "true"}
        for name in ("winner_model_a", "winner_model_b", "winner_tie")
    }
    if sum(marks.values()) != 1:
        raise OutcomesInvalid(
            f"{place}: one of winner_model_a, winner_model_b and winner_tie must be 1, or winner "
            "name the better model"
        )
    return None if marks["winner_tie"] else float(marks["winner_model_a"])


def _between(place: str, value: Any) -> float | None:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 1.0 <= number <= 2.0:
        raise OutcomesInvalid(
            f"{place}, preference: not a number from 1 (the first answer is better) to 2 (the "
            "second is)"
        )
    return None if number == 1.5 else 2.0 - number


def _text(place: str, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise OutcomesInvalid(f"{place}: there is no {name}")
    return value.strip()
