"""`pointsman keys`: whose keys there are, in the file that the gateway and the console read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from rich.table import Table

from services.screen import as_json as print_json
from services.screen import err, out
from shared.adapters.keys import KeyFileInvalid, KeySettings, new, read, write
from shared.contracts.messages import describe_error
from shared.contracts.scopes import Scope
from shared.contracts.wishes import Preferences


def _file(given: Path | None) -> Path:
    file = given or KeySettings().file
    if file is None:
        raise KeyFileInvalid(
            "which file? Give --file, or set POINTSMAN_KEYS_FILE, which the gateway and the "
            "console need too"
        )
    return file


def create(
    name: str,
    scopes: frozenset[Scope],
    file: Path | None,
    rate: int | None,
    usd: float | None,
    preferences: Mapping[str, float | None],
    *,
    as_json: bool,
) -> int:
    """Make a key, print it once, keep its hash. Returns the exit code."""
    path = _file(file)
    stated = {name: value for name, value in preferences.items() if value is not None}
    try:
        wanted = Preferences(**stated) if stated else None
    except ValidationError as error:
        raise KeyFileInvalid(describe_error(error)) from None
    keys = read(path) if path.exists() else ()
    if any(key.name == name for key in keys):
        raise KeyFileInvalid(
            f"{path} has a key {name} already; revoke it first, or choose another name"
        )
    try:
        clear, key = new(name, scopes, rate, usd, wanted)
    except ValidationError:
        raise KeyFileInvalid("a name has letters, digits, and . _ @ -, at most 100") from None
    write(path, (*keys, key))
    if as_json:
        print_json({"name": name, "key": clear, "file": str(path), "scopes": sorted(scopes)})
        return 0
    print(clear)
    err.print(
        f"that is {name}'s key; it is not kept and can't be shown again. {path} has its hash, and "
        "running services have noticed."
    )
    if KeySettings().file != path:
        err.print(
            f"[yellow]start the gateway and the console with POINTSMAN_KEYS_FILE={path}[/]",
            soft_wrap=True,
        )
    return 0


def show(file: Path | None, *, as_json: bool) -> int:
    """List them. Returns the exit code."""
    keys = read(_file(file))
    if as_json:
        print_json(
            [
                key.model_dump(mode="json", exclude={"sha256"}) | {"scopes": sorted(key.scopes)}
                for key in keys
            ]
        )
        return 0
    shown = Table("name", "may", "requests a minute", "USD a day", "cares about", box=None)
    for key in keys:
        limits = (key.requests_per_minute, key.usd_per_day)
        cares = key.preferences.model_dump(exclude_defaults=True) if key.preferences else {}
        shown.add_row(
            key.name,
            ", ".join(sorted(key.scopes)),
            *("no limit" if value is None else f"{value:g}" for value in limits),
            ", ".join(f"{name} {value:g}" for name, value in cares.items())
            or "the default profile",
        )
    out.print(shown if keys else "no keys yet: `pointsman keys create NAME --scope complete`")
    return 0


def revoke(name: str, file: Path | None) -> int:
    """Take one out. Returns the exit code."""
    path = _file(file)
    keys = read(path)
    left = tuple(key for key in keys if key.name != name)
    if len(left) == len(keys):
        raise KeyFileInvalid(
            f"{path} has no key {name}; it has {', '.join(key.name for key in keys) or 'none'}"
        )
    write(path, left)
    out.print(f"{name}'s key is revoked; running services refuse it within seconds")
    return 0
