"""`pointsman dead-letters …`: records that a service could not take."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from services.local import servers
from services.screen import as_json as print_json
from services.screen import json_text, out
from shared.adapters.kafka.client import publisher, read_all
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.errors import InvalidMessage
from shared.contracts.topics import DEAD_LETTERS, TOPICS


async def letters() -> list[DeadLetter]:
    """All that are there, oldest first; a record that failed twice is listed once, as it failed
    last."""
    letters_read = (
        DeadLetter.of(r.value, r.key, r.headers)
        for r in await read_all(KafkaSettings(), DEAD_LETTERS)
    )
    return list({letter.id: letter for letter in letters_read if letter is not None}.values())


def list_letters(*, as_json: bool) -> None:
    """List them, without their contents."""
    servers.find_running()
    waiting = asyncio.run(letters())
    if as_json:
        print_json(
            [
                {
                    "id": d.id,
                    "service": d.service,
                    "error": d.error,
                    "attempts": d.attempts,
                    "bytes": len(d.value or b""),
                }
                for d in waiting
            ]
        )
        return
    if not waiting:
        out.print("no dead letters")
        return
    shown = Table("id", "service", "bytes", "error", box=None)
    for d in waiting:
        shown.add_row(d.id, d.service, str(len(d.value or b"")), escape(d.error))
    out.print(shown)
    out.print(
        "look at one with [bold]pointsman dead-letters show ID[/], send it again with [bold]replay "
        "ID[/] (corrected: [bold]--value FILE[/]); many: [bold]export[/], correct, "
        "[bold]replay --corrected FILE[/]"
    )


def show(id_: str) -> None:
    """Write the original bytes of one."""
    servers.find_running()
    sys.stdout.buffer.write(_find(asyncio.run(letters()), [id_])[0].value or b"")


def export() -> None:
    """Write them as JSON lines, in the form that `replay --corrected` takes."""
    servers.find_running()
    for letter in asyncio.run(letters()):
        print(json_text(as_entry(letter)))


def as_entry(letter: DeadLetter) -> dict[str, Any]:
    """Its id, its service, its error, and its value: an object where it is JSON, else text. A value
    that is not UTF-8 is None: `show` writes its bytes."""
    try:
        value: Any = (letter.value or b"").decode()
    except UnicodeDecodeError:
        value = None
    else:
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return {"id": letter.id, "service": letter.service, "error": letter.error, "value": value}


def replay(ids: list[str], value: Path | None, corrected: Path | None, *, as_json: bool) -> None:
    """Send them again."""
    if value is not None and len(ids) != 1:
        raise InvalidMessage("--value replaces one record: name its ID")
    if corrected is not None and (ids or value):
        raise InvalidMessage("--corrected names the records itself; leave out the IDs and --value")
    servers.find_running()
    if corrected is not None:
        sent = asyncio.run(replay_corrected(read_corrected(corrected)))
    else:
        sent = asyncio.run(_replay(ids, _bytes(value) if value else None))
    if as_json:
        print_json({"replayed": sent})
    else:
        out.print(
            f"sent {len(sent)} again: {', '.join(sent)}" if sent else "no dead letters",
            soft_wrap=True,
        )


def read_corrected(file: Path) -> dict[str, Any]:
    """{"id": …, "value": …} a line. Raises `InvalidMessage`."""
    corrected: dict[str, Any] = {}
    for number, line in enumerate(_bytes(file).decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                entry = json.loads(line)
                id_, value = str(entry["id"]), entry["value"]
            except (ValueError, KeyError, TypeError):
                value = None
            if value is None:
                raise InvalidMessage(
                    f'{file}, line {number}: expected {{"id": "topic-partition-offset", "value": '
                    "{…}}"
                )
            corrected[id_] = value
    return corrected


def _bytes(file: Path) -> bytes:
    """The content of a file, or of standard input for -."""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


async def _replay(ids: list[str], value: bytes | None) -> list[str]:
    waiting = await letters()
    chosen = _find(waiting, ids) if ids else waiting
    return await _send([(d, d.value if value is None else value) for d in chosen])


async def replay_corrected(corrected: Mapping[str, Any]) -> list[str]:
    """Send what stands for each id in its place: a message as an object, or any text as it is."""
    texts = {
        id_: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for id_, value in corrected.items()
    }
    return await _send(
        [(d, texts[d.id].encode("utf-8", "replace")) for d in _find(await letters(), list(texts))]
    )


async def _send(replays: list[tuple[DeadLetter, bytes | None]]) -> list[str]:
    """Each to the topic it came from, with the key and the headers it had."""
    kafka = KafkaSettings()
    async with publisher(kafka) as out_:
        for d, body in replays:
            await out_.send_and_wait(
                kafka.name(TOPICS[d.topic]), body, key=d.key, headers=list(d.headers)
            )
    return [d.id for d, _ in replays]


def _find(waiting: list[DeadLetter], ids: list[str]) -> list[DeadLetter]:
    by_id = {d.id: d for d in waiting}
    if missing := [i for i in ids if i not in by_id]:
        raise InvalidMessage(
            f"there is no dead letter {', '.join(missing)}; `pointsman dead-letters list` lists "
            "them"
        )
    return [by_id[i] for i in ids]
