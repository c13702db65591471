"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Thumb = Literal["up", "down"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
KeyFile = Annotated[
    Path | None, typer.Option(help="The file of keys; by default POINTSMAN_KEYS_FILE.")
]
Variant = Annotated[
    str,
    typer.Option(
        help="An encoder that comes with Pointsman: int8, fp32, fp16, tasks2-int8, minilm-int8, …"
    ),
]
UsdPerPoint = Annotated[
    float | None,
    typer.Option(
        min=0, help="What a point of success (from surely wrong to surely right) is worth, USD."
    ),
]
SecondsPerPoint = Annotated[
    float | None, typer.Option(min=0, help="What a point of success is worth, seconds of waiting.")
]
Keep = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Keep this part of the best model's success, at the least cost: 0.97."
    ),
]
Spend = Annotated[
    float | None,
    typer.Option(min=0, help="Spend at most this many USD on 1,000 prompts."),
]
Describe = Annotated[
    str,
    typer.Option(help="Who describes prompts: prompt, local or llm (as the describer's backend)."),
]


def preferences_of(
    usd_per_point: float | None,
    s_per_point: float | None,
    keep: float | None,
    spend_usd_per_1000: float | None,
) -> dict[str, float | None]:
    """What the options say that a sender cares about, by the fields of `Preferences`."""
    return {
        "usd_per_point": usd_per_point,
        "s_per_point": s_per_point,
        "keep": keep,
        "spend_usd_per_1000": spend_usd_per_1000,
    }
