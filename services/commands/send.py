"""`pointsman send`: a file of prompts onto the topic, at a rate, without waiting for decisions."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from services.commands.demo import read_prompts
from services.commands.traffic import as_message
from services.local import servers
from services.screen import as_json as print_json
from services.screen import err, out, progress
from shared.adapters.kafka.client import publisher
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.topics import PROMPTS


def send(path: Path | None, rate: float, *, answer: bool, repeat: bool, as_json: bool) -> None:
    """Publish the lines of a file; without one the test prompts of the catalogue's tasks. `repeat`
    goes on until Ctrl-C."""
    servers.find_running()
    lines = read_prompts(path)
    run = uuid.uuid4().hex[:8]
    begin = time.monotonic()
    sent = [0]
    endless = itertools.cycle(lines) if repeat else iter(lines)
    try:
        asyncio.run(_send(endless, None if repeat else len(lines), run, rate, sent, answer=answer))
    except KeyboardInterrupt:
        err.print("stopped")
    seconds = round(time.monotonic() - begin, 1)
    if as_json:
        print_json({"sent": sent[0], "seconds": seconds, "request_ids": f"{run}-N"})
    else:
        out.print(
            f"{sent[0]} prompts sent in {seconds} s, under request ids of their own: {run}-1 to "
            f"{run}-{sent[0]}; "
            "what can't be taken is in `pointsman dead-letters list`",
            soft_wrap=True,
        )


async def _send(
    lines: Iterator[str], total: int | None, run: str, rate: float, sent: list[int], *, answer: bool
) -> None:
    kafka = KafkaSettings()
    async with publisher(kafka) as out_:
        with progress() as bar:
            task = bar.add_task("sending", total=total)
            begin = time.monotonic()
            for number, line in enumerate(lines):
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                request_id = f"{run}-{number + 1}"
                value = as_message(line, request_id)
                if answer:
                    with suppress(ValueError):  # the services say what is wrong with it
                        value = json.dumps(
                            {**json.loads(value), "answer": True}, ensure_ascii=False
                        ).encode()
                await out_.send_and_wait(kafka.name(PROMPTS), value, key=request_id.encode())
                sent[0] = number + 1
                bar.advance(task)
