"""The command line: settings without secrets, files of prompts, differences of tables, and imports
without effects."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic_settings import SettingsError
from support import table
from typer.testing import CliRunner

from services.__main__ import app
from services.commands import config, doctor, health, rank
from services.commands.config import rows
from services.commands.dead_letters import as_entry, read_corrected
from services.commands.demo import read_prompts
from services.commands.table import show
from services.commands.traffic import as_message
from services.flows import hot_path, names
from services.local import servers
from services.local.settings import explain, unknown
from services.local.supervise import RESTART_AFTER_S, SHORT_LIFE_S, Supervisor, pause_s
from services.screen import json_text
from services.selector.settings import SelectorSettings
from shared.adapters.errors import ServiceFailed
from shared.adapters.llm.chat import LLMSettings
from shared.contracts.dead_letter import DeadLetter
from shared.contracts.errors import InvalidMessage
from shared.contracts.figures import percentile
from shared.contracts.settings import AGREED
from shared.routing.deciding.projection import Projection
from shared.routing.deciding.table import Cluster, Encoder
from shared.routing.learning.comparing import differences

CANARIES = {
    "POINTSMAN_LLM_API_KEY": "sk-canary-0815",
    "POINTSMAN_REDIS_URL": "redis://me:pw-canary-0816@cache.test:6380/2",
}


def test_the_services_are_found_by_listing() -> None:
    assert names() == (*hot_path(), "dispatcher", "judge", "reclusterer", "gateway", "console")


def test_config_shows_every_setting_with_a_sentence_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    for arguments in (["config"], ["config", "--json"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0
        assert "canary" not in result.output
    found = {row["name"]: row for row in rows()}
    assert found["POINTSMAN_REDIS_URL"]["value"] == "redis://cache.test:6380/2"
    assert found["POINTSMAN_LLM_API_KEY"]["value"] == "set"
    assert all(row["about"] for row in found.values())


@pytest.mark.parametrize("command", [["config"], ["run", "embedder"]])
@pytest.mark.slow
def test_a_wrong_setting_is_named_and_its_value_is_not(command: list[str]) -> None:
    environment = {**os.environ, "POINTSMAN_EMBEDDER_BATCH": "canary"}
    result = subprocess.run(
        [sys.executable, "-m", "services", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "POINTSMAN_EMBEDDER_BATCH: Input should be a valid integer" in " ".join(
        (result.stdout + result.stderr).split()
    )
    assert "canary" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
async def test_a_service_that_can_not_start_is_given_up_with_what_it_said() -> None:
    said: list[tuple[str, str, str]] = []
    environment = {"POINTSMAN_EMBEDDER_BATCH": "0"}
    async with Supervisor(("embedder",), environment, lambda *line: said.append(line)) as running:
        with pytest.raises(
            ServiceFailed, match=r"the embedder ended 3 times.*POINTSMAN_EMBEDDER_BATCH"
        ):
            await running.ready(60)
    assert any("starting it again" in text for _, _, text in said)


def test_who_took_records_comes_back_at_once_and_who_can_not_is_tried_less_and_less_often() -> None:
    assert pause_s(SHORT_LIFE_S, 0) == 0
    assert pause_s(0.5, 0) == pause_s(0.5, 1) == RESTART_AFTER_S
    waits = [pause_s(0.5, in_vain) for in_vain in range(1, 20)]
    assert waits == sorted(waits)
    assert waits[1] > waits[0]
    assert waits[-1] == 10 * RESTART_AFTER_S


async def test_services_are_heard_to_be_ready_whatever_level_their_log_has() -> None:
    said: list[tuple[str, str, str]] = []
    running = Supervisor(
        ("embedder",), {"POINTSMAN_LOG_LEVEL": "WARNING"}, lambda *line: said.append(line)
    )
    assert running._environment["POINTSMAN_LOG_LEVEL"] == "INFO"
    (child,) = running._children
    for ready in ({}, {"ready": "yes"}, {"ready": False}):
        running._tell(
            child, json.dumps({"level": "info", "event": "taking records"} | ready).encode()
        )
        assert not child.ready.is_set(), "it is a field that counts, whatever the text says"
    for level, text in (("info", "at your service"), ("warning", "dead letter")):
        running._tell(child, json.dumps({"level": level, "event": text, "ready": True}).encode())
    assert child.ready.is_set()
    assert [text for _, _, text in said] == ["dead letter"]


def test_who_announces_servers_leaves_those_of_another_that_still_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(servers, "_file", lambda: tmp_path / "up.json")
    monkeypatch.delenv(servers.KAFKA, raising=False)
    (tmp_path / "up.json").write_text(
        json.dumps({"pid": os.getppid(), "environment": {servers.KAFKA: "first:1"}})
    )
    with servers.announced({servers.KAFKA: "second:2"}):
        assert servers._announced() == {
            "pid": os.getppid(),
            "environment": {servers.KAFKA: "first:1"},
        }
    assert servers._announced() is not None
    (tmp_path / "up.json").unlink()
    with servers.announced({servers.KAFKA: "second:2"}):
        assert (servers._announced() or {})["pid"] == os.getpid()
        mode = (tmp_path / "up.json").stat().st_mode & 0o777
        assert mode == 0o600, "an address may have a password"
    assert servers._announced() is None


def test_health_reads_the_services_own_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"/metrics": b'pointsman_ready{service="embedder"} 0.0\n'}

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path])

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("POINTSMAN_METRICS_PORT", str(server.server_address[1]))
        assert health.main([]) == 1
        answers["/metrics"] = b'# HELP x\npointsman_ready{service="embedder"} 1.0\n'
        assert health.main([]) == 0
        server.shutdown()
    monkeypatch.setenv("POINTSMAN_METRICS_PORT", "1")
    assert health.main([]) == 1
    assert "POINTSMAN_METRICS_PORT" in capsys.readouterr().out


def test_the_example_environment_names_settings_that_exist() -> None:
    lines = (Path(__file__).parents[3] / ".env.example").read_text().splitlines()
    named = {line.lstrip("# ").split("=")[0] for line in lines if "=" in line}
    ours = {name for name in named if name.startswith("POINTSMAN_")}
    assert ours <= {row["name"] for row in rows()} | set(AGREED.values())
    compose = (Path(__file__).parents[3] / "docker-compose.yml").read_text()
    assert all(f"${{{name}:-" in compose for name in named - ours)


def test_prompt_files_may_be_text_or_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text(
        '\ufeffTranslate this.\n\n{"prompt": "Fix that", "profile": "fast", "request_id": '
        '"mine"}\n',
        encoding="utf-8",
    )
    lines = read_prompts(path)
    assert json.loads(as_message(lines[0], "r1")) == {
        "prompt": "Translate this.",
        "request_id": "r1",
    }
    assert json.loads(as_message(lines[1], "r2")) == {
        "prompt": "Fix that",
        "profile": "fast",
        "request_id": "r2",
    }
    assert as_message("{broken", "r3") == b"{broken"
    assert len(read_prompts(None)) == 100


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_a_line_of_a_file_ends_where_json_lines_end(sign: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": f"one{sign}two"}, ensure_ascii=False), f"three{sign}four"]
    path.write_text("\r\n".join(lines) + "\n", encoding="utf-8")
    assert [line.rstrip("\r") for line in read_prompts(path)] == lines
    path.write_text(
        json.dumps({"id": "prompts-0-1", "value": f"one{sign}two"}, ensure_ascii=False) + "\n",
        encoding="utf-8-sig",
    )
    assert read_corrected(path) == {"prompts-0-1": f"one{sign}two"}


def test_a_dead_letter_that_is_hardly_json_is_exported_too() -> None:
    for value in (b"[" * 100_000, b'{"prompt": "\\ud83d"}'):
        entry = as_entry(DeadLetter(value, None, "prompts", 0, 1, "describer", "wrong", 1))
        assert json.loads(json_text(entry)) == entry
        json_text(entry).encode()


def test_a_setting_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_PROFILES", "/etc/profiles.yaml")
    with pytest.raises(SettingsError) as found:
        SelectorSettings()
    assert "POINTSMAN_PROFILES: it is not JSON" in explain(found.value)
    assert "/etc" not in explain(found.value)


def test_words_of_prompts_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Square brackets are the screen's markup."""
    cluster = Cluster("c00", "Explain [/etc/hosts], list[int]", 10, 1.0)
    path = tmp_path / "table.json"
    path.write_bytes(replace(table(1, ("only",)), clusters=(cluster,)).to_bytes())
    show(str(path), as_json=False)
    said = capsys.readouterr().out
    assert "[/etc/hosts]" in said
    assert "list[int]" in said


def test_an_exported_dead_letter_is_an_entry_to_correct(tmp_path: Path) -> None:
    def entry(value: bytes | None) -> dict[str, Any]:
        return as_entry(DeadLetter(value, None, "prompts", 0, 1, "describer", "wrong", 1))

    assert entry(b'{"prompt": 1}')["value"] == {"prompt": 1}
    assert entry(b'{"half')["value"] == '{"half'
    assert entry(b"\xff")["value"] is None
    path = tmp_path / "corrected.jsonl"
    path.write_text(json.dumps(entry(b'{"prompt": 1}')))
    assert read_corrected(path) == {"prompts-0-1": {"prompt": 1}}
    path.write_text(json.dumps(entry(b"\xff")))
    with pytest.raises(InvalidMessage, match="line 1"):
        read_corrected(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "holds no prompt"), (b"\xff\xfe", "not UTF-8"), (None, "can't be read")],
)
def test_a_bad_prompt_file_says_what_to_do(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidMessage, match=words):
        read_prompts(path)


def test_differences_name_models_clusters_and_new_winners() -> None:
    a = table(3)
    turned = a.strength.copy()
    turned[1] = -turned[1] - 5 * (np.arange(3) == a.strength[1].argmax())
    b = table(3, strength=turned)
    lines = differences(a, b)
    assert any(line.startswith("cluster c01") and "strongest was" in line for line in lines)
    assert differences(a, a) == []
    assert "model gone: small" in differences(a, table(3, models=("tiny", "middle", "large")))
    assert any(line.startswith("cluster gone: c02") for line in differences(a, table(2)))
    signed = replace(a, signatures=np.eye(3, a.encoder.dimension) + 0.01)
    matrix, nothing = np.eye(4, dtype=np.float32), np.zeros(0, np.float32)
    learnt = Projection("contrastive", matrix, np.zeros(4, np.float32), nothing, nothing)
    again = replace(signed, signatures=signed.signatures[[2, 0, 1]], projection=learnt)
    lines = differences(signed, again)
    assert "task representation: plain → contrastive" in lines
    assert "cluster c00 “task 0” is c01 “task 1” now, by its signature" in lines
    assert not any("gone" in line or "new:" in line for line in lines)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(v) for v in range(1, 101)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert np.isnan(percentile([], 0.5))


@pytest.mark.slow
def test_nothing_happens_on_import() -> None:
    """No client, thread, file or setting is made when the applications' modules are imported."""
    code = """
import socket, threading, os
def forbidden(*a, **k): raise AssertionError("a socket was opened on import")
socket.socket.connect = forbidden
os.environ["POINTSMAN_KAFKA_PARTITIONS"] = "not a number"
import importlib
from services.flows import names
for name in names():
    importlib.import_module(f"services.{name}.app")
import services.__main__
assert threading.active_count() == 1, threading.enumerate()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_unknown_names_get_a_sentence_and_not_a_traceback() -> None:
    for arguments in (
        ["run", "nobody"],
        ["table", "build"],
        ["table", "build", "--simulated", "--k", "many"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "services", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert "error" in done.stderr.lower()


def test_the_asyncapi_document_is_the_codes(tmp_path: Path) -> None:
    """If this fails: make asyncapi."""
    made = tmp_path / "asyncapi.yaml"
    assert CliRunner().invoke(app, ["topics", "--asyncapi", str(made)]).exit_code == 0
    assert made.read_text() == (Path(__file__).parents[3] / "docs" / "asyncapi.yaml").read_text()
    for schema in ("Submitted", "Described", "Embedded", "Placed", "Decided"):
        assert f"'#/components/schemas/{schema}'" in made.read_text()


def test_a_taken_port_is_named_before_anything_else() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(app, ["simulate", "--port", str(taken.getsockname()[1])])
    assert result.exit_code != 0
    assert "choose another with --port" in str(result.exception) + result.output
    assert "SIMULATED" not in result.output


def test_a_line_that_no_json_can_say_is_still_sent() -> None:
    assert json.loads(as_message('{"prompt": "ok \\ud83d"}', "1"))["request_id"] == "1"
    assert as_message("[" * 100_000, "1")
    assert as_message('{"a":' * 100_000, "1").startswith(b'{"a":')


def test_a_service_is_alive_while_its_event_loop_turns() -> None:
    told = b'pointsman_alive_at{service="selector"} 1000.0\n'
    assert health.alive(told, 1000.0 + health.STUCK_S - 1)
    assert not health.alive(told, 1000.0 + health.STUCK_S + 1)
    assert health.alive(b"", 5000.0), "it has not begun yet"


def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POINTSMAN_DESCRIBER_BACKND", "local")
    assert config.check(as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "wrong": [
            (
                "there is no setting POINTSMAN_DESCRIBER_BACKND; did you mean "
                "POINTSMAN_DESCRIBER_BACKEND?"
            )
        ],
    }
    monkeypatch.delenv("POINTSMAN_DESCRIBER_BACKND")
    monkeypatch.setenv("POINTSMAN_SELECTOR_DEFAULT_PROFILE", "cheapest")
    assert config.check(as_json=True) == 1
    assert "POINTSMAN_SELECTOR_DEFAULT_PROFILE" in json.loads(capsys.readouterr().out)["wrong"][0]
    monkeypatch.delenv("POINTSMAN_SELECTOR_DEFAULT_PROFILE")
    assert config.check(as_json=True) == 0


def test_every_setting_of_our_services_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those that files name, agreed ones, and those that the images, the compose file and the
    chart set."""
    files = ("deploy/Dockerfile", "docker-compose.yml", ".env.example")
    rendered = sorted(Path("deploy/helm/rendered").glob("*.yaml"))
    named = {
        name
        for file in (*map(Path, files), *rendered)
        for name in re.findall(r"\bPOINTSMAN_[A-Z_]+[A-Z]\b", file.read_text())
    }
    assert len(named) > 20
    assert unknown(dict.fromkeys(named, "")) == []
    providers = tmp_path / "providers.yaml"
    providers.write_text("mine: {base_url: http://localhost:1/v1, key_env: POINTSMAN_MY_KEY}\n")
    monkeypatch.setenv("POINTSMAN_LLM_PROVIDERS", str(providers))
    assert unknown({"POINTSMAN_LLM_PROVIDERS": "x", "POINTSMAN_MY_KEY": "y"}) == []
    assert [s.name for s in unknown({"POINTSMAN_MY_KEY": "y"})] == ["POINTSMAN_MY_KEY"]


def test_simulated_models_stay_simulated_where_a_server_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POINTSMAN_LLM_BASE_URL", "http://localhost:9/v1")
    assert not LLMSettings().simulated
    assert LLMSettings().who == "real, by http://localhost:9/v1, without a key"
    for name, value in rank.SIMULATED.items():
        monkeypatch.setenv(name, value)
    assert LLMSettings().simulated
    assert LLMSettings().who.startswith("SIMULATED")


def test_doctor_says_where_the_tables_encoder_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Encoder("pointsman/e5-small-tasks", "1571fc-83f6e55a-r1", 384, "mean", "int8")
    assert doctor._encoder_missing(before) is None
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    assert doctor._encoder_missing(before) is None, "it can be made here"
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    assert "tasks1-int8 is not prepared" in (doctor._encoder_missing(before) or "")
    foreign = replace(before, id="somebody/else")
    assert "does not come with Pointsman" in (doctor._encoder_missing(foreign) or "")
    monkeypatch.setenv("POINTSMAN_ENCODER_DIR", str(tmp_path))
    assert doctor._encoder_missing(foreign) is None
