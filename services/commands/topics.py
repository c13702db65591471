"""`pointsman topics`: the topics as they are, beside what they should be; and their AsyncAPI
document."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from rich.table import Table

from services.flows import flows
from services.local import servers
from services.screen import as_json as print_json
from services.screen import out
from shared.adapters.errors import BrokerUnreachable
from shared.adapters.kafka.asyncapi import document
from shared.adapters.kafka.client import TopicState, check_topics, create_topics
from shared.adapters.kafka.settings import KafkaSettings


def topics(*, create: bool, wait_s: float = 0.0, as_json: bool) -> int:
    """Check, and first create or repair if asked. `wait_s`: how long to wait for a broker that does
    not answer yet. Returns 1 if something is still not as it should be."""
    servers.find_running()
    kafka = KafkaSettings()
    if wait_s:
        asyncio.run(_answers(kafka, wait_s))
    done = asyncio.run(create_topics(kafka)) if create else []
    states = asyncio.run(check_topics(kafka))
    wrong = [state for state in states if not state.right]
    if as_json:
        print_json(
            {"done": done, "topics": [_facts(state) for state in states], "right": not wrong}
        )
        return 1 if wrong else 0
    for line in done:
        out.print(line)
    shown = Table("topic", "partitions", "keeps", "about", "", box=None)
    for state in states:
        hours = state.topic.retention_ms // 3_600_000
        keeps = (
            "every version"
            if state.topic.compacted
            else (f"{hours // 24} days" if hours >= 24 else f"{hours} h")
        )
        shown.add_row(state.name, str(state.partitions), keeps, state.topic.about, _verdict(state))
    out.print(shown)
    if wrong:
        out.print("repair it with [bold]pointsman topics --create[/]")
    return 1 if wrong else 0


async def _answers(kafka: KafkaSettings, within_s: float) -> None:
    """Wait until the broker answers. Raises `BrokerUnreachable` if it does not in time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            await check_topics(kafka, ())
        except BrokerUnreachable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(1.0)
        else:
            return


def _verdict(state: TopicState) -> str:
    if not state.partitions:
        return "[red]missing[/]"
    if state.partitions < state.wanted_partitions:
        return f"[red]{state.wanted_partitions} partitions wanted[/]"
    if state.differing:
        return (
            "[yellow]"
            + "; ".join(
                f"{key} is {have}, should be {want}"
                for key, (have, want) in state.differing.items()
            )
            + "[/]"
        )
    return "[green]ok[/]"


def _facts(state: TopicState) -> dict[str, object]:
    return {
        "topic": state.name,
        "partitions": state.partitions,
        "wanted_partitions": state.wanted_partitions,
        "differing": {
            key: {"is": have, "should_be": want} for key, (have, want) in state.differing.items()
        },
        "right": state.right,
    }


def asyncapi(path: Path) -> int:
    """Write the AsyncAPI document of all services."""
    path.write_text(document(flows()))
    out.print(f"wrote {path}")
    return 0
