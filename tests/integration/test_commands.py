"""The command line against a real Kafka and Redis, and the embedded servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from conftest import Pipeline, running_up, without_settings

from services.flows import names
from services.local.supervise import process_name
from shared.adapters.kafka import client
from shared.adapters.kafka.settings import KafkaSettings

ROW = '{{"prompt": "{}", "scores": {{"a": {}, "b": {}}}, "latency_s": {{"a": 1, "b": 2}}}}\n'


async def pointsman(
    *arguments: str, code: int = 0, environment: dict[str, str] | None = None
) -> str:
    """Run the command line; its standard output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {}), "COLUMNS": "200"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == code, err.decode() + out.decode()
    assert b"Traceback" not in err
    return out.decode() + (err.decode() if code else "")


async def test_topics_are_created_checked_widened_and_repaired(
    installation: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = installation["POINTSMAN_KAFKA_TOPIC_PREFIX"] + "topics."
    monkeypatch.setenv("POINTSMAN_KAFKA_TOPIC_PREFIX", prefix)
    assert json.loads(await pointsman("topics", "--json", code=1))["right"] is False
    admin = AIOKafkaAdminClient(bootstrap_servers=KafkaSettings().servers)
    await admin.start()
    theirs = {"min.cleanable.dirty.ratio": "0.25"}
    await admin.create_topics(
        [
            NewTopic(prefix + "prompts", 1, 1),
            NewTopic(prefix + "routing-tables", 1, 1, topic_configs=theirs),
        ]
    )
    await admin.close()
    done = await pointsman("topics", "--create")
    assert (
        f"widened {prefix}prompts from 1 to 4 partitions; restart the services that hear it"
        in " ".join(done.split())
    )
    assert "cleanup.policy=compact" in done
    states = {s["topic"]: s for s in json.loads(await pointsman("topics", "--json"))["topics"]}
    assert states[prefix + "decisions"]["partitions"] == 4
    assert all(s["right"] for s in states.values())
    assert "created" not in await pointsman("topics", "--create")
    async with client.admin(KafkaSettings()) as asked:
        kept = await client._settings(asked, prefix + "routing-tables", of_the_topic=True)
    assert kept["min.cleanable.dirty.ratio"] == "0.25", "what somebody else has set stays"
    assert kept["segment.ms"] == str(3600 * 1000)


async def test_a_table_is_built_from_an_outcome_file_published_shown_compared_and_rolled_back(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    outcomes, prices = tmp_path / "o.jsonl", tmp_path / "p.json"
    lines = [
        ROW.format(f"Translate notice {i} into French.", 1, 0)
        + ROW.format(f"Fix bug {i} in my code.", 0, 1)
        for i in range(20)
    ]
    outcomes.write_text("".join(lines))
    prices.write_text('{"prices": {"a": 1, "b": {"input": 2, "output": 8}}}')
    build = (
        "table",
        "build",
        "--outcomes",
        str(outcomes),
        "--prices",
        str(prices),
        "--k",
        "2",
        "--describe",
        "prompt",
    )
    built = json.loads(await pointsman(*build, "--json"))
    assert (built["clusters"], built["outcomes"], built["source"]) == (2, "real", "o.jsonl")
    shown = json.loads(await pointsman("table", "show", "--json"))
    winners = {r["label"].split()[0]: r["models"][0]["model"] for r in shown["rankings"]}
    assert winners == {"Translate": "a", "Find": "b"}
    assert "simulated" not in await pointsman("table", "show")
    saved = tmp_path / "t.json"
    await pointsman(*build, "--save", str(saved), "--seed", "5")
    listed = json.loads(await pointsman("table", "list", "--json"))
    assert [v["version"] for v in listed] == ["0.1", "0.2"]
    assert "model gone: gpt-5.6" in await pointsman("table", "diff", "0.1")
    await pointsman("table", "publish", str(saved))
    back = json.loads(await pointsman("table", "rollback", "0.1", "--json"))
    assert (back["version"], back["digest"]) == ("0.4", listed[0]["digest"])
    assert "there is no version 9.9" in await pointsman("table", "rollback", "9.9", code=1)
    routed = json.loads(await pointsman("route", "Translate this into Polish", "--json"))
    assert routed["decision"]["table"]["sequence"] == 4


async def test_route_prints_the_decision_with_its_reasons_or_what_was_wrong(
    pipeline: Pipeline,
) -> None:
    text = await pointsman(
        "route", "Write a haiku about frost", "--usd-per-point", "0.05", "--deny", "gpt-5.6"
    )
    assert "rankings SIMULATED" in text
    assert "ruled out gpt-5.6: denied" in text
    assert "95% interval" in text
    assert "a point of success is worth 0.05 USD or no matter how long" in text
    kept = json.loads(
        await pointsman("route", "Write a haiku about frost", "--keep", "0.9", "--json")
    )
    assert kept["decision"]["rates"]["keep"] == 0.9
    assert kept["decision"]["why"].endswith("(keep 90% of the best model's success)")
    twice = await pointsman("route", "Hello", "--keep", "0.9", "--spend-usd-per-1000", "2", code=1)
    assert "give one of keep and spend_usd_per_1000" in twice
    refused = await pointsman("route", "   ", code=1)
    assert "refused by the describer: the prompt is empty" in refused
    none = await pointsman("route", "Hello", "--allow", "nobody", code=1)
    assert "no eligible model" in none


async def test_doctor_finds_everything_or_says_what_repairs_it(pipeline: Pipeline) -> None:
    good = {f["what"]: f for f in json.loads(await pointsman("doctor", "--json"))}
    assert all(
        good[w]["ok"]
        for w in (
            "Python",
            "settings",
            "packages",
            "Kafka",
            "Redis",
            "topics",
            "routing table",
            "partitions",
        )
    )
    away = {
        "POINTSMAN_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "POINTSMAN_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    bad = {f["what"]: f for f in json.loads(await _json_of_failure(away))}
    assert not bad["Kafka"]["ok"]
    assert "pointsman up" in bad["Kafka"]["mend"]
    assert not bad["Redis"]["ok"]


async def _json_of_failure(environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        "doctor",
        "--json",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    return out.decode()


async def test_a_service_without_kafka_says_so_in_a_sentence(installation: dict[str, str]) -> None:
    text = await pointsman(
        "run", "selector", code=1, environment={"POINTSMAN_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    )
    assert "no Kafka answers at 127.0.0.1:1" in text
    missing = await pointsman(
        "run",
        "selector",
        code=1,
        environment={"POINTSMAN_KAFKA_TOPIC_PREFIX": "nobody-made-these."},
    )
    assert "pointsman topics --create" in missing


async def test_a_dead_letter_can_be_read_corrected_and_sent_again(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    dead = (await pipeline.one(b'{"prompt": "Name a bird.", "profile": "cheapest"}')).dead
    assert dead is not None
    listed = json.loads(await pointsman("dead-letters", "list", "--json"))
    assert [d["id"] for d in listed if d["id"] == dead.id] == [dead.id]
    assert (
        await pointsman("dead-letters", "show", dead.id)
        == '{"prompt": "Name a bird.", "profile": "cheapest"}'
    )
    corrected = tmp_path / "corrected.json"
    corrected.write_text(
        '{"prompt": "Name a bird.", "profile": "economy", "request_id": "corrected-1"}'
    )
    pipeline.traffic.sent["corrected-1"] = time.monotonic()
    pipeline.traffic.waiting.add("corrected-1")
    await pointsman("dead-letters", "replay", dead.id, "--value", str(corrected))
    outcome = (await pipeline.collect({"corrected-1"}))["corrected-1"]
    assert outcome.decided is not None
    exported = [
        json.loads(line) for line in (await pointsman("dead-letters", "export")).split("\n") if line
    ]
    (entry,) = [entry for entry in exported if entry["id"] == dead.id]
    assert entry["value"] == {"prompt": "Name a bird.", "profile": "cheapest"}
    assert "profile" in entry["error"]
    fixed = entry | {"value": entry["value"] | {"profile": "fast", "request_id": "corrected-2"}}
    (tmp_path / "fixed.jsonl").write_text(json.dumps(fixed) + "\n")
    pipeline.traffic.sent["corrected-2"] = time.monotonic()
    pipeline.traffic.waiting.add("corrected-2")
    await pointsman("dead-letters", "replay", "--corrected", str(tmp_path / "fixed.jsonl"))
    outcome = (await pipeline.collect({"corrected-2"}))["corrected-2"]
    assert outcome.decided is not None
    assert "no dead letter nobody-1" in await pointsman(
        "dead-letters", "replay", "nobody-1", code=1
    )


async def test_the_demo_on_embedded_servers_routes_a_file_though_a_service_is_killed(
    tmp_path: Path,
) -> None:
    """The newcomer's command: bad lines become dead letters, everything simulated says so, SIGKILL
    loses nothing."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        "".join(f"Translate notice {i} into French.\n" for i in range(120))
        + '{"prompt": "x", "profile": "no such"}\n{"broken\n'
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        "demo",
        str(path),
        "--json",
        "--keep",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=without_settings(),
    )
    assert process.stderr is not None
    killed = False
    shown: str | None = None
    screen = ""
    async with asyncio.timeout(180):
        while line := await process.stderr.readline():
            screen += line.decode()
            if not killed and f"{len(names())}/{len(names())}" in screen:
                await asyncio.sleep(1.5)
                os.kill(_service("selector", process.pid), signal.SIGKILL)
                killed = True
            if (
                found := re.search(r"the console stays open at (http://[\d.:]+)", screen)
            ) and shown is None:
                async with httpx.AsyncClient(timeout=30) as http:
                    shown = (await http.get(found[1] + "/now")).text
                process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        facts = json.loads(await process.stdout.read())
        assert await process.wait() == 0, screen
    assert killed
    assert shown is not None
    assert "SIMULATED" in shown
    assert "Translate notice" in shown
    assert (facts["decided"], facts["dead_letters"], facts["missing"], facts["restarts"]) == (
        120,
        2,
        0,
        1,
    )
    assert facts["learnt"]["simulated"] is True
    assert facts["learnt"]["clusters"] > 1
    assert "SIMULATED" in facts["language_models"]
    assert "language models  SIMULATED" in screen
    assert "rankings         none yet" in screen
    assert "embedded, keeps nothing" in screen


def _service(name: str, under: int) -> int:
    """The process id of a service that `under` has started."""
    found = [
        p.pid
        for p in psutil.Process(under).children(recursive=True)
        if p.name() == process_name(name)
    ]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


async def test_up_is_found_by_other_commands_and_stops_cleanly(tmp_path: Path) -> None:
    environment = without_settings() | {
        "POINTSMAN_HOME": str(tmp_path / "home"),
        "POINTSMAN_EMBEDDER_VARIANT": "int8",
    }
    async with running_up(environment) as (process, said):
        assert "SIMULATED" in said
        routed = subprocess.run(
            [sys.executable, "-m", "services", "route", "Translate this into Dutch", "--json"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
        assert routed.returncode == 0, routed.stderr
        told = json.loads(routed.stdout)
        assert told["description"]["source"] == "local", "without a key no language model describes"
        looked = subprocess.run(
            [sys.executable, "-m", "services", "doctor", "--json"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
        partitions = next(
            finding for finding in json.loads(looked.stdout) if finding["what"] == "partitions"
        )
        assert partitions["ok"], partitions
        assert partitions["found"].startswith("none stalled"), (
            "the embedded broker tells of groups, too"
        )
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 0
