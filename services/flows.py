"""The services there are, by the folders that have an app.py, and what each hears and says."""

from __future__ import annotations

import importlib
from pathlib import Path

import services
from shared.contracts import flow as flowing
from shared.contracts.flow import Flow


def flows() -> tuple[Flow, ...]:
    """Each service's `FLOW`, in the order that prompts pass them; those with an HTTP server last.

    Raises `AttributeError` where a service declares none.
    """
    folders = {
        path.parent.name for root in services.__path__ for path in Path(root).glob("*/app.py")
    }
    return flowing.in_order(importlib.import_module(f"services.{name}").FLOW for name in folders)


def names() -> tuple[str, ...]:
    """The services there are, in that order."""
    return tuple(flow.name for flow in flows())


def workers() -> tuple[str, ...]:
    """The services without an HTTP server: they only read and write topics."""
    return tuple(flow.name for flow in flows() if flow.port is None)


def hot_path() -> tuple[str, ...]:
    """From a prompt to a decision. Without the others the routing table stays as it is."""
    return tuple(flow.name for flow in flowing.hot_path(flows()))
