"""Describing many prompts at once, with the describer's own work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.describer.describe import BACKENDS, describe
from services.describer.settings import DescriberSettings
from services.describer.wiring.describing import asking, effective
from services.describer.wiring.library import library_of
from shared.contracts.messages import Submitted
from shared.routing.errors import OutcomesInvalid

CHOICES = ("auto", *BACKENDS)


class _NoCache:
    async def get(self, _key: str, /) -> str | None:
        return None

    async def put(self, _key: str, _text: str, /) -> None:
        return None


async def describe_all(
    prompts: Sequence[str], backend: str, tick: Callable[[], object]
) -> list[str]:
    """A task description for each prompt, as the describer would give it; `tick` is called for
    each."""
    if backend not in CHOICES:
        raise OutcomesInvalid(f"a prompt is described by {', '.join(CHOICES)}, not by {backend}")
    settings = effective(DescriberSettings.model_validate({"backend": backend}))
    room = asyncio.Semaphore(settings.workers)
    library = (
        await asyncio.to_thread(library_of, settings) if settings.backend == "library" else None
    )

    async with asking(settings) as ask:

        async def one(prompt: str) -> str:
            async with room:
                nearest = (await library.look([prompt]))[0] if library else None
                described = await describe(
                    Submitted(prompt=prompt, request_id="-"),
                    settings,
                    ask,
                    _NoCache(),
                    library=nearest,
                )
            tick()
            return described.description.text

        return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))


async def describe_rest(
    prompts: Sequence[str], given: Sequence[str | None], backend: str, tick: Callable[[], object]
) -> list[str]:
    """The descriptions that are `given`, and for the other prompts those that the describer would
    give."""
    descriptions = iter(
        await describe_all(
            [p for p, given_text in zip(prompts, given, strict=True) if not given_text],
            backend,
            tick,
        )
    )
    for given_text in given:
        if given_text:
            tick()
    return [given_text or next(descriptions) for given_text in given]
