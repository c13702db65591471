"""Serving HTTP: one way for the gateway and the console."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request

from shared.adapters.errors import AdapterError
from shared.adapters.keys import Key, Keys
from shared.adapters.telemetry import READY, REGISTRY, log

DRAIN_S = 10
BACKLOG = 2048
LOOK_EVERY_S = 0.5
"""How often a service that has nothing to do looks whether it should end."""


class PortTaken(AdapterError):
    """Somebody else listens there."""


@dataclass(frozen=True, slots=True)
class HttpService:
    """An application and where it is served. `settings_prefix` is what its settings begin with."""

    name: str
    application: Starlette
    host: str
    port: int
    """0: any that is free."""
    settings_prefix: str
    routes: Callable[[], bool] = lambda: True
    """Whether prompts are routed now: the metric `pointsman_ready` says so."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service is about to end, so that streams without an end of their own can end."""

    def bind(self) -> socket.socket:
        """A listening socket. Raises `PortTaken`."""
        return listening(
            self.name, self.host, self.port, f"set {self.settings_prefix}PORT to a free one"
        )


def listening(name: str, host: str, port: int, mend: str) -> socket.socket:
    """A socket that listens there. Raises `PortTaken`, which says `mend`."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"the {name} can't listen at {host}:{port} ({error.strerror}); {mend}"
        ) from None
    listener.listen(BACKLOG)
    return listener


class _Server(uvicorn.Server):
    """Says so when it takes requests, as the other services do when they take records."""

    def __init__(self, config: uvicorn.Config, door: HttpService, address: str) -> None:
        super().__init__(config)
        self._door = door
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            READY.labels(self._door.name).set(1)
            log.info("taking records", ready=True, address=self._address)

    async def main_loop(self) -> None:
        """As uvicorn's own, which looks ten times a second whether it should end."""
        while not await self.on_tick(0):
            await asyncio.sleep(LOOK_EVERY_S)
            READY.labels(self._door.name).set(int(self._door.routes()))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._door.stopping.set()
        await super().shutdown(sockets)


async def serve(door: HttpService) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is under way, for at most `DRAIN_S`
    seconds."""
    listening = door.bind()
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104
    address = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    config = uvicorn.Config(
        door.application,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config, door, address)
    try:
        await server.serve(sockets=[listening])
    finally:
        READY.labels(door.name).set(0)
    if not server.started:
        raise AdapterError(f"the {door.name} did not start; what it lacks stands above")


def who(request: Request, keys: Keys, presented: str | None) -> Key:
    """Whose request that is. Raises `shared.adapters.keys.Refused`."""
    headers = request.headers
    forwarded = any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    return keys.admit(
        presented,
        request.client.host if request.client else None,
        headers.get("host", ""),
        forwarded=forwarded,
    )


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key in an Authorization header, with Bearer or bare; or in x-api-key or api-key, as
    Anthropic's and Azure's clients send it."""
    kind, _, value = headers.get("authorization", "").strip().partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    bare = kind if not value and kind.lower() != "bearer" else ""
    return (
        bare or headers.get("x-api-key", "").strip() or headers.get("api-key", "").strip() or None
    )


def metrics() -> tuple[bytes, dict[str, str]]:
    """Prometheus's text, and its headers."""
    return generate_latest(REGISTRY), {"content-type": CONTENT_TYPE_LATEST}
