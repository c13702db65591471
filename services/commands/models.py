"""`pointsman models`: the catalogue, what its models can take and cost, and bringing it up to date
from a public list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from services.screen import as_json as print_json
from services.screen import err, out
from shared.adapters.llm.fetching import fetch_text
from shared.catalog import lists
from shared.catalog.models import DEFAULT, CatalogError, Model, load, read
from shared.catalog.writing import with_models
from shared.routing.deciding.abilities import Abilities, Ability


def show(catalog: Path | None, profile: str | None, *, as_json: bool) -> None:
    """List the models. Raises `CatalogError`."""
    known = load(catalog)
    models = known.profile(profile) if profile else tuple(known.models.values())
    if as_json:
        print_json([model.model_dump(mode="json") for model in models])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("input", "cached", "output", "context", "answer"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("can take")
    for model in models:
        table.add_row(
            model.name,
            f"{model.price.input:g}",
            f"{model.price.cached:g}",
            f"{model.price.output:g}",
            _thousands(model.context_tokens),
            "" if model.largest_output is None else _thousands(model.largest_output),
            "nobody says" if model.can is None else _abilities(model.can),
        )
    out.print(table)
    oldest = min(model.as_of for model in models)
    out.print(
        "\nUSD per million tokens; context and longest answer in tokens. The oldest price is of "
        f"{oldest:%Y-%m-%d}; `pointsman models update` takes new ones from a public list."
    )


SHORT = {
    Ability.image: "images",
    Ability.audio: "audio",
    Ability.video: "video",
    Ability.document: "documents",
    Ability.tools: "tools",
    Ability.json: "JSON",
    Ability.structured_output: "schemas",
    Ability.reasoning: "thinks",
    Ability.image_output: "draws",
    Ability.audio_output: "speaks",
}
"""What is shown of abilities; parallel tools are in `--json`."""


def _abilities(can: frozenset[Ability]) -> str:
    has = Abilities(can=can)
    shown = [word for ability, word in SHORT.items() if not has.lacks(frozenset({ability}))]
    if Ability.structured_output in can:
        shown.remove(SHORT[Ability.json])
    return ", ".join(shown) or "text"


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:.0f}k" if tokens >= 10_000 else str(tokens)


@dataclass(frozen=True, slots=True)
class Change:
    """What one field of a model becomes."""

    model: str
    field: str
    before: Any
    after: Any


def update(
    source: str,
    catalog: Path | None,
    add: list[str],
    called: str | None,
    *,
    write: bool,
    as_json: bool,
) -> int:
    """Compare the catalogue with a public list, and write it if that is wanted. Returns the exit
    code: 1 if the list names none of the models. Raises `CatalogError`."""
    path = catalog or DEFAULT
    known = load(path)
    text = fetch_text(source) if "://" in source else _read(source)
    listed = lists.read(text, called or source)
    today = datetime.now(UTC).date()
    fresh: dict[str, Model] = {}
    missing: list[str] = []
    for model in known.models.values():
        entry = listed.find(model.openrouter, *model.ids.values(), model.name)
        if entry is None:
            missing.append(model.name)
        else:
            fresh[model.name] = entry.applied_to(model, today)
    for name in add:
        entry = listed.find(name)
        if entry is None:
            raise CatalogError(f"the list has no model {name}")
        made = entry.as_model(today)
        there = known.models.get(made.name)
        fresh[made.name] = made if there is None else entry.applied_to(there, today)
    changes = [
        change
        for name, model in fresh.items()
        for change in _changes(known.models.get(name), model)
    ]
    written = write and bool(changes)
    if written:
        target = path if catalog is not None else Path("models.yaml")
        if catalog is None and target.exists():
            raise CatalogError(f"there is {target} already; to go on from it: --catalog {target}")
        content = with_models(path.read_text(), fresh)
        read(content, str(target))  # what can't be read is not written
        target.write_text(content)
    _tell(changes, missing, fresh, as_json=as_json)
    if as_json:
        return 0 if fresh else 1
    if written:
        out.print(f"written to {target}")
        if catalog is None:
            out.print("use it with POINTSMAN_CATALOG, or with --catalog at the next update")
    elif changes:
        out.print("nothing was written; add --write")
    return 0 if fresh else 1


def _read(source: str) -> str:
    try:
        return Path(source).read_text()
    except OSError as error:
        raise CatalogError(f"the list {source} can't be read: {error.strerror}") from None


def _changes(before: Model | None, after: Model) -> list[Change]:
    old = {} if before is None else before.model_dump(mode="json", exclude={"as_of", "source"})
    new = after.model_dump(mode="json", exclude={"as_of", "source"})
    old = old | {f"price.{name}": value for name, value in (old.pop("price", None) or {}).items()}
    new = new | {f"price.{name}": value for name, value in new.pop("price").items()}
    return [
        Change(after.name, name, old.get(name), _sorted(value))
        for name, value in new.items()
        if _sorted(old.get(name)) != _sorted(value)
    ]


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _tell(
    changes: list[Change], missing: list[str], fresh: dict[str, Model], *, as_json: bool
) -> None:
    if as_json:
        facts = [
            {"model": c.model, "field": c.field, "before": c.before, "after": c.after}
            for c in changes
        ]
        print_json({"changes": facts, "not_listed": missing, "checked": sorted(fresh)})
        return
    table = Table(box=None, pad_edge=False)
    for name in ("model", "field", "before", "after"):
        table.add_column(name)
    for change in changes:
        table.add_row(change.model, change.field, _said(change.before), _said(change.after))
    if changes:
        out.print(table)
    else:
        out.print(f"{len(fresh)} models agree with the list")
    if missing:
        err.print(f"[yellow]not in the list, so unchanged:[/] {', '.join(missing)}")


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return json.dumps(value) if isinstance(value, dict) else str(value)
