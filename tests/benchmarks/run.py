"""`make bench`: what the hot path takes, on a real Kafka and a real Redis, with services and load
as processes of their own.

Prints figures beside the goals and writes them, with a picture, into bench-results; it passes no
judgement. Every prompt is another one, so no cache helps. Growth with clusters and models is
measured on SYNTHETIC tables (random centroids and rankings).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import servers
from accuracy import BEATS, accuracy
from learning import keep_clustering
from machine import described, machine
from offering import Offered, offer
from pictures import draw
from published import build_and_publish
from rich.console import Console
from rich.table import Table
from support import table
from texts import distinct_prompts, of_length

from services.flows import hot_path
from services.local import supervise
from services.local.supervise import Supervisor
from services.workbench.building import TableSource
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.encoder import OnnxEncoder, pad
from shared.adapters.onnx.load import load
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish
from shared.routing.deciding.extraction import extract

out = Console(width=150, highlight=False)
BURST = 3000
RATES = (20, 50, 100, 200, 300, 400)
CLUSTERS = (25, 100, 1000, 10_000)
MODELS = (5, 20, 50, 200)
LENGTHS = (100, 1000, 10_000, 100_000)


def memory_mb(running: Supervisor) -> dict[str, float]:
    """Resident memory of each service. Forked siblings share pages, so a container's figure is
    `memory_alone`'s."""
    return {
        name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in running.pids.items()
    }


def cpu_s(running: Supervisor) -> dict[str, float]:
    """CPU seconds of each service so far, and of the servers beside them."""
    used = {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in running.pids.items()}
    for process in psutil.process_iter(["name"]):
        if process.info["name"] in {"java", "redis-server"}:
            name = "broker" if process.info["name"] == "java" else "redis"
            used[name] = used.get(name, 0.0) + sum(process.cpu_times()[:2])
    return used


async def measured(
    running: Supervisor,
    prompts: list[str],
    rate: float | None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One load, with the CPU and the memory that it took, service by service."""
    cpu, memory = cpu_s(running), memory_mb(running)
    offered = await offer(prompts, rate, extra)
    now, grown = cpu_s(running), memory_mb(running)
    found: dict[str, Any] = {k: v for k, v in asdict(offered).items() if k != "models"}
    found["decisions_per_s"] = round(offered.decisions_per_s, 1)
    found["cpu_ms"] = {
        name: round(1000 * (now[name] - cpu[name]) / len(prompts), 3) for name in now
    }
    found["cpu_ms"]["load"] = round(1000 * offered.cpu_s / len(prompts), 3)
    found["cpu_ms_ours"] = round(sum(found["cpu_ms"][name] for name in running.pids), 3)
    found["memory_grown_mb_per_1000"] = {
        name: round(1000 * (grown[name] - memory[name]) / len(prompts), 2) for name in grown
    }
    return found


def embedder_beside_bare(encoder: OnnxEncoder, texts: list[str], batch: int) -> dict[str, float]:
    """The embedder's own call beside the same batches, tokenized already, one after the other
    through the bare session: best of 5."""
    ordered = sorted(encoder.tokens(texts), key=len)
    feeds = [pad(ordered[i : i + batch], 0) for i in range(0, len(ordered), batch)]
    session = encoder._session

    def bare() -> None:
        for ids, mask in feeds:
            session.run(None, {"input_ids": ids, "attention_mask": mask})

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(5):
        for name, call in (("ours", lambda: encoder.encode(texts)), ("bare", bare)):
            began = time.process_time()
            call()
            times[name].append(time.process_time() - began)
    ours, raw = min(times["ours"]), min(times["bare"])
    tokens = sum(map(len, ordered)) / len(ordered)
    return {
        "cpu_ms_per_text": round(1000 * ours / len(texts), 3),
        "bare_cpu_ms_per_text": round(1000 * raw / len(texts), 3),
        "ratio": round(raw / ours, 3),
        "tokens_per_text": round(tokens, 1),
    }


async def latency_and_throughput(
    results: dict[str, Any], seconds: float, flames: Path | None, text: str
) -> None:
    async with Supervisor(hot_path(), {}, say) as running:
        await build_and_publish(
            TableSource(simulated=True, k="25", describe="local", text=text), "benchmark"
        )
        await running.ready(60)
        out.print("warming up: the broker's JVM compiles its hot code…")
        for i in range(3):
            await offer(distinct_prompts(BURST, 90 + i), None)
        await offer(distinct_prompts(2000, 95), 100)
        out.print("latency by load…")
        for i, rate in enumerate(RATES):
            results.setdefault("by_rate", {})[rate] = await measured(
                running, distinct_prompts(int(rate * seconds), 10 + i), rate
            )
        results["at_20_per_s_while_clustering"] = asdict(await beside_clustering(seconds)) | {
            "models": None
        }
        out.print("all at once…")
        bursts = [await measured(running, distinct_prompts(BURST, 2 + i), None) for i in range(3)]
        results["all_at_once"] = sorted(bursts, key=lambda b: float(b["decisions_per_s"]))[1]
        if flames is not None:
            await burn(running, flames)


async def beside_clustering(seconds: float) -> Offered:
    """Latency at 20 prompts a second while another process clusters 100,000 embeddings without a
    pause."""
    context = multiprocessing.get_context("spawn")
    begun, stop = context.Event(), context.Event()
    process = context.Process(target=keep_clustering, args=(begun, stop))
    process.start()
    try:
        while not begun.is_set():
            await asyncio.sleep(0.2)
        return await offer(distinct_prompts(int(20 * seconds), 4), 20)
    finally:
        stop.set()
        process.join()


async def burn(running: Supervisor, folder: Path) -> None:
    """A flame graph of each service under all the load it can take."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = distinct_prompts(2 * BURST, 7)
    load = asyncio.create_task(offer(prompts, None))
    await asyncio.sleep(3)
    spies = [
        await asyncio.create_subprocess_exec(
            *(
                f"{Path(sys.executable).parent}/py-spy",
                "record",
                "-r",
                "200",
                "-d",
                "8",
                "-t",
                "-o",
                str(folder / f"{name}.svg"),
                "--pid",
                str(pid),
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, pid in running.pids.items()
    ]
    await asyncio.gather(load, *(spy.wait() for spy in spies))


async def growth(results: dict[str, Any], encoder: OnnxEncoder, text: str) -> None:
    """CPU a decision with more clusters, more models, longer prompts; and what is decided by one
    and by three embedders."""
    async with Supervisor(hot_path(), {}, say) as running:
        await running.ready(60)
        for name, sizes in (
            ("clusters", [(k, 20) for k in CLUSTERS]),
            ("models", [(25, m) for m in MODELS]),
        ):
            for i, (k, m) in enumerate(sizes):
                out.print(f"{k} clusters, {m} models (SYNTHETIC)…")
                made = table(
                    k,
                    tuple(f"synthetic/model-{j}" for j in range(m)),
                    seed=i,
                    top_p=4,
                    encoder=encoder.identity,
                )
                await publish(KafkaSettings(), RedisSettings(), made, "SYNTHETIC, for a benchmark")
                await offer(distinct_prompts(100, 50 + i), None)
                await asyncio.sleep(2)
                size = len(made.to_bytes())
                results.setdefault(name, {})[(k, m)[name == "models"]] = await measured(
                    running, distinct_prompts(1000, 60 + i), None
                ) | {
                    "table_bytes": size,
                    "memory_mb": {n: round(v) for n, v in memory_mb(running).items()},
                }
        await build_and_publish(
            TableSource(simulated=True, k="25", describe="local", text=text), "benchmark"
        )
        await asyncio.sleep(2)
        for length in LENGTHS:
            out.print(f"prompts of {length} characters…")
            count = max(40, min(1000, 2_000_000 // length))
            results.setdefault("prompt_chars", {})[length] = await measured(
                running, of_length(length, count, length), None
            )
        out.print("one embedder and three…")
        prompts = distinct_prompts(BURST, 5)
        one = await offer(prompts, None)
        again = await offer(prompts, None)
        async with AsyncExitStack() as more:
            for _ in range(2):
                another = await more.enter_async_context(Supervisor(("embedder",), {}, say))
                await another.ready(60)
            await asyncio.sleep(5)
            three = await offer(prompts, None)
        results["embedders"] = {
            "prompts": len(prompts),
            "decided_otherwise_by_three": sum(
                a != b for a, b in zip(one.models, three.models, strict=True)
            ),
            "decided_otherwise_by_one_again": sum(
                a != b for a, b in zip(one.models, again.models, strict=True)
            ),
            "decisions_per_s": {
                "1": round(one.decisions_per_s, 1),
                "3": round(three.decisions_per_s, 1),
            },
        }


async def memory_alone(results: dict[str, Any]) -> None:
    """Memory as in a container: each service started by `pointsman run` in a process that shares
    nothing."""
    alone: dict[str, float] = {}
    environment = {
        **os.environ,
        "POINTSMAN_LOG_LEVEL": "ERROR",
    }
    processes = {
        n: await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "run", n, env=environment
        )
        for n in hot_path()
    }
    try:
        await asyncio.sleep(8)
        await offer(distinct_prompts(600, 3), 50)
        for name, process in processes.items():
            alone[name] = round(psutil.Process(process.pid).memory_info().rss / 2**20, 1)
    finally:
        for process in processes.values():
            process.terminate()
        await asyncio.gather(*(process.wait() for process in processes.values()))
    results["memory_alone_mb"] = alone


def say(service: str, level: str, text: str) -> None:
    if level in {"warning", "error", "plain"}:
        out.print(f"[dim]{service}: {text}[/]")


def show(results: dict[str, Any]) -> None:
    shown = Table("figure", "reached", "goal", box=None)
    burst, slow, half = results["all_at_once"], results["by_rate"][20], results["by_rate"][200]
    shown.add_row(
        "decisions per second, the median of three bursts", f"{burst['decisions_per_s']}", "≥ 400"
    )
    shown.add_row("p99 at half of that, 200 prompts/s", f"{half['p99_ms']} ms", "≤ 60 ms")
    shown.add_row("CPU per decision, all our services", f"{burst['cpu_ms_ours']} ms", "≤ 3.5 ms")
    for name, ms in burst["cpu_ms"].items():
        shown.add_row(f"CPU per decision, {name}", f"{ms} ms", "")
    shown.add_row(
        "p50 and p99 at 20 prompts/s", f"{slow['p50_ms']}, {slow['p99_ms']} ms", "≤ 25, ≤ 80 ms"
    )
    beside = results["at_20_per_s_while_clustering"]["p99_ms"]
    shown.add_row(
        "p99 while 100,000 embeddings are clustered",
        f"{beside} ms, {beside / slow['p99_ms']:.2f} times",
        "≤ 1.5 times",
    )
    encoder = results["embedder"]
    shown.add_row(
        "embedder's CPU beside bare onnxruntime's", f"{encoder['ratio']:.0%} of its speed", "≥ 85%"
    )
    for name, mb in results["memory_alone_mb"].items():
        shown.add_row(
            f"resident memory, {name}", f"{mb} MB", "≤ 350 MB" if name == "embedder" else "≤ 120 MB"
        )
    if pair := results.get("embedders"):
        share = pair["decided_otherwise_by_three"] / pair["prompts"]
        again = pair["decided_otherwise_by_one_again"] / pair["prompts"]
        shown.add_row(
            "decided otherwise by three embedders (by one, asked again)",
            f"{share:.1%} ({again:.1%})",
            "< 5%",
        )
    for what in ("clusters", "models", "prompt_chars"):
        for size, found in results.get(what, {}).items():
            parts = ", ".join(f"{n} {found['cpu_ms'][n]}" for n in hot_path())
            shown.add_row(
                f"CPU per decision, {size} {what}", f"{found['cpu_ms_ours']} ms ({parts})", ""
            )
    for variant, found in results.get("accuracy", {}).items():
        goal = f"≥ {BEATS['avengers_pro_k60']} (Avengers-Pro, k=60)"
        shown.add_row(
            f"accuracy under quality, {variant}",
            f"{found['mean']:.4f} ± {found['standard_error']:.4f}",
            goal,
        )
    out.print(shown)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=Path)
    parser.add_argument("--prices", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--variants", default="int8,fp32")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument(
        "--text",
        choices=["prompt", "description"],
        default="prompt",
        help="what is embedded; prompts are longer",
    )
    parser.add_argument(
        "--describer",
        choices=["local", "library"],
        default="local",
        help="local: rules, so that the embedder's work shows; library: the default without a key",
    )
    parser.add_argument("--without-growth", action="store_true")
    parser.add_argument("--flames", type=Path, help="folder for a flame graph of each service")
    parser.add_argument("--write", type=Path, default=Path("bench-results/hot-path.json"))
    options = parser.parse_args()
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "text": options.text,
        "describer": options.describer,
    }
    os.environ["POINTSMAN_DESCRIBER_BACKEND"] = options.describer
    await create_topics(KafkaSettings())
    encoder = load(None, "int8")
    results["embedder"] = embedder_beside_bare(
        encoder, [extract(p) for p in distinct_prompts(512, 0)], 32
    )
    await latency_and_throughput(results, options.seconds, options.flames, options.text)
    await memory_alone(results)
    if not options.without_growth:
        await growth(results, encoder, options.text)
    if options.outcomes:
        results["accuracy"] = await accuracy(
            options.outcomes, options.prices, options.splits, options.variants.split(","), say
        )
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text(json.dumps(results, indent=2) + "\n")
    draw(results, options.write.with_suffix(".svg"))
    show(results)
    out.print(described(results["machine"]))
    out.print(f"written to {options.write} and {options.write.with_suffix('.svg')}")


if __name__ == "__main__":
    supervise.warm()
    os.environ.setdefault("POINTSMAN_KAFKA_PARTITIONS", "4")
    with servers.kafka() as kafka_address, servers.redis() as redis_url:
        os.environ["POINTSMAN_KAFKA_BOOTSTRAP_SERVERS"], os.environ["POINTSMAN_REDIS_URL"] = (
            kafka_address,
            redis_url,
        )
        asyncio.run(main())
