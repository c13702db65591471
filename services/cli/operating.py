"""What operators ask and do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import Json

app = typer.Typer()


@app.command()
def topics(
    create: Annotated[
        bool, typer.Option("--create", help="Create and widen topics, and correct their settings.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for a Kafka that does not answer yet.")
    ] = 0.0,
    asyncapi: Annotated[
        Path | None,
        typer.Option(help="Write the AsyncAPI document of all services to this file instead."),
    ] = None,
    json_: Json = False,
) -> None:
    """Check topics and their settings; exit code 1 if something is wrong."""
    from services.commands import topics as command

    raise typer.Exit(
        command.asyncapi(asyncapi)
        if asyncapi
        else command.topics(create=create, wait_s=wait, as_json=json_)
    )


@app.command()
def connect(
    client: Annotated[
        str, typer.Argument(help="claude-code, codex, opencode, cursor or openwebui.")
    ],
    address: Annotated[str, typer.Option(help="Where the gateway is.")] = "http://127.0.0.1:8787",
    key: Annotated[
        str | None,
        typer.Option(help="The key that the client is to use; by default POINTSMAN_API_KEY."),
    ] = None,
    model: Annotated[str, typer.Option(help="auto, auto:PROFILE, or a model's name.")] = "auto",
    write: Annotated[
        bool, typer.Option("--write", help="Write the client's settings, keeping a backup.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Restore the earlier settings.")] = False,
    json_: Json = False,
) -> None:
    """Show the settings that point an agent, an editor or a chat front-end at the gateway."""
    from services.commands import connect as command

    raise typer.Exit(
        command.connect(client, address, key, model, write=write, undo=undo, as_json=json_)
    )


@app.command()
def config(
    check: Annotated[
        bool,
        typer.Option("--check", help="Only say what is wrong; exit code 1 if anything is."),
    ] = False,
    json_: Json = False,
) -> None:
    """Show every setting, its value and what it means. Secrets are not shown."""
    from services.commands import config as command

    if check:
        raise typer.Exit(command.check(as_json=json_))
    command.config(as_json=json_)


@app.command()
def doctor(
    ask: Annotated[
        bool, typer.Option("--ask", help="Also call the describer's model, which costs a little.")
    ] = False,
    json_: Json = False,
) -> None:
    """Check the installation, and print the commands that repair what is wrong."""
    from services.commands import doctor as command

    raise typer.Exit(command.doctor(ask=ask, as_json=json_))


@app.command()
def rights(
    form: Annotated[
        str,
        typer.Option(help="list, kafka (kafka-acls.sh), strimzi (KafkaUser) or redis (ACL file)."),
    ] = "list",
    json_: Json = False,
) -> None:
    """List what each service may do to Kafka and Redis, in the forms that servers take."""
    from services.commands import rights as command

    if form not in ("list", "kafka", "strimzi", "redis"):
        raise typer.BadParameter("list, kafka, strimzi or redis", param_hint="--form")
    command.show(form, as_json=json_)


@app.command()
def flow(
    write: Annotated[
        Path | None, typer.Option(help="Put drawing and table between the marks of this file.")
    ] = None,
    json_: Json = False,
) -> None:
    """Draw which service reads and writes which topics."""
    from services.commands import flow as command

    command.show(write, as_json=json_)


@app.command()
def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[REQUEST_ID]...", help="Requests.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="All requests of this session.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE: all requests with it; may be repeated."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="All requests that came with this key to the gateway.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete; without it the command only shows what there is.")
    ] = False,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Also delete every record up to and including the newest matching one. Other "
            "people's older records go with it.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Delete the data of requests, of a session or of a sender, and say what stays and
    until when."""
    from services.commands import forget as command

    tagged = [*(metadata or []), *([f"gateway.key={key}"] if key else [])]
    command.forget(ids or [], session, tagged, yes=yes, now=now, as_json=json_)
