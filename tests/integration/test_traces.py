"""One trace from the gateway to the decision, the completion and the evaluation; another from a
producer's own. No prompt stands in it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Pipeline, eventually, running_pipeline
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from published import build_and_publish

from services.flows import workers
from services.workbench.building import TableSource
from shared.adapters.keys import new, write
from shared.contracts.scopes import Scope

PROMPT = "canary-0815 Translate the notice on our door into French, please."


class Collector:
    """An OpenTelemetry collector of the tests' own: keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                outer.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            service = next(
                a.value.string_value for a in group.resource.attributes if a.key == "service.name"
            )
            for scope in group.scope_spans:
                self.spans += [
                    {
                        "service": service.removeprefix("pointsman-"),
                        "name": s.name,
                        "trace": s.trace_id.hex(),
                        "id": s.span_id.hex(),
                        "parent": s.parent_span_id.hex(),
                        "told": {a.key: str(a.value) for a in s.attributes},
                        "seconds": (s.end_time_unix_nano - s.start_time_unix_nano) / 1e9,
                    }
                    for s in scope.spans
                ]

    def of(self, trace: str) -> list[dict[str, Any]]:
        return [s for s in self.spans if s["trace"] == trace]

    def path(self, span: dict[str, Any]) -> list[str]:
        """The services from the root to this span."""
        by_id = {s["id"]: s for s in self.spans}
        names = [span["service"]]
        while (span := by_id.get(span["parent"], {})) != {}:
            names.insert(0, span["service"])
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


@pytest.fixture(scope="module")
def collector() -> Collector:
    return Collector()


@pytest.fixture(scope="module")
async def traced(
    installation: dict[str, str], collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Pipeline, str]]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    clear, key = new("team", frozenset({Scope.complete, Scope.route}), None, None)
    write(file, (key,))
    environment = {
        "POINTSMAN_TRACE_ENDPOINT": collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "POINTSMAN_DESCRIBER_BACKEND": "llm",
        "POINTSMAN_JUDGE_RATE": "1",
        "POINTSMAN_KEYS_FILE": str(file),
        "POINTSMAN_GATEWAY_PORT": "0",
    }
    async with running_pipeline((*workers(), "gateway"), **environment) as made:
        await build_and_publish(TableSource(simulated=True, k="10"), "first")
        yield made, clear


async def test_one_trace_from_the_gateway_to_the_evaluation(
    traced: tuple[Pipeline, str], collector: Collector
) -> None:
    pipeline, key = traced
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with httpx.AsyncClient(
        base_url=pipeline.running.addresses["gateway"], timeout=30
    ) as http:

        async def judged() -> bool:
            headers = {
                "authorization": f"Bearer {key}",
                "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
            }
            answer = await http.post(
                "/v1/chat/completions",
                json={"model": "auto", "messages": [{"role": "user", "content": PROMPT}]},
                headers=headers,
            )
            assert answer.status_code == 200
            await asyncio.sleep(2)
            return any(
                s["service"] == "judge" and "pointsman.evaluation_id" in s["told"]
                for s in collector.of(trace)
            )

        await eventually(judged, 60)
    spans = collector.of(trace)
    assert {"gateway", "describer", "embedder", "assigner", "selector", "judge"} <= {
        s["service"] for s in spans
    }
    decision = next(
        s for s in spans if "pointsman.decision.status" in s["told"] and s["service"] == "selector"
    )
    assert collector.path(decision) == ["gateway", "describer", "embedder", "assigner", "selector"]
    evaluation = next(s for s in spans if "pointsman.evaluation_id" in s["told"])
    assert collector.path(evaluation) == ["gateway", "judge"]
    call = next(s for s in spans if s["service"] == "gateway" and s["name"].startswith("chat "))
    assert {
        "gen_ai.request.model",
        "gen_ai.usage.output_tokens",
        "gen_ai.provider.name",
        "pointsman.cost_usd",
    } <= call["told"].keys()
    assert collector.path(call) == ["gateway"]
    assert all(s["seconds"] >= 0 for s in spans)


async def test_a_producers_own_trace_goes_on_through_the_queue(
    traced: tuple[Pipeline, str], collector: Collector
) -> None:
    pipeline, _ = traced
    trace = "0af7651916cd43dd8448eb211c80319c"
    body = {"prompt": PROMPT, "request_id": "traced-1", "answer": True}
    header = ("traceparent", f"00-{trace}-b7ad6b7169203331-01".encode())
    await pipeline.traffic.out.send_and_wait(
        pipeline.kafka.topic_prefix + "prompts",
        json.dumps(body).encode(),
        key=b"traced-1",
        headers=[header],
    )

    def path() -> list[str]:
        """Each service sends its spans in its own time, so the last may come before the first."""
        completion = next(
            (s for s in collector.of(trace) if "pointsman.completion.status" in s["told"]), None
        )
        return collector.path(completion) if completion else []

    await eventually(lambda: len(path()) == 5, 30)
    assert path() == ["describer", "embedder", "assigner", "selector", "dispatcher"]
    root = next(s for s in collector.of(trace) if s["service"] == "describer")
    assert root["parent"] == "b7ad6b7169203331"


async def test_a_trace_that_its_beginner_does_not_keep_is_not_sent_and_a_dead_letter_is_an_error(
    traced: tuple[Pipeline, str], collector: Collector
) -> None:
    pipeline, _ = traced
    unkept, bad = "1af7651916cd43dd8448eb211c80319c", "2af7651916cd43dd8448eb211c80319c"
    for trace, flag, body in ((unkept, "00", {"prompt": PROMPT}), (bad, "01", {"prompt": ""})):
        header = ("traceparent", f"00-{trace}-b7ad6b7169203331-{flag}".encode())
        await pipeline.traffic.out.send_and_wait(
            pipeline.kafka.topic_prefix + "prompts",
            json.dumps(body).encode(),
            key=b"x",
            headers=[header],
        )
    await eventually(lambda: collector.of(bad), 20)
    assert not collector.of(unkept)


async def test_no_prompt_and_no_answer_stands_in_any_span(collector: Collector) -> None:
    assert len(collector.spans) > 12
    assert "canary-0815" not in json.dumps(collector.spans)
    assert "[simulated answer" not in json.dumps(collector.spans)
