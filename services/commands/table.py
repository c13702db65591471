"""`pointsman table …`: routing tables."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from services.local import servers
from services.screen import as_json as print_json
from services.screen import err, out
from services.workbench.building import TableSource, make_table
from services.workbench.outcomes import check_target
from shared.adapters.errors import BrokerUnreachable
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import find, versions
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish, roll_back
from shared.adapters.tables import unpin as unpinned
from shared.catalog import models
from shared.contracts.figures import usd
from shared.contracts.settings import AGREED
from shared.contracts.tables import Origin, TablePublished
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid
from shared.routing.learning.comparing import by_votes, differences, origin
from shared.routing.learning.task2vec import similar


@dataclass(frozen=True, slots=True)
class Publishing:
    """How a table is published."""

    note: str = ""
    pin: bool = False
    """Nothing learnt replaces it until it is unpinned."""
    strict: bool = False
    """Refuse a table with a model that nobody can call."""


def build(source: TableSource, save: Path | None, how: Publishing, *, as_json: bool) -> None:
    """Build a table; publish it, or write it to a file."""
    servers.find_running()
    check_target(save)
    table = asyncio.run(make_table(source))
    strangers = _check_models(table, how)
    facts: dict[str, Any]
    if save is not None:
        save.write_bytes(table.to_bytes())
        facts = {"file": str(save)}
    else:
        version = asyncio.run(_publish(table, f"built from {table.provenance.source}", how))
        facts = {"version": str(version.ref), "learning": _learning(version, strangers)}
    facts |= _facts(table) | {"models_nobody_can_call": strangers}
    if as_json:
        print_json(facts)
        return
    out.print(
        " · ".join(f"{name} [bold]{value}[/]" for name, value in facts.items() if value),
        soft_wrap=True,
    )
    if save is not None:
        out.print(f"look at it: [bold]pointsman table show {save}[/]", soft_wrap=True)


def publish_file(path: Path, how: Publishing, *, as_json: bool) -> None:
    """Publish a saved table."""
    table = _from_file(path)
    servers.find_running()
    strangers = _check_models(table, how)
    version = asyncio.run(_publish(table, f"from {path.name}", how))
    _published(version, strangers, as_json=as_json)


async def _publish(table: RoutingTable, note: str, how: Publishing) -> TablePublished:
    return await publish(KafkaSettings(), RedisSettings(), table, how.note or note, pinned=how.pin)


def _from_file(path: Path) -> RoutingTable:
    """A saved table. Raises `TableInvalid`."""
    try:
        return RoutingTable.from_bytes(path.read_bytes())
    except OSError as error:
        raise TableInvalid(f"{path} can't be read: {error.strerror}") from None


def _check_models(table: RoutingTable, how: Publishing) -> list[str]:
    """The models of a table that are in no catalogue, with a warning. Raises `TableInvalid` where
    that is wanted."""
    strangers = strangers_of(table)
    if not strangers:
        return []
    verb = "is" if len(strangers) == 1 else "are"
    text = (
        f"{', '.join(strangers)} {verb} in no catalogue, so services can't call "
        f"{'it' if len(strangers) == 1 else 'them'}; add a file of models and set "
        f"{AGREED['catalog']} (docs/providers.md)"
    )
    if how.strict:
        raise TableInvalid(text)
    err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
    return strangers


def strangers_of(table: RoutingTable) -> list[str]:
    """The models of a table that are in no catalogue, so that nobody can call them."""
    file = os.environ.get(AGREED["catalog"])
    return list(models.load(Path(file) if file else None).strangers(table.models))


def _learning(version: TablePublished, strangers: Sequence[str] = ()) -> str:
    """Whether what is learnt replaces a version, in words."""
    if version.pinned:
        return "pinned: learning does not replace it until `pointsman table unpin`"
    if version.came_by is Origin.brought and strangers:
        return "held: learning does not replace it while some of its models are in no catalogue"
    if strangers:
        return f"learning replaces it, and drops {', '.join(strangers)}, which no catalogue has"
    return "learning adds to it, and drops none of its models"


def rollback(name: str, *, as_json: bool) -> None:
    """Publish an old table as the next version, and pin it."""
    servers.find_running()
    version = asyncio.run(roll_back(KafkaSettings(), RedisSettings(), name))
    _published(version, strangers_of(version.read_table()), as_json=as_json)


def unpin(*, as_json: bool) -> None:
    """Let what is learnt replace the current table again."""
    servers.find_running()
    version = asyncio.run(unpinned(KafkaSettings(), RedisSettings()))
    _published(version, strangers_of(version.read_table()), as_json=as_json)


def _published(version: TablePublished, strangers: Sequence[str], *, as_json: bool) -> None:
    learning = _learning(version, strangers)
    if as_json:
        print_json(
            _line(version) | {"learning": learning, "models_nobody_can_call": list(strangers)}
        )
        return
    out.print(f"published [bold]{version.ref}[/] ({version.digest[:12]}): {escape(version.note)}")
    out.print(learning)


def list_versions(files: Sequence[Path], *, whole: bool, as_json: bool) -> None:
    """List the versions there are, or saved tables. Versions that have new rankings and nothing
    else are passed over, unless the `whole` list is wanted."""
    if files:
        _list_files(files, as_json=as_json)
        return
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
    listed = [v for v in published if whole or v.remarkable or v is published[-1]]
    for version in listed:
        pinned = " [yellow](pinned)[/]" if version.pinned else ""
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
            escape(version.note) + pinned,
        )
    out.print(shown)
    if folded := len(published) - len(listed):
        out.print(f"[dim]and {folded} with new rankings alone: --all shows them[/]")
    out.print(
        "the newest is in use; "
        f"{_learning(published[-1], strangers_of(published[-1].read_table()))}"
    )


def _list_files(files: Sequence[Path], *, as_json: bool) -> None:
    facts = [{"file": str(path), **_facts(_from_file(path))} for path in files]
    if as_json:
        print_json(facts)
        return
    shown = Table("file", "digest", "clusters", "models", "outcomes", "source", box=None)
    for one in facts:
        shown.add_row(
            *(str(one[k]) for k in ("file", "digest", "clusters", "models", "outcomes", "source"))
        )
    out.print(shown)


def _line(version: TablePublished) -> dict[str, Any]:
    when = version.published_at.isoformat()
    return {
        "version": str(version.ref),
        "published_at": when,
        "remarkable": version.remarkable,
        "pinned": version.pinned,
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
    """Show one table: a version, or a saved file."""
    ((table, facts),) = _tables(name)
    if as_json:
        print_json(
            facts
            | {
                "reference_model": table.reference_model,
                "rankings": [_ranking(table, c) for c in range(len(table.clusters))],
            }
        )
        return
    out.print(
        " · ".join(f"{k} [bold]{v}[/]" for k, v in facts.items() if v and k != "remarkable"),
        soft_wrap=True,
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
            *(f"{m['model']} {m['success']:.2f} ± {m['success_error']:.2f}" for m in models_[:2]),
            *([""] * (2 - len(models_))),
        )
        cheapest = min(models_, key=lambda m: float(m["cost_usd"]))
        shown.add_row(
            cluster.id,
            escape(cluster.label),
            str(cluster.size),
            first,
            second,
            f"{cheapest['model']} {usd(cheapest['cost_usd'])}",
        )
    out.print(shown)


def _tables(*names: str) -> list[tuple[RoutingTable, dict[str, Any]]]:
    """Tables and what is known of them, by file where there is one of that name, else by version:
    only then a broker is needed."""
    found: list[tuple[RoutingTable, dict[str, Any]]] = []
    for name in names:
        if Path(name).is_file():
            table = _from_file(Path(name))
            found.append((table, {"file": name, **_facts(table)}))
            continue
        servers.find_running()
        try:
            version = asyncio.run(find(KafkaSettings(), name))
        except BrokerUnreachable as error:
            if "/" not in name and "." not in name:
                raise
            raise TableInvalid(f"there is no file {name}; and for a version: {error}") from None
        found.append((version.read_table(), _line(version)))
    return found


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
    """Compare two tables: versions, or saved files."""
    (a, first), (b, second) = _tables(old, new)
    names = [str(facts.get("version") or facts["file"]) for facts in (first, second)]
    changes = differences(a, b)
    if as_json:
        print_json({"old": names[0], "new": names[1], "equal": a == b, "changes": changes})
        return
    out.print(f"{names[0]} ({a.digest[:12]}) → {names[1]} ({b.digest[:12]})")
    for line in changes or (
        ["the same table"]
        if a == b
        else ["only successes, costs or latencies moved; the best models stayed"]
    ):
        out.print(f"  {escape(line)}")
