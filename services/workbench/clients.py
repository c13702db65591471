"""The settings that point programs of others at the gateway: agents, editors, chat front-ends.
Pure, except for the home directory's name."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shared.contracts.errors import ContractError

CODEX_TABLE = "model_providers.pointsman"
PROFILES = ("auto", "auto:quality", "auto:balanced", "auto:economy", "auto:fast")


class SettingsUnreadable(ContractError):
    """A program's settings that are not in the form that it reads. The text says where."""


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where the gateway is, and what a program is to ask it."""

    address: str
    """Without /v1."""
    key: str
    model: str = "auto"
    small: str = "auto:economy"
    """For what a program asks beside the work: titles, summaries."""


@dataclass(frozen=True, slots=True)
class Client:
    """One program: how it is told."""

    name: str
    file: Path | None
    """Its settings. None: they are no file."""
    settings: Callable[[GatewayAddress], str]
    """What the settings say, for people to read or to copy."""
    merged: Callable[[str, GatewayAddress], str] | None
    """The settings' file with that in it. Raises `SettingsUnreadable`."""
    start: str
    """What to do then."""


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise SettingsUnreadable(f"they are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise SettingsUnreadable("they are not a JSON object")
    return value


def _written(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Objects one in the other; what `other` says goes before."""
    both = dict(one)
    for name, value in other.items():
        before = both.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            both[name] = _joined(before, value)
        else:
            both[name] = value
    return both


def _claude(gateway: GatewayAddress) -> dict[str, Any]:
    return {
        "env": {
            "ANTHROPIC_BASE_URL": gateway.address,
            "ANTHROPIC_AUTH_TOKEN": gateway.key,
            "ANTHROPIC_MODEL": gateway.model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": gateway.small,
        }
    }


def _opencode(gateway: GatewayAddress) -> dict[str, Any]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Pointsman",
        "options": {"baseURL": f"{gateway.address}/v1", "apiKey": gateway.key},
        "models": {name: {"name": name} for name in PROFILES},
    }
    return {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"pointsman": provider},
        "model": f"pointsman/{gateway.model}",
        "small_model": f"pointsman/{gateway.small}",
    }


def _codex(gateway: GatewayAddress) -> str:
    return (
        f'model = "{gateway.model}"\n'
        'model_provider = "pointsman"\n\n'
        f"[{CODEX_TABLE}]\n"
        'name = "Pointsman"\n'
        f'base_url = "{gateway.address}/v1"\n'
        'env_key = "POINTSMAN_API_KEY"\n'
        'wire_api = "responses"\n'
    )


def _codex_merged(text: str, gateway: GatewayAddress) -> str:
    top, *tables = re.split(r"(?m)^(?=\[)", text)
    ours = re.compile(rf"\[\s*{re.escape(CODEX_TABLE)}\s*\]")
    kept = [table for table in tables if not ours.match(table)]
    mine_top, mine_table = _codex(gateway).split("\n\n", 1)
    lines = [line for line in top.splitlines() if not re.match(r"\s*model(_provider)?\s*=", line)]
    head = "\n".join([mine_top, *lines]).rstrip() + "\n\n"
    body = "".join(kept).rstrip()
    made = head + (f"{body}\n\n" if body else "") + mine_table
    try:
        tomllib.loads(text)
        tomllib.loads(made)
    except tomllib.TOMLDecodeError as error:
        raise SettingsUnreadable(f"they are not TOML: {error}") from None
    return made


def _cursor(gateway: GatewayAddress) -> str:
    return (
        "in Cursor: Settings, Models, API Keys\n"
        f"  OpenAI API Key            {gateway.key}\n"
        f"  Override OpenAI Base URL  {gateway.address}/v1\n"
        f"  Add model                 {gateway.model}\n"
        "Cursor's servers make the calls. The address must be one that they can reach, not "
        "127.0.0.1.\n"
    )


def _openwebui(gateway: GatewayAddress) -> str:
    return (
        f"OPENAI_API_BASE_URL={gateway.address}/v1\n"
        f"OPENAI_API_KEY={gateway.key}\n"
        f"DEFAULT_MODELS={gateway.model}\n"
        f"TASK_MODEL_EXTERNAL={gateway.small}\n"
    )


def clients(home: Path) -> Mapping[str, Client]:
    """The programs, by name. A new one is a row here."""
    rows = (
        Client(
            "claude-code",
            home / ".claude" / "settings.json",
            lambda gateway: _written(_claude(gateway)),
            lambda text, gateway: _written(_joined(_json(text), _claude(gateway))),
            "claude",
        ),
        Client(
            "codex",
            home / ".codex" / "config.toml",
            _codex,
            _codex_merged,
            "export POINTSMAN_API_KEY={key}; codex",
        ),
        Client(
            "opencode",
            home / ".config" / "opencode" / "opencode.json",
            lambda gateway: _written(_opencode(gateway)),
            lambda text, gateway: _written(_joined(_json(text), _opencode(gateway))),
            "opencode",
        ),
        Client("cursor", None, _cursor, None, "choose the model in Cursor's chat"),
        Client(
            "openwebui",
            None,
            _openwebui,
            None,
            "set these variables where Open WebUI starts, as docker run -e …",
        ),
    )
    return MappingProxyType({client.name: client for client in rows})
