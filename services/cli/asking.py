"""Asking for one decision, and saying what people think."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.options import (
    Json,
    Keep,
    SecondsPerPoint,
    Spend,
    Thumb,
    UsdPerPoint,
    preferences_of,
)
from shared.contracts.wishes import Profile

app = typer.Typer()


@app.command()
def route(
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    profile: Annotated[Profile | None, typer.Option(help="A named set of preferences.")] = None,
    usd_per_point: UsdPerPoint = None,
    s_per_point: SecondsPerPoint = None,
    keep: Keep = None,
    spend_usd_per_1000: Spend = None,
    max_cost_usd: Annotated[
        float | None, typer.Option(min=0, help="Highest expected cost, USD.")
    ] = None,
    max_latency_s: Annotated[
        float | None, typer.Option(min=0, help="Highest expected latency, seconds.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be repeated.")
    ] = None,
    deny: Annotated[list[str] | None, typer.Option(help="Not this model; may be repeated.")] = None,
    answer: Annotated[
        bool, typer.Option("--answer", help="Call the selected model too, and print its answer.")
    ] = False,
    within: Annotated[float, typer.Option(min=0.1, help="Seconds to wait.")] = 15.0,
    json_: Json = False,
) -> None:
    """Publish one prompt, wait for its decision, and print it with its reasons."""
    from services.commands import route as command

    preferences = preferences_of(usd_per_point, s_per_point, keep, spend_usd_per_1000)
    limits = {
        "max_cost_usd": max_cost_usd,
        "max_latency_s": max_latency_s,
        "allow": allow,
        "deny": deny,
    }
    raise typer.Exit(
        command.route(prompt, profile, preferences, limits, within, answer=answer, as_json=json_)
    )


@app.command()
def vote(
    rater: Annotated[
        str,
        typer.Option(
            "--as",
            help="What you call yourself; a second vote on the same pair replaces the first.",
        ),
    ],
    count: Annotated[int, typer.Option(min=1, help="Pairs to rate.")] = 10,
) -> None:
    """Rate pairs of answers without seeing the models; the least certain pairs come first."""
    from services.commands import vote as command

    raise typer.Exit(command.vote(rater, count))


@app.command()
def feedback(
    request_id: Annotated[str, typer.Argument(help="The request whose answer it is about.")],
    thumb: Annotated[Thumb, typer.Argument(help="up or down.")],
    better: Annotated[
        str | None,
        typer.Option(
            help="A model that would have been better, or worse; by default the next in line."
        ),
    ] = None,
    sender: Annotated[str, typer.Option("--as", help="Your name.")] = "sender",
    json_: Json = False,
) -> None:
    """Give an answer a thumb up or down, which counts as weak evidence."""
    from services.commands import vote as command

    raise typer.Exit(command.feedback(request_id, thumb, better, sender, as_json=json_))
