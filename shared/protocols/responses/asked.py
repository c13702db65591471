"""A request in the Responses API's form, put into the inner form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.protocols import compact, mapping, objects, text_of_parts, words_of
from shared.protocols.keepsake import give_back, joined, of_calls, opened

SAME = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "service_tier",
    "user",
)
"""Parameters that both call alike."""
CARRIED = frozenset(
    {
        *SAME,
        "model",
        "input",
        "instructions",
        "max_output_tokens",
        "reasoning",
        "text",
        "tools",
        "tool_choice",
        "include",
        "metadata",
        "store",
        "stream",
        "stream_options",
        "previous_response_id",
    }
)
"""Fields that mean something here; others only OpenAI's own servers know."""
FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input, as it is."}},
    "required": ["input"],
}
"""A custom tool takes a text; as a function it takes an object with that text."""


def turns_of(
    items: Sequence[Mapping[str, Any]], instructions: Any, left_out: set[str]
) -> list[dict[str, Any]]:
    """The conversation of a request, oldest first. What has no place in the inner form is added to
    `left_out`."""
    turns: list[dict[str, Any]] = []
    if instructions:
        turns.append({"role": "system", "content": text_of_parts(instructions)})
    kept: dict[str, Any] | None = None
    media: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type") or "message"
        if kind not in OUTPUTS and media:  # behind the last output: calls want theirs first
            turns.append({"role": "user", "content": media})
            media = []
        if kind == "message":
            kept = _message(item, turns, kept, left_out)
        elif kind in ("function_call", "custom_tool_call"):
            kept = _call(item, turns, kept)
        elif kind in OUTPUTS:
            media += _output(item, turns, left_out)
            kept = None
        elif kind == "reasoning":
            kept = _kept(_thought(item), turns, kept)
        else:
            left_out.add(str(kind))
    return turns + ([{"role": "user", "content": media}] if media else [])


OUTPUTS = ("function_call_output", "custom_tool_call_output")


def _kept(
    thought: dict[str, Any] | None, turns: list[dict[str, Any]], kept: dict[str, Any] | None
) -> dict[str, Any] | None:
    """A keepsake waits for the turn behind it, unless it belongs to calls before it."""
    if thought is None:
        return kept
    called = {call["id"] for call in turns[-1].get("tool_calls", ())} if turns else set()
    if called & mapping(thought.get("calls")).keys():
        give_back(turns[-1], thought)
        return kept
    return joined(kept, thought)


def items_of(given: Any) -> list[dict[str, Any]]:
    """The input as items: a text is a user's message."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return [dict(item) for item in objects(given)]


def _message(
    item: Mapping[str, Any],
    turns: list[dict[str, Any]],
    kept: dict[str, Any] | None,
    left_out: set[str],
) -> dict[str, Any] | None:
    role = str(item.get("role", "user"))
    content = _content(item.get("content"), left_out)
    if role != "assistant":
        turns.append({"role": role, "content": content})
        return None
    turn: dict[str, Any] = {"role": "assistant", "content": text_of_parts(content)}
    turns.append(turn)
    if kept is not None:
        give_back(turn, kept)
    return None


def _call(
    item: Mapping[str, Any], turns: list[dict[str, Any]], kept: dict[str, Any] | None
) -> dict[str, Any] | None:
    """A call joins the assistant's turn before it."""
    if not turns or turns[-1].get("role") != "assistant":
        turns.append({"role": "assistant", "content": None})
    turn = turns[-1]
    arguments = item.get("arguments")
    if item.get("type") == "custom_tool_call":
        arguments = compact({"input": words_of(item.get("input"))})
    name = words_of(item.get("name"))
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else "{}"}
    call = {"id": words_of(item.get("call_id")), "type": "function", "function": function}
    turn["tool_calls"] = [*turn.get("tool_calls", ()), call]
    if kept is not None:
        give_back(turn, kept)
        return of_calls(kept)
    return None


def _output(
    item: Mapping[str, Any], turns: list[dict[str, Any]], left_out: set[str]
) -> list[dict[str, Any]]:
    """The turn of a tool's output, and its pictures, which that turn has no place for."""
    output = item.get("output")
    content = _content(output, left_out) if not isinstance(output, str) else output
    text = text_of_parts(content)
    media = (
        [part for part in content if part.get("type") != "text"]
        if isinstance(content, list)
        else []
    )
    if media and not text:
        text = "(what this tool returned follows)"
    turns.append({"role": "tool", "tool_call_id": words_of(item.get("call_id")), "content": text})
    return media


def _thought(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a model gets back of its thoughts."""
    if (kept := opened(item.get("encrypted_content"))) is not None:
        return kept
    content = item.get("content")
    words = text_of_parts(content) if content else ""
    return {"reasoning_content": words} if words else None


def _content(content: Any, left_out: set[str]) -> str | list[dict[str, Any]]:
    if not isinstance(content, list):
        return words_of(content)
    parts = [part for one in content if (part := _part(one, left_out)) is not None]
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def _part(part: Any, left_out: set[str]) -> dict[str, Any] | None:
    if not isinstance(part, Mapping):
        return None
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return {"type": "text", "text": words_of(part.get("text"))}
    if kind == "refusal":
        return {"type": "text", "text": words_of(part.get("refusal"))}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if part.get("detail") not in (None, "auto"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file" and (part.get("file_data") or part.get("file_url")):
        name = part.get("filename") or "document.pdf"
        data = part.get("file_data") or part.get("file_url")
        return {"type": "file", "file": {"filename": name, "file_data": data}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), Mapping):
        return {"type": "input_audio", "input_audio": dict(part["input_audio"])}
    left_out.add(f"{kind} by id" if part.get("file_id") else str(kind))
    return None


def parameters_of(body: Mapping[str, Any], left_out: set[str]) -> dict[str, Any]:
    """What stands beside the conversation, as the inner form has it."""
    parameters = {name: body[name] for name in SAME if body.get(name) is not None}
    if body.get("max_output_tokens") is not None:
        parameters["max_tokens"] = body["max_output_tokens"]
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping) and isinstance(reasoning.get("effort"), str):
        parameters["reasoning_effort"] = reasoning["effort"]
    text = mapping(body.get("text"))
    if isinstance(text.get("verbosity"), str) and text["verbosity"] != "medium":
        parameters["verbosity"] = text["verbosity"]
    wanted_format = text.get("format")
    if isinstance(wanted_format, Mapping) and wanted_format.get("type") not in (None, "text"):
        parameters["response_format"] = _format(wanted_format)
    tools, choice = _allowed(body)
    made = [chat for tool in tools if (chat := _tool(tool, left_out)) is not None]
    if made:
        parameters["tools"] = made
        if (chosen := _choice(choice)) is not None:
            parameters["tool_choice"] = chosen
    else:
        parameters.pop("parallel_tool_calls", None)
    left_out.update(
        name
        for name in body.keys() - CARRIED
        if body[name] is not None and body[name] not in ("auto", "disabled")
    )
    return parameters


def _format(wanted: Mapping[str, Any]) -> dict[str, Any]:
    if wanted.get("type") != "json_schema":
        return dict(wanted)
    schema = {
        name: wanted[name] for name in ("name", "description", "schema", "strict") if name in wanted
    }
    return {"type": "json_schema", "json_schema": schema}


def _allowed(body: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """The tools, and how they are chosen; a choice may name which of them are allowed."""
    tools = objects(body.get("tools"))
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        names = [tool.get("name") for tool in objects(choice.get("tools"))]
        tools = [tool for tool in tools if tool.get("name") in names]
        choice = choice.get("mode", "auto")
    return tools, choice


def _tool(tool: Any, left_out: set[str]) -> dict[str, Any] | None:
    if not isinstance(tool, Mapping):
        return None
    if tool.get("type") == "function":
        function = {name: tool[name] for name in ("name", "description") if tool.get(name)}
        function["parameters"] = tool.get("parameters") or {"type": "object", "properties": {}}
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        return {"type": "function", "function": function}
    if tool.get("type") == "custom":
        about = words_of(tool.get("description"))
        grammar = tool.get("format")
        if isinstance(grammar, Mapping) and grammar.get("definition"):
            about += f"\n\nThe input follows this grammar:\n{grammar['definition']}"
        function = {
            "name": words_of(tool.get("name")),
            "description": about,
            "parameters": FREE_TEXT,
        }
        return {"type": "function", "function": function}
    left_out.add(f"tool {tool.get('type')}")
    return None


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if isinstance(choice, Mapping) and choice.get("type") in ("function", "custom"):
        return {"type": "function", "function": {"name": words_of(choice.get("name"))}}
    return None


def custom_tools(body: Mapping[str, Any]) -> frozenset[str]:
    """Names of tools whose input is a text."""
    return frozenset(
        str(tool.get("name")) for tool in objects(body.get("tools")) if tool.get("type") == "custom"
    )
