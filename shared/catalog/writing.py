"""A catalogue's file with other models in it; everything else, comments too, stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.catalog.models import LongPrice, Model, Price

WIDTH = 88


def with_models(text: str, models: Mapping[str, Model]) -> str:
    """The file's text with these models, in the place of those of the same name or at the end."""
    for name, model in models.items():
        block = written(model)
        pattern = re.compile(rf"^  {re.escape(name)}:\n(?:    .*\n|\n(?=    ))*", re.MULTILINE)
        if (match := pattern.search(text)) is not None:
            text = text[: match.start()] + block + text[match.end() :]
        else:
            text = _added(text, block)
    return text


def _added(text: str, block: str) -> str:
    """With a block at the end of the models."""
    begins = re.search(r"^models:\s*\n", text, re.MULTILINE)
    if begins is None:
        return text.rstrip("\n") + "\nmodels:\n" + block
    behind = re.compile(r"^[^\s#]", re.MULTILINE).search(text, begins.end())
    end = len(text) if behind is None else behind.start()
    return text[:end].rstrip("\n") + "\n" + block + ("\n" if behind else "") + text[end:]


def written(model: Model) -> str:
    """One model as it stands in the file."""
    lines = [f"  {model.name}:", f"    openrouter: {model.openrouter}"]
    if model.kind != "chat":
        lines.append(f"    kind: {model.kind}")
    if model.provider != "default":
        lines.append(f"    provider: {model.provider}")
    if model.ids:
        ids = ", ".join(f"{provider}: {name}" for provider, name in model.ids.items())
        lines.append(f"    ids: {{{ids}}}")
    lines.append(f"    price: {{{_price(model.price)}}}")
    if (longer := model.price.long) is not None:
        lines[-1] = lines[-1].removesuffix("}") + ","
        above = f"above_tokens: {longer.above_tokens}, {_price(longer)}"
        lines.append(f"      long: {{{above}}}}}")
    lines.append(f"    context_tokens: {model.context_tokens}")
    if model.largest_output is not None:
        lines.append(f"    largest_output: {model.largest_output}")
    if model.can is not None:
        lines.append(f"    can: [{', '.join(sorted(model.can))}]")
    if model.efforts:
        lines.append(f"    efforts: [{', '.join(model.efforts)}]")
    lines += [
        f"    latency_s: {model.latency_s}",
        f"    as_of: {model.as_of.isoformat()}",
        f"    source: {_text(model.source)}",
    ]
    return "\n".join(lines) + "\n"


def _price(price: Price | LongPrice) -> str:
    figures = price.model_dump(exclude_none=True, exclude={"long", "above_tokens"})
    return ", ".join(f"{name}: {usd:.9f}".rstrip("0").rstrip(".") for name, usd in figures.items())


def _text(text: str) -> str:
    plain = re.fullmatch(r"[\w/.(][^:#{}\[\]&*!|>'\"%@`]*(?::(?! )[^:#]*)*", text)
    return text if plain else "'" + text.replace("'", "''") + "'"
