"""`pointsman up`: every service as a process of its own, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.text import Text

from services.commands import servers
from services.commands.run import names
from services.commands.screen import err, out
from services.commands.supervise import Say, Supervisor
from services.commands.table import Source, build_and_publish
from shared.adapters.embedded import FETCH_WAIT_MS, embedded_kafka, embedded_redis
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.kafka.tables import versions
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.redis.client import RedisSettings

READY_WITHIN_S = 90.0
STYLES = {"warning": "yellow", "error": "red", "critical": "red", "plain": "dim"}


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the services find Kafka and Redis, as environment variables, and as people read it."""

    environment: dict[str, str]
    kafka: str
    redis: str
    embedded: bool


@contextmanager
def started_servers(kafka: str | None = None, redis: str | None = None) -> Iterator[Servers]:
    """Real servers where they are named, embedded ones elsewhere; the environment points at them while the block runs."""
    kafka, redis = kafka or os.environ.get(servers.KAFKA), redis or os.environ.get(servers.REDIS)
    with ExitStack() as stack:
        environment: dict[str, str] = {}
        if kafka is None:
            environment[servers.KAFKA] = stack.enter_context(embedded_kafka(KafkaSettings()))
            environment[servers.FETCH] = str(FETCH_WAIT_MS)
        else:
            environment[servers.KAFKA] = kafka
        environment[servers.REDIS] = redis or stack.enter_context(embedded_redis())
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield Servers(
                environment,
                kafka=f"{environment[servers.KAFKA]} ({'real' if kafka else 'embedded, keeps nothing'})",
                redis=f"{RedisSettings().address} ({'real' if redis else 'embedded, keeps nothing'})",
                embedded=kafka is None,
            )
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def llm_line() -> str:
    """What language models are, in a line: simulated, or whose."""
    settings = LLMSettings()
    if settings.simulated:
        return "SIMULATED: no key is set (POINTSMAN_LLM_API_KEY, OpenRouter by default)"
    return f"real, by {settings.base_url}"


def teller(verbose: bool = False) -> Say:
    """Shows what people should see of the services' logs."""

    def say(service: str, level: str, text: str) -> None:
        if verbose or level in STYLES:
            err.print(Text.assemble((f"{service:>10} ", "bold"), (text, STYLES.get(level, ""))))

    return say


def up(kafka: str | None, redis: str | None) -> int:
    """Start everything and keep it running. Returns the exit code."""
    with started_servers(kafka, redis) as where, servers.announced(where.environment):
        out.print(
            f"[bold]Pointsman[/]\n  Kafka            {where.kafka}\n  Redis            {where.redis}\n  language models  {llm_line()}"
        )
        return asyncio.run(_keep_up(where))


async def _keep_up(where: Servers) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = KafkaSettings()
    if not where.embedded:
        for line in await create_topics(settings):
            out.print(f"  topics           {line}")
    async with Supervisor(names(), where.environment, teller(verbose=True)) as running:
        waiting = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(_first_table(settings, where, running))
        await asyncio.wait({waiting, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await waiting
        else:
            starting.cancel()
        out.print("draining and stopping…")
    return 0


async def _first_table(settings: KafkaSettings, where: Servers, running: Supervisor) -> None:
    """A real installation builds its own table; an embedded one begins with a simulated one."""
    if not await versions(settings):
        if not where.embedded:
            out.print("  routing table    none yet: `pointsman table build --outcomes FILE`, or `--simulated` to try it")
            return
        version = await build_and_publish(Source(simulated=True, k="25", describe=description_source()), "first table of `pointsman up`")
        out.print(f"  routing table    {version.ref}, of SIMULATED outcomes on the 25 tasks")
    await running.ready(READY_WITHIN_S)
    out.print('ready. In another terminal: [bold]pointsman route "Translate this notice into French: …"[/]   Ctrl-C stops.')


def description_source() -> str:
    """What the describer of these settings describes with, so that a table lies where its descriptions do."""
    return os.environ.get("POINTSMAN_DESCRIBER_BACKEND", "llm")
