"""`pointsman run`: one service, in this process, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import sys

from faststream import FastStream
from pydantic import ValidationError
from pydantic_settings import SettingsError

from shared.adapters import telemetry, tracing
from shared.adapters.errors import AdapterError
from shared.adapters.http import LOOK_EVERY_S, HttpService, serve
from shared.adapters.llm.chat import LLMSettings
from shared.adapters.telemetry import TelemetrySettings, log, where
from shared.catalog.models import CatalogError

ASKING = ("describer", "dispatcher", "judge", "gateway")
"""The services that ask language models."""
COLLECT = (20_000, 20, 20)
"""Objects made before the youngest are looked at, and so on: a batch of messages makes thousands,
nearly all without cycles."""


def build(name: str) -> FastStream | HttpService:
    """The application of a service, with settings from the environment."""
    app: FastStream | HttpService = importlib.import_module(f"services.{name}.app").build()
    return app


def run(name: str, *, supervised: bool = False) -> int:
    """Run it. SIGTERM and Ctrl-C finish what was taken and commit it. Returns the exit code.

    `supervised`: the supervisor has already printed what concerns all services.
    """
    settings = TelemetrySettings()
    telemetry.start(name, settings)
    try:
        if not supervised:
            _say_what_is_set(name)
        if settings.trace_endpoint:
            tracing.start(name, settings.trace_endpoint, settings.trace_share)
        _loop(build(name))
    except (ValidationError, SettingsError) as error:
        from services.local.settings import explain

        log.error(f"a setting is wrong: {explain(error) or where(error, settings)}")
        return 1
    except (AdapterError, CatalogError) as error:
        log.error(str(error))
        return 1
    except Exception as error:
        log.error("stopped by an error", error=where(error, settings))
        return 1
    finally:
        if (live := tracing.live()) is not None:
            live.close()
    return 0


def _say_what_is_set(name: str) -> None:
    """Name variables that nobody reads, and whether language models are real."""
    from services.local.settings import unknown

    for stranger in unknown(os.environ):
        log.warning(stranger.text)
    if name in ASKING:
        models = LLMSettings()
        (log.warning if models.simulated else log.info)(f"language models: {models.who}")


def _loop(app: FastStream | HttpService) -> None:
    # what is there by now stays for good: collecting it again and again would stop the service for
    # tens of milliseconds each time
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    running = serve(app) if isinstance(app, HttpService) else app.run(sleep_time=LOOK_EVERY_S)
    if sys.platform == "win32":
        asyncio.run(running)
    else:
        import uvloop

        uvloop.run(running)
