"""Running it, and sending prompts through it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json
from services.local import supervise

app = typer.Typer()


@app.command()
def run(
    service: Annotated[
        str,
        typer.Argument(help="One of those that `pointsman up` starts; a wrong name lists them."),
    ],
) -> None:
    """Run one service until it is told to stop."""
    from services.flows import names
    from services.local import run as command

    if service not in names():
        raise typer.BadParameter(f"there is no service {service}; there are {', '.join(names())}")
    raise typer.Exit(command.run(service))


@app.command()
def up(
    kafka: Annotated[
        str | None,
        typer.Option(
            help="A real Kafka's address; by default POINTSMAN_KAFKA_BOOTSTRAP_SERVERS, else an "
            "embedded one."
        ),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            help="A real Redis' URL; by default POINTSMAN_REDIS_URL, else an embedded one."
        ),
    ] = None,
    hot_path: Annotated[
        bool,
        typer.Option(
            "--hot-path",
            help="Only the services from prompt to decision, without answers and learning.",
        ),
    ] = False,
) -> None:
    """Start every service as a process of its own, with embedded servers unless real ones are
    named. Ctrl-C drains and stops."""
    supervise.warm()
    from services.commands import up as command

    raise typer.Exit(command.up(kafka, redis, hot_path=hot_path))


@app.command()
def demo(
    prompts: Annotated[
        Path | None,
        typer.Argument(help="A file of prompts: plain text, one a line, or JSON lines."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Prompts published each second.")] = 20.0,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Leave the console and the gateway open when it is done, until Ctrl-C."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Route a file of prompts through the services on embedded servers, and show each decision as
    it arrives."""
    supervise.warm()
    from services.commands import demo as command

    raise typer.Exit(command.demo(prompts, rate, as_json=json_, keep=keep))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8089,
    seed: Annotated[int, typer.Option(help="The simulated truth follows from it.")] = 0,
    time_scale: Annotated[
        float, typer.Option(min=0, help="Fraction of a model's latency to really wait; 0: none.")
    ] = 0.0,
    script: Annotated[
        Path | None,
        typer.Option(help="YAML with the exact answers to give instead (docs/providers.md)."),
    ] = None,
) -> None:
    """Serve simulated language models and judges as an OpenAI-compatible API, with a truth that is
    known."""
    from services.commands import simulate as command

    raise typer.Exit(command.simulate(host, port, seed, time_scale, script))


@app.command()
def send(
    prompts: Annotated[
        Path | None,
        typer.Argument(
            help="A file of prompts: plain text, one a line, or JSON lines.", exists=True
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Prompts a second.")] = 2.0,
    answer: Annotated[
        bool, typer.Option("--answer", help="Have the selected models answer them.")
    ] = False,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Begin again at the end, until Ctrl-C.")
    ] = False,
    json_: Json = False,
) -> None:
    """Publish a file of prompts (or the 25 tasks' own) at a rate, without waiting for decisions."""
    from services.commands import send as command

    command.send(prompts, rate, answer=answer, repeat=repeat, as_json=json_)
