"""`pointsman table …`: routing tables."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from services.local import servers
from services.screen import as_json as print_json
from services.screen import out
from services.workbench.building import TableSource, build_and_publish, make_table
from services.workbench.outcomes import check_target
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import find, versions
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish, roll_back
from shared.adapters.tables import unpin as unpinned
from shared.contracts.figures import usd
from shared.contracts.tables import TablePublished
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid
from shared.routing.learning.comparing import by_votes, differences, origin
from shared.routing.learning.task2vec import similar


def build(source: TableSource, save: Path | None, note: str, *, as_json: bool) -> None:
    """Build a table; publish it, or write it to a file."""
    servers.find_running()
    check_target(save)
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
        out.print(
            " · ".join(f"{name} [bold]{value}[/]" for name, value in facts.items()), soft_wrap=True
        )


def publish_file(path: Path, note: str, *, as_json: bool) -> None:
    """Publish a saved table."""
    try:
        table = RoutingTable.from_bytes(path.read_bytes())
    except OSError as error:
        raise TableInvalid(f"{path} can't be read: {error.strerror}") from None
    servers.find_running()
    _published(
        asyncio.run(publish(KafkaSettings(), RedisSettings(), table, note or f"from {path.name}")),
        as_json=as_json,
    )


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
    published = asyncio.run(versions(KafkaSettings()))
    if as_json:
        print_json([_line(v) for v in published])
        return
    if not published:
        out.print(
            "no routing table has been published yet; build one with [bold]pointsman table build[/]"
        )
        return
    shown = Table(
        "version", "digest", "published", "clusters", "models", "outcomes", "note", box=None
    )
    for version in published:
        table = version.read_table()
        kind = {"simulated": "[yellow]simulated[/]"}.get(origin(table), origin(table))
        when = version.published_at.strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(
            str(version.ref),
            version.digest[:12],
            when,
            str(len(table.clusters)),
            str(len(table.models)),
            kind,
            version.note,
        )
    out.print(shown)


def _line(version: TablePublished) -> dict[str, Any]:
    when = version.published_at.isoformat()
    return {
        "version": str(version.ref),
        "published_at": when,
        "note": version.note,
        **_facts(version.read_table()),
    }


def _facts(table: RoutingTable) -> dict[str, Any]:
    return {
        "digest": table.digest[:12],
        "clusters": len(table.clusters),
        "models": len(table.models),
        "prompts": table.provenance.prompts,
        "outcomes": origin(table),
        "source": table.provenance.source,
        "encoder": str(table.encoder),
        "representation": table.projection.kind if table.projection else "plain",
        "estimator": table.estimator is not None or table.predictor is not None,
        "cascade": len(table.cascade.models) if table.cascade else 0,
        "reads": table.text or "what the embedder's setting says",
    }


def show(name: str, *, as_json: bool) -> None:
    """Show one table."""
    servers.find_running()
    version = asyncio.run(find(KafkaSettings(), name))
    table = version.read_table()
    if as_json:
        print_json(
            _line(version)
            | {
                "reference_model": table.reference_model,
                "rankings": [_ranking(table, c) for c in range(len(table.clusters))],
            }
        )
        return
    out.print(
        " · ".join(f"{k} [bold]{v}[/]" for k, v in _line(version).items() if v), soft_wrap=True
    )
    if table.provenance.simulated:
        out.print("[yellow]its rankings come from SIMULATED outcomes[/]")
    what = (
        f"the probability of winning against {table.reference_model}"
        if by_votes(table)
        else "the expected score of an answer"
    )
    out.print(f"success is {what}; ± is one standard error")
    shown = Table("cluster", "task", "prompts", "best", "second", "cheapest", box=None)
    for c, cluster in enumerate(table.clusters):
        models_ = _ranking(table, c)["models"]
        first, second = (
            f"{m['model']} {m['success']:.2f} ± {m['success_error']:.2f}" for m in models_[:2]
        )
        cheapest = min(models_, key=lambda m: float(m["cost_usd"]))
        shown.add_row(
            cluster.id,
            cluster.label,
            str(cluster.size),
            first,
            second,
            f"{cheapest['model']} {usd(cheapest['cost_usd'])}",
        )
    out.print(shown)


def _ranking(table: RoutingTable, c: int) -> dict[str, Any]:
    order = np.argsort(-table.strength[c], kind="stable")
    cluster = table.clusters[c]
    ranked = [
        {
            "model": table.models[m],
            "success": float(table.success[c, m]),
            "success_error": float(
                table.success[c, m] * (1 - table.success[c, m]) * table.standard_error[c, m]
            ),
            "strength": float(table.strength[c, m]),
            "standard_error": float(table.standard_error[c, m]),
            "cost_usd": float(table.cost_usd[c, m]),
            "latency_s": float(table.latency_s[c, m]),
        }
        for m in order
    ]
    alike = [
        {"cluster": table.clusters[i].id, "label": table.clusters[i].label, "distance": d}
        for i, d in similar(table, c)
    ]
    facts = {
        "cluster": cluster.id,
        "label": cluster.label,
        "size": cluster.size,
        "radius": cluster.radius,
    }
    return facts | {"models": ranked, "similar": alike}


def diff(old: str, new: str, *, as_json: bool) -> None:
    """Compare two tables."""

    async def both() -> tuple[TablePublished, TablePublished]:
        return await find(KafkaSettings(), old), await find(KafkaSettings(), new)

    servers.find_running()
    before, after = asyncio.run(both())
    a = before.read_table()
    b = after.read_table()
    changes = differences(a, b)
    if as_json:
        print_json(
            {"old": str(before.ref), "new": str(after.ref), "equal": a == b, "changes": changes}
        )
        return
    out.print(f"{before.ref} ({a.digest[:12]}) → {after.ref} ({b.digest[:12]})")
    for line in changes or (
        ["the same table"]
        if a == b
        else ["only successes, costs or latencies moved; the best models stayed"]
    ):
        out.print(f"  {line}")
