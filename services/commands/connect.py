"""`pointsman connect`: settings that point a program of others at the gateway."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from services.screen import as_json as print_json
from services.screen import err, out
from services.workbench.clients import Client, GatewayAddress, SettingsUnreadable, clients

BACKUP = ".before-pointsman-"
"""Between a file's name and the time at which it was kept."""
CHANGED = ".changed-"
"""The same of what others had changed when it was undone."""


def connect(
    name: str,
    address: str,
    key: str | None,
    model: str,
    *,
    write: bool,
    undo: bool,
    as_json: bool,
) -> int:
    """Show the settings, write them, or put back what was there before. Returns the exit code."""
    known = clients(Path.home())
    if name not in known:
        err.print(f"[bold red]error:[/] there is no {name}; there are {', '.join(known)}")
        return 2
    client = known[name]
    given = key or os.environ.get("POINTSMAN_API_KEY") or "pointsman"
    gateway = GatewayAddress(address.rstrip("/").removesuffix("/v1"), given, model)
    if (write or undo) and client.file is None:
        err.print(
            f"[bold red]error:[/] {name} has no settings file that can be written from here; "
            "leave out the option, and follow the printed steps"
        )
        return 2
    if undo:
        return _undo(client, as_json=as_json)
    if write:
        return _write(client, gateway, as_json=as_json)
    if as_json:
        file = None if client.file is None else str(client.file)
        print_json({"client": name, "file": file, "settings": client.settings(gateway)})
        return 0
    if client.file is not None:
        out.print(f"put this into {client.file}, or use --write:\n", soft_wrap=True)
    print(client.settings(gateway))
    out.print(f"then: {client.start.format(key=given)}", soft_wrap=True, highlight=False)
    if key is None and "POINTSMAN_API_KEY" not in os.environ:
        out.print(
            "\nThe key is a stand-in: a gateway without keys takes any. Where keys are asked for, "
            "`pointsman keys create` makes one; give it by --key or in POINTSMAN_API_KEY.",
        )
    return 0


def _write(client: Client, gateway: GatewayAddress, *, as_json: bool) -> int:
    assert client.file is not None
    assert client.merged is not None
    before = client.file.read_text() if client.file.exists() else None
    try:
        made = client.merged(before or "", gateway)
    except SettingsUnreadable as error:
        raise SettingsUnreadable(f"{client.file} is left as it is: {error}") from None
    client.file.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    if before is not None and before != made:
        backup = client.file.with_name(f"{client.file.name}{BACKUP}{time.time_ns()}")
        _keep(backup, before)
    elif before is None:
        backup = client.file.with_name(f"{client.file.name}{BACKUP}none")
        backup.touch(mode=0o600)
    client.file.touch(mode=0o600)
    client.file.chmod(0o600)  # a key may stand in it
    client.file.write_text(made)
    with _written(client.file).open("a") as digests:
        print(_digest(made), file=digests)
    if as_json:
        print_json({"file": str(client.file), "backup": str(backup) if backup else None})
        return 0
    out.print(f"written: {client.file}", soft_wrap=True)
    if before is not None and backup is not None:
        out.print(f"what was there before: {backup}", soft_wrap=True)
    out.print(f"then: {client.start.format(key=gateway.key)}", soft_wrap=True, highlight=False)
    out.print(f"to undo it: pointsman connect {client.name} --undo")
    return 0


def _keep(backup: Path, text: str) -> None:
    """Write a backup that nobody else can read, and never over another."""
    with backup.open("x") as file:
        backup.chmod(0o600)
        file.write(text)


def _written(file: Path) -> Path:
    """Where the digests of what was written stand."""
    return file.with_name(f"{file.name}{BACKUP}written")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _undo(client: Client, *, as_json: bool) -> int:
    """Put back what was there before the first --write. What somebody else has changed since stays
    beside it."""
    assert client.file is not None
    written = _written(client.file)
    digests = written.read_text().split() if written.exists() else []
    backups = client.file.parent.glob(f"{client.file.name}{BACKUP}*")
    kept = sorted(one for one in backups if one != written)
    if not kept:
        err.print(f"[bold red]error:[/] nothing was kept beside {client.file}", soft_wrap=True)
        return 1
    first = next((one for one in kept if one.name.endswith("none")), kept[0])
    fresh = first.name.endswith("none")
    changed = []
    for one in (client.file, *(one for one in kept if one != first)):
        if one.exists() and _digest(one.read_text()) not in digests:
            changed.append(client.file.with_name(f"{client.file.name}{CHANGED}{time.time_ns()}"))
            _keep(changed[-1], one.read_text())
    if fresh:
        client.file.unlink(missing_ok=True)
    else:
        client.file.write_text(first.read_text())
    for one in (*kept, written):
        one.unlink(missing_ok=True)
    for one in changed:
        err.print(f"somebody has changed it since; that is kept in {one}", soft_wrap=True)
    if as_json:
        print_json({"file": str(client.file), "removed": fresh})
    else:
        out.print(
            f"removed: {client.file}" if fresh else f"as it was before: {client.file}",
            soft_wrap=True,
        )
    return 0
