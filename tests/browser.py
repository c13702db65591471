"""A real browser for the console's tests, benchmarks and pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import servers
from playwright.async_api import Browser, Page, async_playwright

ARGUMENTS = [
    *(
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ),  # CI runs as root, where the sandbox can't
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));
window.pwned = 0;
"""


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a window."""
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=servers.chromium(), args=ARGUMENTS)
        try:
            yield found
        finally:
            await found.close()


class Watched:
    """A page, and everything that went wrong or ran on it that should not have."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: (
                self.wrong.append(f"{message.type}: {message.text}")
                if message.type == "error"
                else None
            ),
        )

    async def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    async def ran(self) -> list[str]:
        """What ran or was refused by the page's policy on the page as it is now."""
        state = await self.page.evaluate("[window.pwned, window.violations]")
        return [*self.wrong, *([f"pwned {state[0]} times"] if state[0] else []), *state[1]]


@asynccontextmanager
async def page(browser: Browser, **options: Any) -> AsyncIterator[Watched]:
    """A page in a context (cookies, cache) of its own."""
    context = await browser.new_context(**options)
    context.set_default_timeout(15_000)
    await context.add_init_script(WATCH)
    try:
        yield Watched(await context.new_page())
    finally:
        await context.close()
