"""`pointsman forget`: what is known of single requests, of a session or of a sender, is deleted as
far as that can be.

- `evaluations`, kept for a year, is copied without them, and what was there before is deleted.
- The services that learn and show (re-clusterer, console) are told to drop them from memory: by a
  record without a value on `evaluations`.
- Answers and descriptions that Redis remembers are deleted.
- The other topics keep them until their retention ends: Kafka deletes a partition's records from
  its beginning only. `--now` does that, up to the newest matching record, with every record before
  it; the services must have read that far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from services.local import servers
from services.screen import as_json as print_json
from services.screen import out
from services.workbench.erasure import ErasureSubject, erase
from shared.contracts.errors import InvalidMessage
from shared.contracts.topics import EVALUATIONS

TRANSIENT = (
    "answers' positions and conversations in Redis hold no text and expire; bills on `spending` "
    "expire after two days"
)


def forget(
    ids: list[str], session: str | None, metadata: list[str], *, yes: bool, now: bool, as_json: bool
) -> None:
    """Find them, and with `yes` delete what can be deleted."""
    pairs = [item.partition("=") for item in metadata]
    if any(not key or not equals for key, equals, _ in pairs):
        raise InvalidMessage(
            "--metadata takes KEY=VALUE, as the sender set it (the gateway sets gateway.key=NAME)"
        )
    if not (ids or session or pairs):
        raise InvalidMessage(
            "say what to forget: request ids, --session, --metadata KEY=VALUE or --key NAME"
        )
    servers.find_running()
    wanted = ErasureSubject(frozenset(ids), session, tuple((key, value) for key, _, value in pairs))
    report = asyncio.run(erase(wanted, yes=yes, now=now))
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: Mapping[str, Any]) -> None:
    if not (report["requests"] or any(topic["records"] for topic in report["topics"].values())):
        out.print("no matching records")
        return
    shown = Table("topic", "records", "", box=None)
    for name, topic in report["topics"].items():
        if name == EVALUATIONS.name:
            said = (
                f"deleted; {topic['copied']} others copied"
                if "copied" in topic
                else "will be copied without them"
            )
        elif topic.get("deleted"):
            said = "deleted, with all that lay before"
        else:
            said = (
                f"until about {topic['until']}, by retention; --now deletes them and everything "
                "before them"
            )
        shown.add_row(name, str(topic["records"]), said)
    out.print(f"{report['requests']} requests")
    out.print(shown)
    if report["labels"]:
        shown_in = ", ".join(report["labels"])
        out.print(
            f"routing tables {shown_in} use one of these descriptions as a cluster label; the next "
            "re-clustering replaces it",
            soft_wrap=True,
        )
    out.print(f"[dim]{TRANSIENT}[/]", soft_wrap=True)
    if report["done"]:
        out.print(
            f"{report['redis']} entries deleted in Redis; the re-clusterer and the console have "
            "been told"
        )
    elif "why" in report:
        out.print(
            f"[bold]nothing was changed[/]: {report['why']}; run this again later",
            soft_wrap=True,
        )
    else:
        out.print("[bold]nothing was changed[/]; add --yes")
