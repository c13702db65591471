"""`pointsman up`: every service as a process of its own, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal

from rich.markup import escape

from services import flows
from services.local import servers
from services.local.started import READY_WITHIN_S, Servers, llm_line, started_servers, teller
from services.local.supervise import Supervisor
from services.screen import out
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.keys import KeySettings
from shared.adapters.llm.chat import LLMSettings


def up(kafka: str | None, redis: str | None, *, hot_path: bool) -> int:
    """Start everything and keep it running. Returns the exit code."""
    with started_servers(kafka, redis) as where, servers.announced(where.environment):
        out.print(
            f"[bold]Pointsman[/]\n  Kafka            {where.kafka}\n  Redis            "
            f"{where.redis}\n  language models  {llm_line()}"
        )
        return asyncio.run(_keep_up(where, hot_path=hot_path))


async def _keep_up(where: Servers, *, hot_path: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = KafkaSettings()
    if not where.embedded:
        for line in await create_topics(settings):
            out.print(f"  topics           {line}")
    services = flows.hot_path() if hot_path else flows.names()
    async with Supervisor(
        services, where.environment | on_a_laptop(where), teller(verbose=True)
    ) as running:
        waiting = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(_ready(settings, where, running))
        await asyncio.wait({waiting, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await waiting
        else:
            starting.cancel()
        out.print("draining and stopping…")
    return 0


async def _ready(settings: KafkaSettings, where: Servers, running: Supervisor) -> None:
    """Say when everything runs, and where the routing table comes from."""
    await running.ready(READY_WITHIN_S)
    show_addresses(running)
    if running.addresses and not where.embedded and KeySettings().file is None:
        out.print(
            "  keys             none, so gateway and console admit no client: `pointsman keys "
            "create me --scope "
            "admin --file keys.yaml`,"
        )
        out.print("                   then start again with POINTSMAN_KEYS_FILE=keys.yaml")
    published = await versions(settings)
    if published:
        out.print(f"  routing table    {published[-1].ref}: {escape(published[-1].note)}")
    else:
        out.print(
            "  routing table    none yet: the first prompts make one, and compared answers rank it"
        )
        if not where.embedded:
            out.print("                   (or bring one: `pointsman table build --outcomes FILE`)")
    out.print(
        'ready. In another terminal: [bold]pointsman route --answer "Translate this notice into '
        'French: …"[/]   Ctrl-C stops.'
    )


def show_addresses(running: Supervisor) -> None:
    """Print the addresses of gateway and console."""
    uses = {
        "gateway": (
            "OPENAI_BASE_URL={0}/v1, ANTHROPIC_BASE_URL={0}, documented at {0}/docs",
            "pointsman connect claude-code --address {0} points an agent there",
        ),
        "console": ("{0}",),
    }
    for name, address in sorted(running.addresses.items(), reverse=True):
        for place, line in enumerate(uses[name]):
            out.print(f"  {'' if place else name:<16} {line.format(address)}", soft_wrap=True)


def on_a_laptop(where: Servers) -> dict[str, str]:
    """One wants to see it learn (rankings every 2 s, and every answer compared as long as nothing
    has a price) and needs no key."""
    wanted = (
        {"POINTSMAN_RECLUSTERER_EVERY_S": "2", "POINTSMAN_KEYS_OPEN_ON_LOOPBACK": "true"}
        if where.embedded
        else {}
    )
    if LLMSettings().simulated:
        wanted |= {
            "POINTSMAN_JUDGE_RATE": "1",
            "POINTSMAN_JUDGE_PAIRS": "6",
            "POINTSMAN_JUDGE_BUDGET_USD_PER_DAY": "1000",
        }
    return {name: value for name, value in wanted.items() if name not in os.environ}
