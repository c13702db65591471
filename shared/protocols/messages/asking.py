"""A conversation in the inner form, put as a request in Anthropic's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.contracts.needs import SAMPLING, output_limit
from shared.protocols import KEEPSAKE, NATIVE, arguments_of, data_url, objects, words_of
from shared.protocols.messages import asked
from shared.protocols.portable import plain_id

BYTES = re.compile(r"[A-Za-z0-9+/]+={0,2}")
"""How base64 begins, and no address."""
PDF = "application/pdf"
IDS = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Ids of tool calls that Anthropic takes."""
BETAS = "anthropic-beta"
"""Under which key of what came in Anthropic's form its header of that name stands."""
LEAST_BUDGET = 1024
"""Tokens of thinking that Anthropic takes at least."""
TIERS = {inner: name for name, inner in asked.TIERS.items()}
"""Anthropic's names of OpenAI's tiers of service."""
MOST_MARKS = 4
"""Of what is to be cached, that Anthropic takes."""
DEFAULT_OUTPUT = 8192
"""Tokens of an answer where nobody says; Anthropic wants a figure."""
CARRIED_TO = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "stop",
        "temperature",
        "top_p",
        "top_k",
        "reasoning_effort",
        "response_format",
        "user",
        "metadata",
        "service_tier",
        "modalities",
        "n",
        "store",
        NATIVE,
    }
)
"""Parameters of a chat that are put into Anthropic's form, or mean nothing there."""


def request_of(
    model: str, turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """A conversation as Anthropic's API takes it. What came in its form goes as it came."""
    native = parameters.get(NATIVE)
    came = isinstance(native, Mapping)
    system = [turn for turn in turns if _is_system(turn) and not (came and NATIVE in turn)]
    talk = _merged([turn for turn in turns if not _is_system(turn) or (came and NATIVE in turn)])
    limit = output_limit(parameters)
    if isinstance(native, Mapping):
        body = _fitted(native, parameters, limit) | {"model": model, "messages": talk}
        if "max_tokens" in native and limit is None:
            return body | {"max_tokens": native["max_tokens"]}
    else:
        body = {"model": model, "messages": talk} | _beside(parameters)
        if not talk and system:  # Anthropic wants somebody to be answered
            body["messages"] = [{"role": "user", "content": _system(system)}]
        elif words := _system(system):
            body["system"] = words
        if any(message["role"] == "assistant" for message in talk) and _marks(body) < MOST_MARKS:
            body["cache_control"] = {"type": "ephemeral"}  # Anthropic caches what it is told to
    return body | {"max_tokens": DEFAULT_OUTPUT if limit is None else limit}


def _marks(body: Mapping[str, Any]) -> int:
    """How many blocks of a request say themselves that they are to be cached."""
    blocks = [*objects(body.get("tools")), *objects(body.get("system"))]
    for message in body["messages"]:
        blocks += objects(message["content"])
    return sum("cache_control" in block for block in blocks)


def _is_system(turn: Mapping[str, Any]) -> bool:
    return turn.get("role") in ("system", "developer")


def _fitted(
    native: Mapping[str, Any], parameters: Mapping[str, Any], limit: int | None
) -> dict[str, Any]:
    """What came in Anthropic's form, as far as the model takes it: `parameters` are fitted."""
    left = {BETAS} | ((SAMPLING - {"top_k"}) - parameters.keys())
    body = {name: value for name, value in native.items() if name not in left}
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    clamped = limit if limit != native.get("max_tokens") else None
    if isinstance(thinking, Mapping) and isinstance(budget, int) and clamped:
        body["thinking"] = {**thinking, "budget_tokens": min(budget, clamped - 1)}
        if clamped <= LEAST_BUDGET:
            del body["thinking"]
    config = body.get("output_config")
    effort = parameters.get("reasoning_effort")
    if isinstance(config, Mapping) and config.get("effort") not in (None, effort):
        rest = {name: value for name, value in config.items() if name != "effort"}
        body["output_config"] = rest | ({"effort": effort} if effort else {})
    return body


def unspoken(turns: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a chat has no place in Anthropic's form: parameters, and kinds of content."""
    if isinstance(parameters.get(NATIVE), Mapping):
        return ()
    others = sorted(parameters.keys() - CARRIED_TO)
    names = [name for name in others if parameters[name] is not None]
    several = parameters.get("n")
    if isinstance(several, int) and several > 1:
        names.append("n")
    wanted_format = parameters.get("response_format")
    if isinstance(wanted_format, Mapping) and wanted_format.get("type") == "json_object":
        names.append("response_format")
    if _thinks(parameters):
        names += [name for name in sorted(SAMPLING) if parameters.get(name) is not None]
    elif parameters.get("temperature") is not None and parameters.get("top_p") is not None:
        names.append("top_p")
    if (tier := parameters.get("service_tier")) is not None and tier not in TIERS:
        names.append("service_tier")
    for turn in turns:
        names += [
            str(part.get("type"))
            for part in objects(turn.get("content"))
            if part.get("type") != "text" and _block(part) is None
        ]
    return tuple(dict.fromkeys(names))


def _thinks(parameters: Mapping[str, Any]) -> bool:
    """Whether thoughts are asked for; Anthropic takes no temperature then, and no forced tool."""
    effort = parameters.get("reasoning_effort")
    choice = parameters.get("tool_choice")
    forced = choice == "required" or isinstance(choice, Mapping)
    return isinstance(effort, str) and effort not in ("none", "minimal") and not forced


def _system(turns: Iterable[Mapping[str, Any]]) -> Any:
    blocks: list[dict[str, Any]] = []
    for turn in turns:
        blocks.extend(_blocks(turn.get("content")))
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _beside(parameters: Mapping[str, Any]) -> dict[str, Any]:
    thinks = _thinks(parameters)
    body: dict[str, Any] = {
        name: parameters[name]
        for name in ("top_p", "top_k")
        if parameters.get(name) is not None and not thinks
    }
    if not thinks and isinstance(temperature := parameters.get("temperature"), (int, float)):
        body["temperature"] = min(1.0, temperature)
        body.pop("top_p", None)  # Anthropic takes one of the two
    if (tier := TIERS.get(words_of(parameters.get("service_tier")))) is not None:
        body["service_tier"] = tier
    stop = parameters.get("stop")
    if isinstance(stop, (str, list)) and stop:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if tools := [_anthropic_tool(tool) for tool in objects(parameters.get("tools"))]:
        body["tools"] = [tool for tool in tools if tool]
        if choice := _anthropic_choice(parameters):
            body["tool_choice"] = choice
    effort = parameters.get("reasoning_effort")
    config: dict[str, Any] = {}
    if thinks:
        body["thinking"] = {"type": "adaptive"}
        config["effort"] = effort
    wanted_format = parameters.get("response_format")
    if isinstance(wanted_format, Mapping) and wanted_format.get("type") == "json_schema":
        schema = wanted_format.get("json_schema")
        schema = schema.get("schema") if isinstance(schema, Mapping) else None
        config["format"] = {"type": "json_schema", "schema": schema}
    if config:
        body["output_config"] = config
    if isinstance(user := parameters.get("user"), str):
        body["metadata"] = {"user_id": user}
    return body


def _anthropic_tool(tool: Any) -> dict[str, Any] | None:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        return None
    made = {
        "name": function.get("name", ""),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("strict"):
        made["strict"] = True
    return made | ({"cache_control": tool["cache_control"]} if tool.get("cache_control") else {})


def _anthropic_choice(parameters: Mapping[str, Any]) -> dict[str, Any]:
    choice = parameters.get("tool_choice")
    kinds = {"auto": "auto", "required": "any", "none": "none"}
    made: dict[str, Any] = {}
    if isinstance(choice, str) and choice in kinds:
        made = {"type": kinds[choice]}
    elif isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        made = {"type": "tool", "name": choice["function"].get("name", "")}
    if parameters.get("parallel_tool_calls") is False and choice != "none":
        made = (made or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return made


def _merged(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Turns as messages: those of one side that follow each other are one."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        role = {"assistant": "assistant", "system": "system"}.get(str(turn.get("role")), "user")
        came = turn.get(NATIVE)
        if came is not None and (came or role == "user"):
            if not came:
                continue  # it stands in the turn before
            content: Any = _taken(came)
        else:
            content = _anthropic_content(turn)
        if not content:
            continue
        if messages and messages[-1]["role"] == role:
            content = _listed(messages[-1]["content"]) + _listed(content)
            messages[-1] = {"role": role, "content": content}
        else:
            messages.append({"role": role, "content": content})
    return messages


def _taken(content: Any) -> Any:
    """Anthropic's own blocks as it takes them: without keepsakes of other models, and with ids of
    tool calls that another model may have made up."""
    if not isinstance(content, list):
        return content if words_of(content).strip() else ""
    return [
        _with_id(block) if isinstance(block, Mapping) else block
        for block in content
        if not (isinstance(block, Mapping) and (_is_keepsake(block) or _is_blank(block)))
    ]


def _is_keepsake(block: Mapping[str, Any]) -> bool:
    return any(words_of(block.get(name)).startswith(KEEPSAKE) for name in ("signature", "data"))


def _is_blank(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "text" and not words_of(block.get("text")).strip()


def _with_id(block: Mapping[str, Any]) -> Mapping[str, Any]:
    name = "tool_use_id" if block.get("type") == "tool_result" else "id"
    called = block.get(name)
    return {**block, name: _id(called)} if isinstance(called, str) else block


def _listed(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _anthropic_content(turn: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    if turn.get("role") == "tool":
        return [_anthropic_result(turn)]
    if turn.get("role") != "assistant" and isinstance(turn.get("content"), str):
        text: str = turn["content"]
        return text if text.strip() else ""
    blocks = [dict(block) for block in objects(turn.get("thinking_blocks"))]
    blocks += _blocks(turn.get("content"))
    for call in objects(turn.get("tool_calls")):
        if isinstance(function := call.get("function"), Mapping):
            blocks.append(
                {
                    "type": "tool_use",
                    "id": _id(str(call.get("id", ""))),
                    "name": function.get("name", ""),
                    "input": arguments_of(function.get("arguments")),
                }
            )
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _anthropic_result(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_use_id": _id(str(turn.get("tool_call_id", ""))),
        "content": turn["content"]
        if isinstance(turn.get("content"), str)
        else _blocks(turn.get("content")),
    }


def _id(name: str) -> str:
    return name if IDS.fullmatch(name) else plain_id(name)


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Parts as blocks. Texts without words, which Anthropic refuses, are left out."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return [block for part in objects(content) if (block := _block(part)) is not None]


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = part.get("type")
    extras = {"cache_control": part["cache_control"]} if part.get("cache_control") else {}
    if kind == "text":
        text = words_of(part.get("text"))
        return {"type": "text", "text": text} | extras if text.strip() else None
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        return {"type": "image", "source": _source(str(url))} | extras
    file = part.get("file")
    if kind == "file" and isinstance(file, Mapping) and isinstance(file.get("file_data"), str):
        source = _source(file["file_data"])
        if BYTES.fullmatch(file["file_data"][:80]):
            source = {"type": "base64", "media_type": PDF, "data": file["file_data"]}
        made: dict[str, Any] = {"type": "document", "source": source}
        if isinstance(name := file.get("filename"), str) and name != "document.pdf":
            made["title"] = name
        return made | extras
    return None


def _source(url: str) -> dict[str, Any]:
    data = data_url(url)
    if data is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": data[0], "data": data[1]}
