"""`make bench`: what the hot path takes, on a real Kafka and a real Redis, with the services as processes of their own.

Prints figures and writes them as JSON; it passes no judgement on them beyond stating the goal beside each. The load comes from this
process, open loop: a prompt's clock starts when it was due, so a stalled system can't hide its stalls. Every prompt is
another one, so no cache helps. `--outcomes FILE` adds the accuracy of decisions on a public outcome matrix.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import servers
from learning import keep_clustering
from rich.console import Console
from rich.table import Table

from services.commands import supervise
from services.commands.run import HOT_PATH
from services.commands.supervise import Supervisor
from services.commands.table import Source, build_and_publish
from services.commands.traffic import open_traffic, percentile
from shared.adapters.kafka.client import create_topics
from shared.adapters.kafka.settings import KafkaSettings
from shared.adapters.onnx.encoder import OnnxEncoder, pad
from shared.adapters.onnx.load import load
from shared.adapters.redis.client import RedisSettings
from shared.adapters.tables import publish
from shared.catalog import tasks
from shared.contracts.outcome_file import matrix, read_prices, read_rows
from shared.routing.extraction import extract
from shared.routing.outcomes import Outcomes, build_table

out = Console(width=150, highlight=False)
ADJECTIVES = [
    "small",
    "busy",
    "rural",
    "elderly",
    "Danish",
    "coastal",
    "second-hand",
    "careful",
    "seasonal",
    "noisy",
    "modern",
    "sceptical",
    "bilingual",
    "retired",
    "eager",
    "quiet",
]
NOUNS = [
    "bakery",
    "clinic",
    "orchestra",
    "start-up",
    "museum",
    "ferry",
    "orchard",
    "school",
    "law",
    "firm",
    "brewery",
    "airport",
    "library",
    "farm",
    "shipyard",
    "hotel",
    "theatre",
]
BEATS = {"avengers_pro_k25": 0.6520, "avengers_pro_k60": 0.6522}
"""../shared/data/README.md: accuracy on llmrouter_outcomes, five 70/30 splits, MiniLM fp32 of the whole prompt."""


def distinct_prompts(count: int, seed: int) -> list[str]:
    """The prompts of the 25 tasks for one business after another: no two have the same description."""
    rng = random.Random(seed)
    base = [prompt for task in tasks.load() for prompt in task.train + task.test]
    whom = [f"a {a} {n} in {m}" for a, n, m in itertools.product(ADJECTIVES, NOUNS, ("spring", "summer", "autumn", "winter", "a hurry"))]
    made: list[str] = []
    seen: set[str] = set()
    while len(made) < count:
        prompt = f"{rng.choice(base)} It is for {rng.choice(whom)} {uuid.UUID(int=rng.getrandbits(128)).hex[:4]}."
        if (description := extract(prompt)) in seen:
            prompt = f"Write for {rng.choice(whom)} {len(made)}x: {prompt}"
            description = extract(prompt)
        if description not in seen:
            seen.add(description)
            made.append(prompt)
    return made


async def offer(prompts: list[str], rate: float | None, extra: dict[str, Any] | None = None, give_up_s: float = 60.0) -> dict[str, Any]:
    """Publish at `rate` a second, or all at once with None; latencies from when each was due, and decisions by request id."""
    run = uuid.uuid4().hex[:8]
    arrivals: list[float] = []
    latencies: list[float] = []
    models: dict[int, str | None] = {}
    async with open_traffic(KafkaSettings()) as traffic:
        begin = time.monotonic()

        async def send() -> None:
            for i, prompt in enumerate(prompts):
                due = begin + i / rate if rate else begin
                if rate:
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                request_id = f"bench-{run}-{i}"
                value = json.dumps({"prompt": prompt, "request_id": request_id, **(extra or {})}).encode()
                traffic.sent[request_id] = due
                traffic.waiting.add(request_id)
                acknowledged = await traffic.out.send(KafkaSettings().topic_prefix + "prompts", value, key=request_id.encode())
                if not rate and i % 200 == 199:
                    await acknowledged

        sending = asyncio.create_task(send())
        while len(arrivals) < len(prompts):
            outcome = await asyncio.wait_for(traffic.outcomes.get(), give_up_s)
            assert outcome.decided is not None, outcome.dead
            arrivals.append(time.monotonic())
            latencies.append(outcome.latency_s)
            models[int(outcome.request_id.rsplit("-", 1)[1])] = outcome.decided.decision.model
        await sending
    low, high = int(0.1 * len(arrivals)), int(0.9 * len(arrivals))
    return {
        "prompts": len(prompts),
        "rate": rate,
        "p50_ms": round(1000 * percentile(latencies, 0.5), 1),
        "p99_ms": round(1000 * percentile(latencies, 0.99), 1),
        "max_ms": round(1000 * max(latencies), 1),
        "decisions_per_s": round((high - low) / (arrivals[high] - arrivals[low]), 1),
        "models": models,
    }


def memory_mb(running: Supervisor) -> dict[str, float]:
    """Resident and proportional memory of each service. Forked siblings share pages, so a container's figure is the resident one."""
    return {name: round(psutil.Process(pid).memory_info().rss / 2**20, 1) for name, pid in running.pids.items()}


def cpu_s(running: Supervisor) -> dict[str, float]:
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in running.pids.items()}


def embedder_beside_bare(encoder: OnnxEncoder, texts: list[str], batch: int) -> dict[str, float]:
    """The embedder's own call beside the same batches, tokenized already, through the bare session: best of 5, in turn."""
    ordered = sorted(encoder.tokens(texts), key=len)
    feeds = [pad(ordered[i : i + batch], 0) for i in range(0, len(ordered), batch)]
    session = encoder._session

    def bare() -> None:
        for ids, mask in feeds:
            session.run(None, {"input_ids": ids, "attention_mask": mask})

    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(5):
        for name, call in (("ours", lambda: encoder.encode(texts)), ("bare", bare)):
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    ours, raw = min(times["ours"]), min(times["bare"])
    return {"texts_per_s": round(len(texts) / ours, 1), "bare_texts_per_s": round(len(texts) / raw, 1), "ratio": round(raw / ours, 3)}


async def latency_and_throughput(results: dict[str, Any], seconds: float) -> None:
    environment = {"POINTSMAN_DESCRIBER_BACKEND": "local"}
    async with Supervisor(HOT_PATH, environment, say) as running:
        await build_and_publish(Source(simulated=True, k="25", describe="local"), "benchmark")
        await running.ready(60)
        await offer(distinct_prompts(300, 99), 60)  # the JVM compiles its hot code
        results["at_20_per_s"] = await offer(distinct_prompts(int(20 * seconds), 1), 20)
        results["at_20_per_s_while_clustering"] = await beside_clustering(seconds)
        before, began = cpu_s(running), time.monotonic()
        results["all_at_once"] = await offer(distinct_prompts(3000, 2), None)
        took, after = time.monotonic() - began, cpu_s(running)
        results["cpu_ms_per_decision"] = {n: round(1000 * (after[n] - before[n]) / 3000, 3) for n in after}
        results["cores_used_by_services"] = round(sum(after[n] - before[n] for n in after) / took, 2)
        results["memory_mb"] = memory_mb(running)
    for part in ("at_20_per_s", "at_20_per_s_while_clustering", "all_at_once"):
        results[part].pop("models")


async def beside_clustering(seconds: float) -> dict[str, Any]:
    """Latency at 20 prompts a second while another process clusters 100,000 embeddings without a pause."""
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


async def memory_alone(results: dict[str, Any]) -> None:
    """Memory as in a container: each service started by `pointsman run` in a process that shares nothing."""
    alone: dict[str, float] = {}
    environment = {**os.environ, "POINTSMAN_DESCRIBER_BACKEND": "local", "POINTSMAN_LOG_LEVEL": "ERROR"}
    processes = {n: await asyncio.create_subprocess_exec(sys.executable, "-m", "services", "run", n, env=environment) for n in HOT_PATH}
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


async def accuracy(results: dict[str, Any], outcomes_file: Path, prices_file: Path | None, splits: int, variants: list[str]) -> None:
    """Decisions of the real services under `quality` on the held 30% of each split, for tables built from the other 70%."""
    import gzip

    opener: Any = gzip.open if outcomes_file.suffix == ".gz" else open
    with opener(outcomes_file, "rb") as file:
        rows = read_rows(file)
    prices = read_prices(prices_file.read_text()) if prices_file else {}
    prompts = [row.prompt for row in rows]
    whole = matrix(rows, prices, prompts)
    for variant in variants:
        encoder = load(None, variant)
        vectors = np.concatenate(
            [encoder.encode(prompts[i : i + 256]) for i in track(range(0, len(prompts), 256), f"embedding, {variant}")]
        )
        environment = {"POINTSMAN_DESCRIBER_BACKEND": "prompt", "POINTSMAN_EMBEDDER_VARIANT": variant}
        async with Supervisor(HOT_PATH, environment, say) as running:
            await running.ready(60)
            results.setdefault("accuracy", {})[variant] = await _splits(whole, prompts, vectors, encoder, splits)


async def _splits(whole: Outcomes, prompts: list[str], vectors: Any, encoder: OnnxEncoder, splits: int) -> dict[str, Any]:
    found: list[float] = []
    best_single: list[float] = []
    for seed in range(splits):
        order = np.random.RandomState(seed).permutation(len(prompts))
        cut = int(0.7 * len(order))
        train, test = order[:cut], order[cut:]
        table = build_table(whole.rows(train), vectors[train], encoder.identity, k=60, seed=seed, source=f"split {seed}", simulated=False)
        await publish(KafkaSettings(), RedisSettings(), table, f"split {seed}")
        await asyncio.sleep(3)
        answer = await offer([prompts[i] for i in test], None, {"profile": "quality"}, give_up_s=120)
        column = {model: j for j, model in enumerate(whole.models)}
        found.append(float(np.mean([whole.scores[test[i], column[m]] for i, m in answer["models"].items()])))
        best_single.append(float(whole.scores[test][:, int(whole.scores[train].mean(axis=0).argmax())].mean()))
        out.print(f"  split {seed}: {found[-1]:.4f} (best single model {best_single[-1]:.4f})")
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else float("nan")
    return {"mean": round(statistics.mean(found), 4), "standard_error": round(error, 4), "splits": found, "best_single": best_single}


def track(steps: range, what: str) -> Any:
    from rich.progress import track as rich_track

    return rich_track(steps, what, console=out)


def say(service: str, level: str, text: str) -> None:
    if level in {"warning", "error", "plain"}:
        out.print(f"[dim]{service}: {text}[/]")


def show(results: dict[str, Any]) -> None:
    shown = Table("figure", "reached", "goal", box=None)
    slow, burst = results["at_20_per_s"], results["all_at_once"]
    shown.add_row("p50 at 20 prompts/s", f"{slow['p50_ms']} ms", "≤ 25 ms")
    shown.add_row("p99 at 20 prompts/s", f"{slow['p99_ms']} ms", "≤ 80 ms")
    beside = results["at_20_per_s_while_clustering"]["p99_ms"]
    shown.add_row("p99 while 100,000 embeddings are clustered", f"{beside} ms, {beside / slow['p99_ms']:.2f} times", "≤ 1.5 times")
    shown.add_row("decisions per second, sustained", f"{burst['decisions_per_s']}", "≥ 250")
    for name, ms in results["cpu_ms_per_decision"].items():
        shown.add_row(f"CPU per decision, {name}", f"{ms} ms", "")
    shown.add_row("embedder beside bare onnxruntime", f"{results['embedder']['ratio']:.0%} of its speed", "≥ 85%")
    for name, mb in results["memory_alone_mb"].items():
        shown.add_row(f"resident memory, {name}", f"{mb} MB", "≤ 350 MB" if name == "embedder" else "≤ 120 MB")
    for variant, found in results.get("accuracy", {}).items():
        goal = f"≥ {BEATS['avengers_pro_k60']} (Avengers-Pro, k=60)"
        shown.add_row(f"accuracy under quality, {variant}", f"{found['mean']:.4f} ± {found['standard_error']:.4f}", goal)
    out.print(shown)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=Path)
    parser.add_argument("--prices", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--variants", default="int8,fp32")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--write", type=Path, default=Path("bench-results/hot-path.json"))
    options = parser.parse_args()
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
    }
    await create_topics(KafkaSettings())
    encoder = load(None, "int8")
    results["embedder"] = embedder_beside_bare(encoder, [extract(p) for p in distinct_prompts(512, 0)], 32)
    await latency_and_throughput(results, options.seconds)
    await memory_alone(results)
    if options.outcomes:
        await accuracy(results, options.outcomes, options.prices, options.splits, options.variants.split(","))
    options.write.parent.mkdir(parents=True, exist_ok=True)
    options.write.write_text(json.dumps(results, indent=2) + "\n")
    show(results)
    out.print(f"written to {options.write}")


if __name__ == "__main__":
    supervise.warm()
    os.environ.setdefault("POINTSMAN_KAFKA_PARTITIONS", "4")
    with servers.kafka() as kafka_address, servers.redis() as redis_url:
        os.environ["POINTSMAN_KAFKA_BOOTSTRAP_SERVERS"], os.environ["POINTSMAN_REDIS_URL"] = kafka_address, redis_url
        asyncio.run(main())
