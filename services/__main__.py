"""The command line: `pointsman`, or `python -m services`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from services.commands import supervise
from services.commands.screen import err, out
from shared.contracts.parts import Profile
from shared.contracts.scopes import Scope

app = typer.Typer(
    name="pointsman",
    help="Routes prompts to the right language model. Start with `pointsman demo`; `pointsman "
    "doctor` says what is missing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
table_app = typer.Typer(
    help="Routing tables: build, list, show, compare, roll back.", no_args_is_help=True
)
model_app = typer.Typer(
    help="Encoders: prepare the default one, export others, show one.", no_args_is_help=True
)
dead_app = typer.Typer(
    help="Records that a service could not take: look at them, send them again.",
    no_args_is_help=True,
)
keys_app = typer.Typer(
    help="Keys for the gateway and the console: make, list, revoke.", no_args_is_help=True
)
app.add_typer(keys_app, name="keys")
app.add_typer(table_app, name="table")
app.add_typer(model_app, name="model")
app.add_typer(dead_app, name="dead-letters")

Thumb = Literal["up", "down"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
KeyFile = Annotated[
    Path | None, typer.Option(help="The file of keys; by default POINTSMAN_KEYS_FILE.")
]
Variant = Annotated[
    str,
    typer.Option(
        help="int8, fp32, fp16, int8-whole or fp32-whole: which variant of the default encoder."
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
    typer.Option(min=0, help="Spend at most so many USD on 1,000 prompts, for the most success."),
]
Describe = Annotated[
    str,
    typer.Option(help="Who describes prompts: prompt, local or llm (as the describer's backend)."),
]


@app.callback(invoke_without_command=True)
def _root(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show:
        out.print(f"pointsman {version('pointsman')}")
        raise typer.Exit


@app.command()
def run(
    service: Annotated[
        str,
        typer.Argument(help="One of those that `pointsman up` starts; a wrong name lists them."),
    ],
) -> None:
    """Run one service until it is told to stop."""
    from services.commands import run as command
    from services.flows import names

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
            "--hot-path", help="Only from prompt to decision: nobody answers, judges or learns."
        ),
    ] = False,
) -> None:
    """Start every service as a process of its own, with embedded servers unless real ones are
    named. Ctrl-C drains and stops."""
    supervise.warm()
    from services.commands import up as command

    raise typer.Exit(command.up(kafka, redis, hot_path=hot_path))


def _preferences(
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


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, . _ @ -")],
    scope: Annotated[list[Scope], typer.Option(help="What it is good for; may be repeated.")],
    file: KeyFile = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="How often it may ask.")
    ] = None,
    usd_per_day: Annotated[
        float | None, typer.Option(min=0, help="What its answers may cost a day (UTC).")
    ] = None,
    usd_per_point: UsdPerPoint = None,
    s_per_point: SecondsPerPoint = None,
    keep: Keep = None,
    spend_usd_per_1000: Spend = None,
    json_: Json = False,
) -> None:
    """Make a key and print it once; the file keeps its hash."""
    from services.commands import keys as command

    preferences = _preferences(usd_per_point, s_per_point, keep, spend_usd_per_1000)
    limits = (requests_per_minute, usd_per_day)
    raise typer.Exit(
        command.create(name, frozenset(scope), file, *limits, preferences, as_json=json_)
    )


@keys_app.command("list")
def keys_list(file: KeyFile = None, json_: Json = False) -> None:
    """Print whose keys there are and what they are good for."""
    from services.commands import keys as command

    raise typer.Exit(command.show(file, as_json=json_))


@keys_app.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(help="Whose key.")], file: KeyFile = None
) -> None:
    """Take a key out; it stops working within a second or two."""
    from services.commands import keys as command

    raise typer.Exit(command.revoke(name, file))


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

    preferences = _preferences(usd_per_point, s_per_point, keep, spend_usd_per_1000)
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
def rank(
    profile: Annotated[
        str, typer.Option(help="The catalogue's models that are ranked.")
    ] = "current",
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Simulate all language models, even if there is a key."),
    ] = False,
    prompts: Annotated[
        int, typer.Option(min=1, max=12, help="Prompts of each of the 25 tasks.")
    ] = 12,
    budget: Annotated[
        float,
        typer.Option(min=0, help="USD that judging may cost; the estimate must be below it, too."),
    ] = 25.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be asked and what it would cost.")
    ] = False,
    results: Annotated[
        Path,
        typer.Option(help="Folder for results; a run that was stopped goes on from what is there."),
    ] = Path("rank-results"),
    kafka: Annotated[
        str | None, typer.Option(help="A real Kafka's address; by default an embedded one.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="A real Redis' URL; by default an embedded one.")
    ] = None,
    json_: Json = False,
) -> None:
    """Have every model answer the 25 tasks and every pair judged six times, through the services;
    print and write the ranking."""
    supervise.warm()
    from services.commands import rank as command

    options: dict[str, Any] = {
        "simulate": simulate,
        "dry_run": dry_run,
        "kafka": kafka,
        "redis": redis,
        "as_json": json_,
    }
    raise typer.Exit(command.rank(profile, prompts, results, budget, **options))


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
    """Rate pairs of answers, blind: no names, sides drawn by lot, those first of which least is
    known."""
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
    sender: Annotated[str, typer.Option("--as", help="Who says so.")] = "sender",
    json_: Json = False,
) -> None:
    """Say whether an answer was good; it enters the evaluations as weak evidence."""
    from services.commands import vote as command

    raise typer.Exit(command.feedback(request_id, thumb, better, sender, as_json=json_))


@app.command()
def evidence(json_: Json = False) -> None:
    """Show how far votes can be relied on: ties, position bias, agreement of judges and people,
    money spent today."""
    from services.commands import evidence as command

    raise typer.Exit(command.evidence(as_json=json_))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8089,
    seed: Annotated[int, typer.Option(help="What is true follows from it.")] = 0,
    time_scale: Annotated[
        float, typer.Option(min=0, help="How much of a model's latency is really waited; 0: none.")
    ] = 0.0,
    script: Annotated[
        Path | None,
        typer.Option(help="YAML of the very answers to give instead (docs/providers.md)."),
    ] = None,
) -> None:
    """Serve simulated language models and judges as an OpenAI-compatible API, with a truth that is
    known."""
    from services.commands import simulate as command

    raise typer.Exit(command.simulate(host, port, seed, time_scale, script))


@app.command()
def topics(
    create: Annotated[
        bool, typer.Option("--create", help="Create what is missing, widen, mend settings.")
    ] = False,
    asyncapi: Annotated[
        Path | None,
        typer.Option(help="Write the AsyncAPI document of all services to this file instead."),
    ] = None,
    json_: Json = False,
) -> None:
    """Check the topics against what they should be; exit code 1 if they are not."""
    from services.commands import topics as command

    raise typer.Exit(
        command.asyncapi(asyncapi) if asyncapi else command.topics(create=create, as_json=json_)
    )


@app.command()
def config(json_: Json = False) -> None:
    """Show every setting, its value and what it means. Secrets are not shown."""
    from services.commands import config as command

    command.config(as_json=json_)


@app.command()
def doctor(json_: Json = False) -> None:
    """Say what is missing, and the command that mends it."""
    from services.commands import doctor as command

    raise typer.Exit(command.doctor(as_json=json_))


@table_app.command("build")
def table_build(
    outcomes: Annotated[
        Path | None,
        typer.Option(
            help="Outcome matrix, JSON lines or CSV, .gz is unpacked. docs/outcomes.md has the "
            "format."
        ),
    ] = None,
    votes: Annotated[
        Path | None,
        typer.Option(
            help="Preferences in place of outcomes: pairs with a winner, JSON or CSV. "
            "docs/votes.md has the forms."
        ),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Prices in USD per million tokens, JSON.")
    ] = None,
    simulated: Annotated[
        bool,
        typer.Option(
            "--simulated", help="The 25 tasks with simulated outcomes, as the demo has it."
        ),
    ] = False,
    k: Annotated[
        str,
        typer.Option(
            help="Number of clusters, or auto: the number that routes best by cross-validation."
        ),
    ] = "auto",
    representation: Annotated[
        str,
        typer.Option(
            help="plain, contrastive, delta or keys; auto: plain or contrastive, whichever routes "
            "best by cross-validation."
        ),
    ] = "auto",
    estimator: Annotated[
        str, typer.Option(help="yes, no, or auto: regressions and committees if they route better.")
    ] = "auto",
    text: Annotated[
        str,
        typer.Option(
            help="What is embedded: prompt, description, both, or auto: what routes best."
        ),
    ] = "auto",
    describe: Describe = "local",
    variant: Variant = "int8",
    encoder_dir: Annotated[
        Path | None, typer.Option(help="Another encoder than the default one.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference model; by default the best overall.")
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option(
            help="Learn to tell good answers of cheap models, where the outcomes have responses."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of clustering and simulation.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Write the table to this file instead of publishing it.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why it is published; shown in the list.")] = "",
    json_: Json = False,
) -> None:
    """Build a routing table from an outcome matrix, or from votes, and publish it."""
    from services.commands import table as command

    source = command.Source(
        outcomes,
        prices,
        simulated,
        k,
        representation,
        estimator,
        text,
        describe,
        variant,
        encoder_dir,
        reference,
        seed,
        votes,
        cascade,
    )
    command.build(source, save, note, as_json=json_)


@app.command()
def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Outcome matrices: JSON lines or CSV, .gz is unpacked (docs/outcomes.md)."
        ),
    ],
    prices: Annotated[
        Path | None, typer.Option(help="Prices in USD per million tokens, JSON.")
    ] = None,
    splits: Annotated[int, typer.Option(min=1, max=200, help="Random 70/30 splits.")] = 5,
    folds: Annotated[
        int | None,
        typer.Option(min=2, max=50, help="Cross-validation with so many folds instead of splits."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Clusters of Pointsman's tables; by default as `table build` takes."
        ),
    ] = None,
    robustness: Annotated[
        int,
        typer.Option(
            min=0, help="Prompts that are disturbed to see whether choices stay; 0: none."
        ),
    ] = 100,
    describe: Annotated[
        str,
        typer.Option(
            help="Also measure descriptions by: local or llm; auto: those of the file, if it has "
            "any."
        ),
    ] = "auto",
    variant: Variant = "int8",
    encoder_dir: Annotated[
        Path | None, typer.Option(help="Another encoder than the default one.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report with pictures: a Markdown file.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of intervals and disturbances.")
    ] = 0,
    json_: Json = False,
) -> None:
    """Say what routing would have gained on known outcomes, by the code that the services run,
    beside the field's baselines."""
    from services.commands import evaluate as command

    options = command.Options(
        prices, splits, folds, k, describe, variant, encoder_dir, robustness, seed
    )
    command.run(files, options, report, as_json=json_)


@table_app.command("publish")
def table_publish(
    file: Annotated[Path, typer.Argument(help="A table that `table build --save` wrote.")],
    note: Annotated[str, typer.Option(help="Why; shown in the list.")] = "",
    json_: Json = False,
) -> None:
    """Publish a saved table as the next version."""
    from services.commands import table as command

    command.publish_file(file, note, as_json=json_)


@table_app.command("list")
def table_list(json_: Json = False) -> None:
    """List the versions, oldest first."""
    from services.commands import table as command

    command.list_versions(as_json=json_)


@table_app.command("show")
def table_show(
    name: Annotated[
        str, typer.Argument(help="A version, the beginning of a digest, or current.")
    ] = "current",
    json_: Json = False,
) -> None:
    """Show a table: its clusters, and the strongest models of each."""
    from services.commands import table as command

    command.show(name, as_json=json_)


@table_app.command("diff")
def table_diff(
    old: str, new: Annotated[str, typer.Argument()] = "current", json_: Json = False
) -> None:
    """Compare two tables: clusters that came, went or moved, and where another model is strongest
    now."""
    from services.commands import table as command

    command.diff(old, new, as_json=json_)


@table_app.command("rollback")
def table_rollback(
    name: Annotated[
        str, typer.Argument(help="The version, or the beginning of its digest, to go back to.")
    ],
    json_: Json = False,
) -> None:
    """Publish an old table as the next version and pin it; services take it at once."""
    from services.commands import table as command

    command.rollback(name, as_json=json_)


@table_app.command("unpin")
def table_unpin(json_: Json = False) -> None:
    """After a rollback: let what is learnt from traffic replace the current table again."""
    from services.commands import table as command

    command.unpin(as_json=json_)


@model_app.command("prepare")
def model_prepare(
    variant: Variant = "int8",
    source: Annotated[
        Path | None,
        typer.Option(help="Directory with model.safetensors, config.json and tokenizer.json."),
    ] = None,
    json_: Json = False,
) -> None:
    """Make the default encoder, all-MiniLM-L6-v2, from its published weights; without torch."""
    from services.commands import model as command

    command.prepare_default(variant, source, as_json=json_)


@model_app.command("export")
def model_export(
    model: Annotated[
        str, typer.Argument(help="A hub id or a local directory: BERT, DistilBERT, ALBERT.")
    ],
    target: Annotated[Path, typer.Argument(help="Directory to write.")],
    quantization: Annotated[str, typer.Option(help="int8 or fp32.")] = "fp32",
    json_: Json = False,
) -> None:
    """Export an encoder through optimum (needs the extra `export`)."""
    from services.commands import model as command

    command.export_model(model, target, quantization, as_json=json_)


@model_app.command("show")
def model_show(
    directory: Annotated[Path | None, typer.Argument()] = None,
    variant: Variant = "int8",
    json_: Json = False,
) -> None:
    """Load an encoder and show what it is."""
    from services.commands import model as command

    command.show(directory, variant, as_json=json_)


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
    """Draw which service hears, says and reads which topics."""
    from services.commands import flow as command

    command.show(write, as_json=json_)


@dead_app.command("list")
def dead_list(json_: Json = False) -> None:
    """List the dead letters with the reason of each."""
    from services.commands import dead_letters as command

    command.list_letters(as_json=json_)


@dead_app.command("show")
def dead_show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
) -> None:
    """Write the original bytes of one dead letter to standard output."""
    from services.commands import dead_letters as command

    command.show(id_)


@dead_app.command("replay")
def dead_replay(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them; none: all.")
    ] = None,
    value: Annotated[
        Path | None,
        typer.Option(help="Send the content of this file in place of the original (with one ID)."),
    ] = None,
    mended: Annotated[
        Path | None,
        typer.Option(help='File of many mended ones: {"id": …, "value": {…}} a line.', exists=True),
    ] = None,
    json_: Json = False,
) -> None:
    """Send dead letters again to the topics they came from."""
    from services.commands import dead_letters as command

    command.replay(ids or [], value, mended, as_json=json_)


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
    """Publish a file of prompts (or the 25 tasks' own) at a rate, without waiting for what comes of
    them."""
    from services.commands import send as command

    command.send(prompts, rate, answer=answer, repeat=repeat, as_json=json_)


@app.command()
def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[REQUEST_ID]...", help="Requests.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="All requests of this session.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE: all requests that bear it; may be repeated."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="All requests that came with this key to the gateway.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; otherwise only what there is is shown.")
    ] = False,
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Also delete topics up to the newest of theirs, with all that lies before.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Delete what is known of requests, of a session or of a sender, as far as that can be, and say
    what stays and until when."""
    from services.commands import forget as command

    tagged = [*(metadata or []), *([f"gateway.key={key}"] if key else [])]
    command.forget(ids or [], session, tagged, yes=yes, now=now, as_json=json_)


def main() -> None:
    """Run the command line. What goes wrong ends with one clear sentence and exit code 1."""
    from shared.adapters.errors import AdapterError
    from shared.catalog.models import CatalogError
    from shared.contracts.errors import ContractError
    from shared.routing.errors import RoutingError

    try:
        app()
    except ValidationError as error:
        from services.commands.config import explain

        err.print(
            f"[bold red]error:[/] a setting is wrong: {explain(error) or error}", soft_wrap=True
        )
        sys.exit(1)
    except (AdapterError, CatalogError, ContractError, RoutingError) as error:
        err.print(f"[bold red]error:[/] {error}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
