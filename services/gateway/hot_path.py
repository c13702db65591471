"""The decision for one request, within its deadlines."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from services.gateway.choice import NoDecision, Unrouted
from services.gateway.fallback import Fallback
from services.gateway.settings import GatewaySettings
from services.gateway.understanding import UnderstoodRequest
from shared.contracts.messages import Decided, Submitted


class ExpectedReply(Protocol):
    @property
    def described(self) -> asyncio.Event: ...
    @property
    def decided(self) -> asyncio.Future[Decided]: ...


class Asking(Protocol):
    """Publish a prompt and receive the results. `send` raises an error of any kind when the broker
    is unreachable."""

    def expecting(self, request_id: str) -> AbstractContextManager[ExpectedReply]: ...
    async def send(self, message: Submitted) -> None: ...


class Attempt(Protocol):
    """One prompt for the hot path."""

    def succeeded(self) -> None: ...
    def failed(self) -> None: ...
    def abandoned(self) -> None: ...


class Rest(Protocol):
    """A circuit breaker."""

    def turn(self) -> Attempt | None: ...


class HotPath:
    """Asks the hot path over Kafka."""

    def __init__(
        self,
        asking: Asking,
        rest: Rest,
        fallback: Fallback,
        settings: GatewaySettings,
    ) -> None:
        self._asking = asking
        self._rest = rest
        self._fallback = fallback
        self._settings = settings

    def default(self, wanted: UnderstoodRequest) -> tuple[list[str], str]:
        """What answers where nothing is decided: see `Fallback`. Raises `Problem`."""
        return self._fallback.order(wanted)

    async def route(self, message: Submitted) -> Decided:
        """The decision. Raises `Unrouted` after the deadlines, or at once while nothing has come
        for a while."""
        if (turn := self._rest.turn()) is None:
            raise Unrouted(
                NoDecision.resting,
                "routing gave no decisions recently, so the gateway does not wait for it now",
            )
        settings = self._settings
        late = NoDecision.no_description
        try:
            with self._asking.expecting(message.request_id) as expected:
                async with asyncio.timeout(settings.describe_s):
                    await self._asking.send(message)
                    await expected.described.wait()
                late = NoDecision.no_decision
                async with asyncio.timeout(settings.deadline_s):
                    decided = await expected.decided
        except TimeoutError:
            turn.failed()
            what, limit_s = (
                ("description", settings.describe_s)
                if late is NoDecision.no_description
                else ("decision", settings.deadline_s)
            )
            raise Unrouted(late, f"no {what} within {limit_s:g} s") from None
        except asyncio.CancelledError:
            turn.abandoned()
            raise
        except Exception as error:
            turn.failed()
            text = f"the prompt could not be published ({type(error).__name__})"
            raise Unrouted(NoDecision.not_published, text) from None
        turn.succeeded()
        return decided
