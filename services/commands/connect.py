"""`pointsman connect`: settings that point a program of others at the gateway."""

from __future__ import annotations

import os
import time
from pathlib import Path

from services.screen import as_json as print_json
from services.screen import err, out
from services.workbench.clients import Client, GatewayAddress, SettingsUnreadable, clients

BACKUP = ".before-pointsman-"
"""Between a file's name and the time at which it was kept."""


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
        backup = client.file.with_name(f"{client.file.name}{BACKUP}{int(time.time())}")
        backup.write_text(before)
        backup.chmod(0o600)
    elif before is None:
        backup = client.file.with_name(f"{client.file.name}{BACKUP}none")
        backup.touch(mode=0o600)
    client.file.write_text(made)
    client.file.chmod(0o600)  # a key may stand in it
    if as_json:
        print_json({"file": str(client.file), "backup": str(backup) if backup else None})
        return 0
    out.print(f"written: {client.file}", soft_wrap=True)
    if before is not None and backup is not None:
        out.print(f"what was there before: {backup}", soft_wrap=True)
    out.print(f"then: {client.start.format(key=gateway.key)}", soft_wrap=True, highlight=False)
    out.print(f"to undo it: pointsman connect {client.name} --undo")
    return 0


def _undo(client: Client, *, as_json: bool) -> int:
    assert client.file is not None
    kept = sorted(client.file.parent.glob(f"{client.file.name}{BACKUP}*"))
    if not kept:
        err.print(f"[bold red]error:[/] nothing was kept beside {client.file}", soft_wrap=True)
        return 1
    first = next((one for one in kept if one.name.endswith("none")), kept[0])
    fresh = first.name.endswith("none")
    if fresh:
        client.file.unlink(missing_ok=True)
    else:
        client.file.write_text(first.read_text())
    for one in kept:
        one.unlink()
    if as_json:
        print_json({"file": str(client.file), "removed": fresh})
    else:
        out.print(
            f"removed: {client.file}" if fresh else f"as it was before: {client.file}",
            soft_wrap=True,
        )
    return 0
