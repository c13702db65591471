"""Trying again while something outside is away: stamina, with one policy, and one line logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from shared.adapters.telemetry import log

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0


def patiently(on: Callable[[Exception], bool], within_s: float) -> Any:
    """Attempts until one succeeds, as long as `on` says of an error that it may pass; then, or
    after `within_s` seconds, that error is raised. Use as `async for attempt in …: with attempt:`.
    """
    return stamina.retry_context(
        on=on,
        attempts=None,
        timeout=within_s,
        wait_initial=FIRST_WAIT_S,
        wait_max=LONGEST_WAIT_S,
        wait_jitter=FIRST_WAIT_S,
    )


def a_few_times(on: Callable[[Exception], bool | float], attempts: int) -> Any:
    """At most so many attempts; `on` may also give the seconds to wait."""
    return stamina.retry_context(
        on=on, attempts=attempts, timeout=None, wait_initial=FIRST_WAIT_S, wait_max=2.0
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
