"""`pointsman table …`: routing tables."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from services.commands import servers
from services.commands.describing import describe_all
from services.commands.screen import as_json as print_json
from services.commands.screen import out, progress, usd
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import find, versions
from shared.adapters.onnx.load import load as load_encoder
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish, roll_back
from shared.adapters.tables import unpin as unpinned
from shared.catalog import models, tasks
from shared.contracts.outcome_file import ANSWER_TOKENS, BYTES_PER_TOKEN, Row, matrix, read_prices, read_rows
from shared.contracts.tables import TablePublished
from shared.routing.clustering import warm
from shared.routing.comparing import differences, origin
from shared.routing.errors import OutcomesInvalid, TableInvalid
from shared.routing.outcomes import build_table, choose_k
from shared.routing.simulation import simulated_scores, simulated_skills
from shared.routing.table import RoutingTable

PROFILE = "current"
"""The models of the simulated table."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a table is built from."""

    outcomes: Path | None = None
    prices: Path | None = None
    simulated: bool = False
    k: str = "auto"
    describe: str = "local"
    variant: str = "int8"
    encoder_dir: Path | None = None
    reference: str | None = None
    seed: int = 0


def build(source: Source, save: Path | None, note: str, *, as_json: bool) -> None:
    """Build a table; publish it, or write it to a file."""
    servers.find_running()
    if save is not None:
        table = asyncio.run(make_table(source))
        save.write_bytes(table.to_bytes())
        facts: dict[str, Any] = {"file": str(save), **_facts(table)}
    else:
        version = asyncio.run(build_and_publish(source, note))
        facts = {"version": str(version.ref), **_facts(version.read_table())}
    if as_json:
        print_json(facts)
    else:
        out.print(" · ".join(f"{name} [bold]{value}[/]" for name, value in facts.items()), soft_wrap=True)


async def build_and_publish(source: Source, note: str) -> TablePublished:
    """Build a table and publish it as the next version."""
    table = await make_table(source)
    return await publish(KafkaSettings(), RedisSettings(), table, note or f"built from {table.provenance.source}")


async def make_table(source: Source) -> RoutingTable:
    """Describe, embed, cluster, rank. Raises `OutcomesInvalid` or `EncoderInvalid`."""
    if source.simulated == (source.outcomes is not None):
        raise OutcomesInvalid("name an outcome matrix with --outcomes FILE, or --simulated for the 25 tasks with simulated outcomes")
    rows, prices, name = _simulated(source.seed) if source.outcomes is None else _read(source)
    warming = asyncio.create_task(asyncio.to_thread(warm))
    with progress() as bar:
        describing = bar.add_task("describing prompts", total=len(rows))
        prompts = [row.description or row.prompt for row in rows]
        given = np.array([row.description is not None for row in rows])
        described = await describe_all(prompts, source.describe, lambda: bar.advance(describing))
        texts = [p if g else d for p, d, g in zip(prompts, described, given, strict=True)]
        encoding = bar.add_task("embedding descriptions", total=len(rows))
        encoder = await asyncio.to_thread(load_encoder, source.encoder_dir, source.variant)
        chunks = []
        for start in range(0, len(texts), 64):
            chunks.append(await asyncio.to_thread(encoder.encode, texts[start : start + 64]))
            bar.advance(encoding, len(chunks[-1]))
        vectors = np.concatenate(chunks)
        clustering = bar.add_task("clustering and ranking", total=1)
        outcomes = matrix(rows, prices, texts)
        await warming
        k = await asyncio.to_thread(choose_k, outcomes, vectors, encoder.identity, source.seed) if source.k == "auto" else _number(source.k)
        table = await asyncio.to_thread(
            build_table,
            outcomes,
            vectors,
            encoder.identity,
            k=k,
            seed=source.seed,
            source=name,
            simulated=source.simulated,
            reference=source.reference,
        )
        bar.advance(clustering)
    return table


def _number(k: str) -> int:
    if not k.isdigit() or int(k) < 1:
        raise OutcomesInvalid(f"--k is a number of clusters or auto, not {k}")
    return int(k)


def _read(source: Source) -> tuple[list[Row], dict[str, models.Price], str]:
    assert source.outcomes is not None
    try:
        opener: Callable[..., Any] = gzip.open if source.outcomes.suffix == ".gz" else open
        with opener(source.outcomes, "rb") as file:
            rows = read_rows(file)
        prices = read_prices(source.prices.read_text()) if source.prices else {}
    except OSError as error:
        raise OutcomesInvalid(f"{error.filename or source.outcomes} can't be read: {error.strerror or error}") from None
    named = {model for row in rows for model in row.scores}
    catalog = models.load()
    prices = {m: catalog.models[m].price for m in named if m in catalog.models} | prices
    return rows, prices, source.outcomes.name


def _simulated(seed: int) -> tuple[list[Row], dict[str, models.Price], str]:
    """The 25 tasks with simulated scores for the models of the profile, and what the catalogue says of cost and latency."""
    pool, known = models.load().profile(PROFILE), tasks.load()
    ranks = np.argsort(np.argsort([m.price.output for m in pool])) / (len(pool) - 1)
    per_task = len(known[0].train)
    scores = simulated_scores(simulated_skills(len(known), list(ranks), seed), per_task, seed)
    prompts = [prompt for task in known for prompt in task.train]
    rows = [
        Row(
            prompt=prompt,
            scores={m.name: float(s) for m, s in zip(pool, line, strict=True)},
            cost_usd={m.name: m.price.cost_usd(len(prompt.encode()) / BYTES_PER_TOKEN, ANSWER_TOKENS) for m in pool},
            latency_s={m.name: m.latency_s for m in pool},
        )
        for prompt, line in zip(prompts, scores, strict=True)
    ]
    return rows, {}, "simulated outcomes on the 25 tasks"


def publish_file(path: Path, note: str, *, as_json: bool) -> None:
    """Publish a saved table."""
    try:
        table = RoutingTable.from_bytes(path.read_bytes())
    except OSError as error:
        raise TableInvalid(f"{path} can't be read: {error.strerror}") from None
    servers.find_running()
    _published(asyncio.run(publish(KafkaSettings(), RedisSettings(), table, note or f"from {path.name}")), as_json=as_json)


def rollback(name: str, *, as_json: bool) -> None:
    """Publish an old table as the next version, and pin it."""
    servers.find_running()
    _published(asyncio.run(roll_back(KafkaSettings(), RedisSettings(), name)), as_json=as_json)


def unpin(*, as_json: bool) -> None:
    """Let what is learnt replace the current table again."""
    servers.find_running()
    _published(asyncio.run(unpinned(KafkaSettings(), RedisSettings())), as_json=as_json)


def _published(version: TablePublished, *, as_json: bool) -> None:
    if as_json:
        print_json(_line(version))
    else:
        out.print(f"published [bold]{version.ref}[/] ({version.digest[:12]}): {version.note}")


def list_versions(*, as_json: bool) -> None:
    """List the versions there are."""
    servers.find_running()
    known = asyncio.run(versions(KafkaSettings()))
    if as_json:
        print_json([_line(v) for v in known])
        return
    if not known:
        out.print("no routing table has been published yet; build one with [bold]pointsman table build[/]")
        return
    shown = Table("version", "digest", "published", "clusters", "models", "outcomes", "note", box=None)
    for version in known:
        table = version.read_table()
        kind = {"simulated": "[yellow]simulated[/]"}.get(origin(table), origin(table))
        when = version.published_at.strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(str(version.ref), version.digest[:12], when, str(len(table.clusters)), str(len(table.models)), kind, version.note)
    out.print(shown)


def _line(version: TablePublished) -> dict[str, Any]:
    when = version.published_at.isoformat()
    return {"version": str(version.ref), "published_at": when, "note": version.note, **_facts(version.read_table())}


def _facts(table: RoutingTable) -> dict[str, Any]:
    return {
        "digest": table.digest[:12],
        "clusters": len(table.clusters),
        "models": len(table.models),
        "prompts": table.provenance.prompts,
        "outcomes": origin(table),
        "source": table.provenance.source,
        "encoder": str(table.encoder),
    }


def show(name: str, *, as_json: bool) -> None:
    """Show one table."""
    servers.find_running()
    version = asyncio.run(find(KafkaSettings(), name))
    table = version.read_table()
    if as_json:
        print_json(
            _line(version)
            | {"reference_model": table.reference_model, "rankings": [_ranking(table, c) for c in range(len(table.clusters))]}
        )
        return
    out.print(" · ".join(f"{k} [bold]{v}[/]" for k, v in _line(version).items() if v), soft_wrap=True)
    if table.provenance.simulated:
        out.print("[yellow]its rankings come from SIMULATED outcomes[/]")
    out.print(f"strengths are logits, 0 is {table.reference_model}; ± is one standard error")
    shown = Table("cluster", "task", "prompts", "strongest", "second", "cheapest", box=None)
    for c, cluster in enumerate(table.clusters):
        models_ = _ranking(table, c)["models"]
        first, second = (f"{m['model']} {m['strength']:+.2f} ± {m['standard_error']:.2f}" for m in models_[:2])
        cheapest = min(models_, key=lambda m: float(m["cost_usd"]))
        shown.add_row(cluster.id, cluster.label, str(cluster.size), first, second, f"{cheapest['model']} {usd(cheapest['cost_usd'])}")
    out.print(shown)


def _ranking(table: RoutingTable, c: int) -> dict[str, Any]:
    order = np.argsort(-table.strength[c], kind="stable")
    cluster = table.clusters[c]
    ranked = [
        {
            "model": table.models[m],
            "strength": float(table.strength[c, m]),
            "standard_error": float(table.standard_error[c, m]),
            "cost_usd": float(table.cost_usd[c, m]),
            "latency_s": float(table.latency_s[c, m]),
        }
        for m in order
    ]
    return {"cluster": cluster.id, "label": cluster.label, "size": cluster.size, "radius": cluster.radius, "models": ranked}


def diff(old: str, new: str, *, as_json: bool) -> None:
    """Compare two tables."""

    async def both() -> tuple[TablePublished, TablePublished]:
        return await find(KafkaSettings(), old), await find(KafkaSettings(), new)

    servers.find_running()
    before, after = asyncio.run(both())
    a, b = before.read_table(), after.read_table()
    changes = differences(a, b)
    if as_json:
        print_json({"old": str(before.ref), "new": str(after.ref), "equal": a == b, "changes": changes})
        return
    out.print(f"{before.ref} ({a.digest[:12]}) → {after.ref} ({b.digest[:12]})")
    for line in changes or (["the same table"] if a == b else ["only strengths, costs or latencies moved; the strongest models stayed"]):
        out.print(f"  {line}")
