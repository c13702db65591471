"""A SCRIPTED model for clients: it says hello, calls the tool that it is given, and says what the
tool returned. Given an agent's tools it writes a file, then writes it anew, then says so.

It speaks Chat Completions and Anthropic's Messages, whole and streamed, so that a conversation can
change from a model of one kind to one of the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.protocols.messages.answers import MessageEvents, answer_of
from shared.protocols.messages.asked import parameters_of, turns_of

TEXTS = ("first draft", "second draft")


@dataclass
class StandIn:
    """`log` has the model and what it did, call by call."""

    log: list[tuple[str, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    unwell: set[str] = field(default_factory=set)
    """Models that fail from their second answer with a tool call on."""
    file: str = "note.txt"

    def answer(
        self, model: str, turns: list[dict[str, Any]], tools: Iterable[Any]
    ) -> dict[str, Any]:
        """A completion in the inner form."""
        functions = [tool["function"] for tool in tools or () if tool.get("type") == "function"]
        names = [function["name"] for function in functions]
        results = [turn for turn in turns if turn["role"] == "tool"]
        done = len(results)
        call = None
        if names == ["weather"]:
            call = ("weather", {}) if not done else None
        elif done < len(TEXTS):
            call = self.writing({function["name"]: function for function in functions}, TEXTS[done])
        said: dict[str, Any] = {"role": "assistant", "content": None}
        if call is not None:
            function = {"name": call[0], "arguments": json.dumps(call[1])}
            said["tool_calls"] = [
                {"id": f"call_{model[-5:]}_{done}", "type": "function", "function": function}
            ]
            self.log.append((model, call[0]))
        else:
            last = results[-1]["content"] if results else "hello"
            said["content"] = f"SCRIPTED: {last}"
            if names:
                self.log.append((model, "says"))
        finish = "tool_calls" if call else "stop"
        return {
            "id": "x",
            "model": model,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": said, "finish_reason": finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }

    def writing(self, tools: dict[str, Any], text: str) -> tuple[str, dict[str, Any]] | None:
        """The call that writes `text` into the file with whatever tool there is."""
        command = f"printf '%s' '{text}' > {self.file}"
        for name in ("Bash", "bash"):
            if name in tools:
                return name, {"command": command, "description": "Write the file"}
        if "exec_command" in tools:
            return "exec_command", {"cmd": command}
        if "shell_command" in tools:
            return "shell_command", {"command": command}
        if "shell" in tools:
            return "shell", {"command": ["bash", "-lc", command]}
        return None

    def fails(self, model: str) -> bool:
        return model in self.unwell and any(who == model for who, _ in self.log)

    async def chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        if self.fails(body["model"]):
            return JSONResponse({"error": {"message": "unwell"}}, 503)
        done = self.answer(body["model"], body["messages"], body.get("tools"))
        if not body.get("stream"):
            return JSONResponse(done)
        events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in _chunks(done))
        return Response(f"{events}data: [DONE]\n\n", media_type="text/event-stream")

    async def messages(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append(body)
        if self.fails(body["model"]):
            error = {"type": "overloaded_error", "message": "unwell"}
            return JSONResponse({"type": "error", "error": error}, 529)
        tools = parameters_of(body, set()).get("tools")
        done = self.answer(body["model"], turns_of(body, set()), tools)
        if not body.get("stream"):
            return JSONResponse(answer_of(done, thoughts=False))
        made = MessageEvents("msg_up", body["model"], 100, thoughts=False)
        events = "".join(
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            for chunk in _chunks(done)
            for event in made.take(chunk)
        )
        return Response(events, media_type="text/event-stream")

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/messages", self.messages, methods=["POST"]),
            ]
        )


def _chunks(done: dict[str, Any]) -> Iterable[dict[str, Any]]:
    common = {"id": "x", "object": "chat.completion.chunk", "model": done["model"]}
    choice = done["choices"][0]
    said = dict(choice["message"])
    if "tool_calls" in said:
        said["tool_calls"] = [{"index": i, **call} for i, call in enumerate(said["tool_calls"])]
    yield common | {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield common | {"choices": [end], "usage": done["usage"]}
