"""`make bench-scale`: what an installation needs for this many prompts a minute, from the costs
that `make bench` measured.

Each hot-path service is simulated as a server. It takes what waits, works on it for `turn + n *
each` seconds, and hands it on (SIMULATED queues, measured costs): `each` is the CPU a decision
takes under a burst, `turn` what a lone record takes beyond that. Replicas are as many as keep a
service's cores at 60%; the latency is that of the four in a row, without the broker's own."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support import table
from texts import distinct_prompts

from services.assigner.assign import place
from services.describer.describe import INSTRUCTION
from services.describer.settings import DescriberSettings
from services.embedder.embed import embed
from services.reclusterer.memory import Evidence
from services.reclusterer.settings import ReclustererSettings
from services.selector.decide import decide
from shared.adapters.onnx.load import load
from shared.catalog.models import load as load_catalog
from shared.contracts.messages import Described, Embedded, Submitted, extend, read, to_json
from shared.contracts.places import Description, Source, TableRef
from shared.contracts.wishes import Profile
from shared.routing.deciding.extraction import extract

LOADS = {"1,000": 1000 / 60, "100,000": 100_000 / 60, "10 million": 10_000_000 / 60}
BUSY = 0.6
"""The fraction of its core that a replica uses."""
BATCH = 64
HOT = ("describer", "embedder", "assigner", "selector")
BROKER_MB_S = 50.0
"""What one broker is given to write, replicas' copies counted: a third of what a plain SSD or a
1.25 GB/s network takes."""
REPLICATION = 3
DESCRIPTION_TOKENS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a service: for each message, and for each turn."""

    each: float
    turn: float


def costs(measured: Mapping[str, Any]) -> dict[str, Cost]:
    """From `make bench`: a burst shows what a message takes, 20 prompts/s what a turn takes
    beside."""
    burst, slow = measured["all_at_once"]["cpu_ms"], measured["by_rate"]["20"]["cpu_ms"]
    return {
        name: Cost(burst[name] / 1000, max(0.0, slow[name] - burst[name]) / 1000) for name in HOT
    }


def replicas(cost: Cost, rate: float) -> int:
    """The number for which each, taking what waits every turn, is busy for at most `BUSY` of the
    time."""
    return max(1, math.ceil(rate * (cost.each + cost.turn / BATCH) / BUSY))


def latency(
    parts: Mapping[str, Cost], rate: float, count: Mapping[str, int], seconds: float = 20.0
) -> tuple[float, float]:
    """p50 and p99 in ms through one replica of each service in a row, each with its fraction of the
    load. SIMULATED."""
    rng = np.random.default_rng(0)
    waits = []
    per = {name: rate / count[name] for name in parts}
    arrivals = np.cumsum(
        rng.exponential(1 / per["describer"], max(200, int(per["describer"] * seconds)))
    )
    taken = np.zeros(len(arrivals))
    for name, cost in parts.items():
        # a replica of the next service hears others too: time is stretched so that this service's
        # own rate comes out
        stretch = per["describer"] / per[name]
        came = np.sort(arrivals) * stretch
        left = _served(came, cost)
        waits.append(np.sort(left - came))
        taken += rng.permutation(left - came)
        arrivals = left / stretch
    return float(1000 * np.quantile(taken, 0.5)), float(1000 * np.quantile(taken, 0.99))


def _served(came: np.ndarray, cost: Cost) -> np.ndarray:
    left, free, i = np.empty(len(came)), 0.0, 0
    while i < len(came):
        start = max(free, came[i])
        n = min(BATCH, int(np.searchsorted(came, start, side="right")) - i)
        free = start + cost.turn + n * cost.each
        left[i : i + n] = free
        i += n
    return left


def one_prompt() -> tuple[dict[str, int], float]:
    """Bytes of a prompt on each topic, and the seconds that a reader of every embedding needs for
    one (the re-clusterer)."""
    encoder = load(None, "int8")
    known = table(
        25, tuple(f"provider/model-{i}" for i in range(20)), encoder=encoder.identity, top_p=4
    )
    described = []
    for i, prompt in enumerate(distinct_prompts(500, 1)):
        message = read(
            Submitted,
            json.dumps(
                {
                    "prompt": prompt,
                    "request_id": f"scale-{i}",
                    "submitted_at": "2026-01-02T00:00:00Z",
                }
            ).encode(),
        )
        described.append(
            extend(
                message,
                Described,
                description=Description(
                    text=extract(prompt), source=Source.local, latency_s=0.001, cost_usd=0.0
                ),
            )
        )
    embedded = embed(described, encoder.encode, encoder.identity)
    ref = TableRef(epoch=1, sequence=1, digest=known.digest)
    placed = [p for p in place(embedded, ref, known) if not isinstance(p, Exception)]
    decided = [decide(p, known, {}, Profile.balanced) for p in placed]
    kinds = {
        "descriptions": described,
        "embeddings": embedded,
        "assignments": placed,
        "decisions": decided,
    }
    sizes = {
        name: round(sum(len(to_json(m)) for m in messages) / len(messages))
        for name, messages in kinds.items()
    }
    sizes = {
        "prompts": round(sum(len(m.prompt or "") + 120 for m in described) / len(described)),
        **sizes,
    }
    values, memory = [to_json(m) for m in embedded], Evidence(ReclustererSettings())
    began = time.process_time()
    for value in values:
        memory.embedded(read(Embedded, value))
    return sizes, (time.process_time() - began) / len(values)


def sure_and_ms(file: Path) -> tuple[float, float] | None:
    """The fraction of prompts whose description can be foreseen under `balanced`, and the CPU
    milliseconds that it takes to see that; None: not measured."""
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    splits = [t for t in found["trials"] if t["what"].startswith("split")]
    return sum(t["sure"]["balanced"] for t in splits) / len(splits), float(found["ms"]["look_cpu"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measured", type=Path, default=Path("bench-results/hot-path.json"))
    parser.add_argument(
        "--usd-per-core-hour",
        type=float,
        default=0.04,
        help="an assumption: about what clouds ask for a shared vCPU",
    )
    parser.add_argument("--write", type=Path, default=Path("bench-results/scale.md"))
    parser.add_argument(
        "--foreseen",
        type=Path,
        default=Path("bench-results/foresight.json"),
        help="what `make bench-foresight` found",
    )
    options = parser.parse_args()
    foreseen = sure_and_ms(options.foreseen)
    if not options.measured.exists():
        raise SystemExit(f"there is no {options.measured}; run `make bench` first")
    measured = json.loads(options.measured.read_text())
    parts, (sizes, learnt_s) = costs(measured), one_prompt()
    memory = measured["memory_alone_mb"]
    settings, catalog = DescriberSettings(), load_catalog()
    price = next((m for m in catalog.models.values() if m.openrouter == settings.model), None)
    prompt_tokens = len(INSTRUCTION) // 4 + measured.get("prompt_tokens", 50)
    asked = price.price.cost_usd(prompt_tokens, DESCRIPTION_TOKENS) if price else float("nan")
    lines = ["| prompts a minute | " + " | ".join(LOADS) + " |", "|---|" + "---|" * len(LOADS)]
    rows: dict[str, list[str]] = {}
    for rate in LOADS.values():
        count = {name: replicas(cost, rate) for name, cost in parts.items()}
        p50, p99 = latency(parts, rate, count)
        cores = sum(rate * (cost.each + cost.turn / BATCH) for cost in parts.values())
        written = rate * sum(sizes.values()) / 1e6
        rows.setdefault("a second", []).append(f"{rate:,.0f}")
        for name in HOT:
            rows.setdefault(f"replicas of the {name}, one core each", []).append(f"{count[name]:,}")
        rows.setdefault("partitions, twice the most replicas", []).append(
            f"{max(12, 2 * max(count.values())):,}"
        )
        rows.setdefault("memory of these replicas, GB", []).append(
            f"{sum(count[n] * memory[n] for n in HOT) / 1024:,.1f}"
        )
        rows.setdefault("cores in use", []).append(f"{cores:,.1f}")
        rows.setdefault("p50, p99 within the services, ms, SIMULATED", []).append(
            f"{p50:.0f}, {p99:.0f}"
        )
        rows.setdefault("written to Kafka, MB/s, before copies", []).append(f"{written:,.1f}")
        brokers = max(3, math.ceil(written * REPLICATION / BROKER_MB_S))
        rows.setdefault(
            f"brokers, {BROKER_MB_S:.0f} MB/s and {REPLICATION} copies each", []
        ).append(f"{brokers:,}")
        usd = sum(count.values()) * options.usd_per_core_hour
        rows.setdefault(
            f"USD an hour for replicas, at {options.usd_per_core_hour} a core", []
        ).append(f"{usd:,.2f}")
        rows.setdefault("USD an hour if a language model describes every prompt", []).append(
            f"{rate * 3600 * asked:,.0f}"
        )
        if foreseen:
            named = (
                "USD an hour if it describes what can't be foreseen under `balanced` "
                f"({1 - foreseen[0]:.0%})"
            )
            rows.setdefault(named, []).append(f"{rate * 3600 * asked * (1 - foreseen[0]):,.0f}")
            looking = rate * foreseen[1] / 1000 / BUSY
            rows.setdefault("describers' cores to foresee", []).append(f"{looking:,.1f}")
            rows.setdefault("USD an hour for these", []).append(
                f"{looking * options.usd_per_core_hour:,.2f}"
            )
        rows.setdefault("cores to read every embedding (the re-clusterer has one)", []).append(
            f"{rate * learnt_s:,.2f}"
        )
    lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in rows.items()]
    lines += [
        "",
        "Bytes of a prompt on each topic: "
        + ", ".join(f"{n} {s:,}" for n, s in sizes.items())
        + ".",
    ]
    lines += [
        (
            f"Reading one embedding takes the re-clusterer {1e6 * learnt_s:.0f} µs: "
            f"{BUSY / learnt_s:,.0f} a second at {BUSY:.0%} of a core."
        )
    ]
    lines += [
        (
            f"A description by {settings.model}: {prompt_tokens} tokens in, {DESCRIPTION_TOKENS} "
            "out, "
            f"{1e6 * asked:.1f} USD a million."
        )
    ]
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
