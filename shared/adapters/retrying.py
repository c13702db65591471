"""Trying again while something outside is unreachable: stamina, with one policy, and one line
logged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from shared.adapters.telemetry import log

T = TypeVar("T")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
MOST_WAIT_S = 2.0
"""Between a few attempts."""


async def patiently(
    call: Callable[[], Awaitable[T]], on: Callable[[Exception], bool], within_s: float
) -> T:
    """What `call` gives; called again as long as `on` says of its error that it may pass. Then, or
    after `within_s` seconds, that error is raised.

    stamina comes in after a first failure only: its context costs more than most calls.
    """
    try:
        return await call()
    except Exception as error:
        if not on(error):
            raise
        log.warning("trying again", error=type(error).__name__, attempt=1, wait_s=0.0)
    attempts = stamina.retry_context(
        on=on,
        attempts=None,
        timeout=within_s,
        wait_initial=FIRST_WAIT_S,
        wait_max=LONGEST_WAIT_S,
        wait_jitter=FIRST_WAIT_S,
    )
    async for attempt in attempts:
        with attempt:
            return await call()
    raise AssertionError("the last attempt returns or raises")


def a_few_times(on: Callable[[Exception], bool | float], attempts: int) -> Any:
    """At most this many attempts; `on` may also give the seconds to wait."""
    return stamina.retry_context(
        on=on, attempts=attempts, timeout=None, wait_initial=FIRST_WAIT_S, wait_max=MOST_WAIT_S
    )


def _told(details: RetryDetails) -> None:
    """Not stamina's own line: that one quotes the error, and with it perhaps a prompt."""
    log.warning(
        "trying again",
        error=type(details.caused_by).__name__,
        attempt=details.retry_num,
        wait_s=round(details.wait_for, 2),
    )


set_on_retry_hooks([_told])
