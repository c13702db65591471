"""A request in Anthropic's form, put into the inner form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.protocols import NATIVE, compact, objects, words_of
from shared.protocols.keepsake import give_back, joined, opened

EFFORT_BY_BUDGET = ((4096, "low"), (16384, "medium"))
"""Up to this many tokens of thinking are that effort; more is high."""
SAME = ("temperature", "top_p")
"""Parameters that both call alike."""
CARRIED = frozenset(
    {
        *SAME,
        "model",
        "messages",
        "system",
        "max_tokens",
        "stop_sequences",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "stream",
        "cache_control",
        "service_tier",
    }
)
"""Parameters that other protocols have, too."""
TIERS = {"auto": "auto", "standard_only": "default"}
"""OpenAI's names of Anthropic's tiers of service."""
ASKED_FOR_THOUGHTS = frozenset({"enabled", "adaptive"})


def turns_of(body: Mapping[str, Any], left_out: set[str]) -> list[dict[str, Any]]:
    """The conversation of a request. What has no place in the inner form is added to `left_out`."""
    turns: list[dict[str, Any]] = []
    if system := body.get("system"):
        turns.append({"role": "system", "content": _content(system, left_out)})
    for message in body.get("messages") or ():
        came = message.get("content")
        made = (
            _assistant(came, left_out)
            if message.get("role") == "assistant"
            else _asked(str(message.get("role", "user")), came, left_out)
        )
        for place, turn in enumerate(made):
            turns.append(turn | {NATIVE: came if place == 0 else []})
    return turns


def parameters_of(body: Mapping[str, Any], left_out: set[str]) -> dict[str, Any]:
    """What stands beside the conversation, as the inner form has it."""
    parameters: dict[str, Any] = {name: body[name] for name in SAME if body.get(name) is not None}
    if (tier := TIERS.get(words_of(body.get("service_tier")))) is not None:
        parameters["service_tier"] = tier
    elif body.get("service_tier") is not None:
        left_out.add("service_tier")
    if body.get("max_tokens") is not None:
        parameters["max_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        parameters["stop"] = list(body["stop_sequences"])
    if tools := [made for tool in objects(body.get("tools")) if (made := _tool(tool, left_out))]:
        parameters["tools"] = tools
    parameters |= _tool_choice(body.get("tool_choice"), has_tools=bool(tools))
    if effort := _effort(body):
        parameters["reasoning_effort"] = effort
    config = body.get("output_config")
    wanted_format = config.get("format") if isinstance(config, Mapping) else None
    if isinstance(wanted_format, Mapping) and wanted_format.get("type") == "json_schema":
        wanted = wanted_format.get("schema")
        schema = {"name": "answer", "schema": wanted, "strict": _is_strict(wanted)}
        parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
    left_out.update(name for name in body.keys() - CARRIED if body[name] is not None)
    parameters[NATIVE] = {
        name: value for name, value in body.items() if name not in ("messages", "model", "stream")
    }
    return parameters


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI takes a schema as strict: each of its objects wants every property, and no
    other. Anthropic takes more."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    properties = schema.get("properties")
    required = schema.get("required")
    if (isinstance(properties, Mapping) or schema.get("type") == "object") and (
        schema.get("additionalProperties") is not False
        or not isinstance(required, list)
        or any(name not in required for name in properties or ())
    ):
        return False
    return all(map(_is_strict, schema.values()))


def asks_for_thoughts(body: Mapping[str, Any]) -> bool:
    """Whether thoughts are wanted in the answer."""
    thinking = body.get("thinking")
    return isinstance(thinking, Mapping) and words_of(thinking.get("type")) in ASKED_FOR_THOUGHTS


def _effort(body: Mapping[str, Any]) -> str | None:
    config = body.get("output_config")
    if isinstance(config, Mapping) and isinstance(config.get("effort"), str):
        effort: str = config["effort"]
        return effort
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if not isinstance(budget, int):
        return None
    return next((name for most, name in EFFORT_BY_BUDGET if budget <= most), "high")


def _tool(tool: Any, left_out: set[str]) -> dict[str, Any] | None:
    if not isinstance(tool, Mapping):
        return None
    if tool.get("type", "custom") != "custom" or "input_schema" not in tool:
        left_out.add(f"tool {tool.get('type') or tool.get('name')}")
        return None
    function = {
        "name": words_of(tool.get("name")),
        "description": words_of(tool.get("description")),
        "parameters": tool["input_schema"],
    }
    if tool.get("strict") is not None:
        function["strict"] = bool(tool["strict"]) and _is_strict(tool["input_schema"])
    marked = {"cache_control": tool["cache_control"]} if tool.get("cache_control") else {}
    return {"type": "function", "function": function} | marked


def _tool_choice(choice: Any, *, has_tools: bool) -> dict[str, Any]:
    if not isinstance(choice, Mapping) or not has_tools:
        return {}
    kinds: dict[Any, Any] = {
        "auto": "auto",
        "any": "required",
        "none": "none",
        "tool": {"type": "function", "function": {"name": choice.get("name", "")}},
    }
    kind = choice.get("type")
    made = {"tool_choice": kinds[kind]} if isinstance(kind, str) and kind in kinds else {}
    if choice.get("disable_parallel_tool_use"):
        made["parallel_tool_calls"] = False
    return made


def _content(content: Any, left_out: set[str]) -> str | list[dict[str, Any]]:
    """Blocks as parts; as a text where they are one text and nothing more."""
    if isinstance(content, str):
        return content
    parts = [part for block in objects(content) if (part := _part(block, left_out)) is not None]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts


def _part(block: Any, left_out: set[str]) -> dict[str, Any] | None:
    if not isinstance(block, Mapping):
        return None
    kind = block.get("type")
    extras = {"cache_control": block["cache_control"]} if block.get("cache_control") else {}
    if kind == "text":
        return {"type": "text", "text": words_of(block.get("text"))} | extras
    source = block.get("source")
    if kind in ("image", "document") and isinstance(source, Mapping):
        if (part := _medium(str(kind), block, source)) is not None:
            return part | extras
        left_out.add(f"{kind} from {source.get('type')}")
        return None
    left_out.add(str(kind))
    return None


def _medium(
    kind: str, block: Mapping[str, Any], source: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A picture or a document, where its source can be carried over."""
    if source.get("type") == "base64":
        url = f"data:{source.get('media_type', '')};base64,{source.get('data', '')}"
    elif source.get("type") == "url":
        url = str(source.get("url", ""))
    elif kind == "document" and source.get("type") == "text":
        title = f"{block['title']}\n\n" if isinstance(block.get("title"), str) else ""
        return {"type": "text", "text": f"{title}{source.get('data', '')}"}
    else:
        return None
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    name = block.get("title") if isinstance(block.get("title"), str) else "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": url}}


def _asked(role: str, content: Any, left_out: set[str]) -> list[dict[str, Any]]:
    """A user's message: the results of tools, each a turn of its own, and what is left."""
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    results: list[dict[str, Any]] = []
    rest: list[Any] = []
    for block in objects(content):
        if block.get("type") == "tool_result":
            turn, pictures = _tool_result(block, left_out)
            results.append(turn)
            rest.extend(pictures)
        else:
            rest.append(block)
    parts = _content(rest, left_out)
    return results + ([{"role": role, "content": parts}] if parts or not results else [])


def _tool_result(
    block: Mapping[str, Any], left_out: set[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A tool's result, and its pictures, which a tool's turn has no place for."""
    content = block.get("content")
    blocks: list[Any] = (
        [{"type": "text", "text": content}] if isinstance(content, str) else objects(content)
    )
    parts = [part for one in blocks if (part := _part(one, left_out)) is not None]
    words = [part for part in parts if part["type"] == "text"]
    others = [
        dict(one)
        for one in blocks
        if isinstance(one, Mapping) and one.get("type") in ("image", "document")
    ]
    text = "\n".join(part["text"] for part in words)
    if block.get("is_error"):
        text = f"Error: {text}" if text else "Error"
    if others and not text:
        text = "(what this tool returned follows)"
    said: Any = text
    if mark := block.get("cache_control"):  # where the next turn's cache ends
        said = [{"type": "text", "text": text, "cache_control": mark}]
    called = words_of(block.get("tool_use_id"))
    return {"role": "tool", "tool_call_id": called, "content": said}, others


def _assistant(content: Any, left_out: set[str]) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "assistant", "content": content}]
    texts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    kept: dict[str, Any] | None = None
    for block in objects(content):
        kind = block.get("type")
        if kind == "text":
            texts.append({"type": "text", "text": words_of(block.get("text"))})
        elif kind == "tool_use":
            function = {
                "name": words_of(block.get("name")),
                "arguments": compact(block.get("input", {})),
            }
            calls.append(
                {"id": words_of(block.get("id")), "type": "function", "function": function}
            )
        elif kind in ("thinking", "redacted_thinking"):
            ours = opened(block.get("signature") or block.get("data"))
            kept = joined(kept, ours)  # Anthropic's own go to a model of Anthropic's alone
        else:
            left_out.add(str(kind))
    text = "".join(part["text"] for part in texts)
    turn: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if calls:
        turn["tool_calls"] = calls
    if kept is not None:
        give_back(turn, kept)
    return [turn]
