"""The load generator of the benchmarks, a process of its own, so that what it does is not counted
as the services'.

Open loop: a prompt's clock starts when it was due, even if earlier ones have not come back. So a
system that stalls can't hide it (coordinated omission). Decisions are read as bytes
and understood only after the last has come.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from shared.adapters.kafka.client import publisher, reader
from shared.adapters.kafka.settings import KafkaSettings
from shared.contracts.figures import percentile
from shared.contracts.topics import DEAD_LETTERS, DECISIONS, PROMPTS

GIVE_UP_S = 120.0
WARM = 0.1
"""The fraction of a load at its beginning whose latencies are left out."""


@dataclass(frozen=True)
class Offered:
    """The results of one load. Latencies in ms, from when each prompt was due to when its decision
    was read."""

    prompts: int
    rate: float | None
    """Prompts a second; None: all at once."""
    p50_ms: float
    p99_ms: float
    max_ms: float
    took_s: float
    """From the first prompt's due time to the last decision."""
    late_ms: float
    """How far behind the generator was, at the 99th percentile. It counts into the latencies."""
    cpu_s: float
    """CPU seconds of the generator itself."""
    models: tuple[str | None, ...]
    """What was decided, prompt by prompt."""

    @property
    def decisions_per_s(self) -> float:
        return self.prompts / self.took_s


async def offer(
    prompts: Sequence[str], rate: float | None, extra: Mapping[str, Any] | None = None
) -> Offered:
    """Offer these prompts to the installation that the environment names, from a process of its
    own."""
    spec = json.dumps({"prompts": list(prompts), "rate": rate, "extra": dict(extra or {})})
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate(spec.encode())
    if process.returncode:
        raise SystemExit("the load generator failed; it said why above")
    return Offered(**json.loads(said))


async def _offer(prompts: list[str], rate: float | None, extra: dict[str, Any]) -> Offered:
    kafka, run = KafkaSettings(), uuid.uuid4().hex[:8]
    values = [
        json.dumps({"prompt": p, "request_id": f"bench-{run}-{i}", **extra}).encode()
        for i, p in enumerate(prompts)
    ]
    came: dict[int, tuple[float, bytes | None]] = {}
    late: list[float] = []
    mine = f"bench-{run}-".encode()
    async with (
        publisher(kafka) as out,
        reader(kafka, (DECISIONS, DEAD_LETTERS), from_start=False) as consumer,
    ):
        used = sum(psutil.Process().cpu_times()[:2])
        begin = time.monotonic() + 0.2

        async def collect() -> None:
            decisions = kafka.name(DECISIONS)
            while len(came) < len(prompts):
                for part, records in (await consumer.getmany(timeout_ms=1000)).items():
                    now = time.monotonic()
                    for record in records:
                        if record.key and record.key.startswith(mine):
                            assert part.topic == decisions, dict(record.headers).get(
                                "error", "a dead letter"
                            )
                            came.setdefault(int(record.key[len(mine) :]), (now, record.value))

        collecting = asyncio.create_task(collect())
        for i, value in enumerate(values):
            due = begin + i / rate if rate else begin
            if rate and (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await out.send(kafka.name(PROMPTS), value, key=mine + str(i).encode())
            late.append(time.monotonic() - due)
            if collecting.done():
                break
        await asyncio.wait_for(collecting, GIVE_UP_S + len(prompts) / (rate or 1e9))
        used = sum(psutil.Process().cpu_times()[:2]) - used
    due_at = [begin + i / rate if rate else begin for i in range(len(prompts))]
    latencies = [1000 * (came[i][0] - due_at[i]) for i in range(len(prompts))]
    kept = latencies[int(WARM * len(latencies)) :]
    return Offered(
        prompts=len(prompts),
        rate=rate,
        p50_ms=round(percentile(kept, 0.5), 1),
        p99_ms=round(percentile(kept, 0.99), 1),
        max_ms=round(max(kept), 1),
        took_s=round(max(at for at, _ in came.values()) - begin, 3),
        late_ms=round(1000 * percentile(late, 0.99), 1) if rate else 0.0,
        cpu_s=round(used, 2),
        models=tuple(
            json.loads(came[i][1] or b"{}").get("decision", {}).get("model")
            for i in range(len(prompts))
        ),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_offer(**json.load(sys.stdin))))))
