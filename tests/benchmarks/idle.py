"""`make bench-idle`: what a running Pointsman costs while nobody asks, and how soon it answers then.

CPU of all processes of a `pointsman up`, servers included where they are embedded, over a time
without traffic; and the first decision after that. Run on the embedded servers and on a real Kafka.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

import psutil
import servers

from services.commands.traffic import as_message, open_traffic
from services.local import servers as announced
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.figures import percentile

GOALS = {"embedded": {"cores": 0.05, "first_ms": 150.0}, "real": {"cores": 0.03}}
ADDED = (
    announced.KAFKA,
    announced.REDIS,
    announced.FETCH,
    announced.PARTITIONS,
    announced.DOORBELL,
)
"""What finding the running one adds to the environment."""
QUIET_S = 12.0
"""Ten seconds without traffic, and a little more."""
TRIES = 5


def measure(where: str, environment: dict[str, str], seconds: float) -> dict[str, Any]:
    """Start everything, ask something once, and measure."""
    if announced.find_running():
        raise SystemExit("a `pointsman up` runs already; stop it first")
    env = {
        **os.environ,
        "POINTSMAN_GATEWAY_PORT": "0",
        "POINTSMAN_CONSOLE_PORT": "0",
        **environment,
    }
    up = subprocess.Popen(
        [sys.executable, "-m", "services", "up"], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert up.stdout is not None
        for line in up.stdout:
            if line.startswith("ready"):
                break
        announced.find_running()
        return asyncio.run(_figures(where, psutil.Process(up.pid), seconds))
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
        for name in ADDED:
            os.environ.pop(name, None)


async def _figures(where: str, up: psutil.Process, seconds: float) -> dict[str, Any]:
    kafka = KafkaSettings()
    firsts = []
    await _decided(kafka)  # the first prompt makes the first table
    for _ in range(TRIES):
        await asyncio.sleep(QUIET_S)
        firsts.append(1000 * await _decided(kafka))
    await asyncio.sleep(QUIET_S)
    processes = [up, *up.children(recursive=True)]
    before = {p.pid: sum(p.cpu_times()[:2]) for p in processes}
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    each = {
        f"{p.name()} {p.pid}": (sum(p.cpu_times()[:2]) - before[p.pid]) / took for p in processes
    }
    return {
        "servers": where,
        "cores": round(sum(each.values()), 4),
        "first_ms": round(percentile(firsts, 0.5), 1),
        "first_worst_ms": round(max(firsts), 1),
        "each": {name: round(cores, 4) for name, cores in each.items()},
        "goals": GOALS[where],
    }


async def _decided(kafka: KafkaSettings) -> float:
    """Seconds from publishing a prompt to reading its decision."""
    async with open_traffic(kafka) as traffic:
        request_id = f"idle-{uuid.uuid4().hex}"
        await traffic.send(request_id, as_message("Translate into French: good day", request_id))
        return (await asyncio.wait_for(traffic.outcomes.get(), 60)).latency_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    found = [measure("embedded", {}, arguments.seconds)]
    with servers.kafka() as kafka, servers.redis() as redis:
        environment = {announced.KAFKA: kafka, announced.REDIS: redis}
        os.environ.update(environment)
        asyncio.run(create_topics(KafkaSettings()))
        found.append(measure("real", environment, arguments.seconds))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for figures in found:
        goal = figures["goals"]
        print(f"{figures['servers']} servers, {arguments.seconds:.0f} s without traffic")
        print(f"  CPU            {figures['cores']:.3f} cores (goal {goal['cores']})")
        print(
            f"  first decision {figures['first_ms']:.0f} ms, the slowest of {TRIES} "
            f"{figures['first_worst_ms']:.0f} ms"
            + (f" (goal {goal['first_ms']:.0f})" if "first_ms" in goal else "")
        )
        for name, cores in sorted(figures["each"].items(), key=lambda pair: -pair[1]):
            print(f"    {name:<24} {cores:.4f}")


if __name__ == "__main__":
    main()
