"""`make screenshots`: every page of the console, after the demo's prompts, with simulated language
models, as pictures for the README."""

from __future__ import annotations

import asyncio
from pathlib import Path

import browser
from playwright.async_api import Page

from services.commands import demo
from services.commands.traffic import open_traffic
from services.commands.up import on_a_laptop
from services.flows import names
from services.local import supervise
from services.local.started import READY_WITHIN_S, Servers, started_servers
from shared.adapters.kafka.settings import KafkaSettings

TARGET = Path(__file__).parent.parent / "docs" / "screenshots"
PROMPT = "Write a polite letter that asks the landlord to repair the heating."


async def _steady(page: Page, name: str) -> None:
    await page.wait_for_timeout(700)
    await page.screenshot(path=TARGET / f"{name}.png")
    print(f"docs/screenshots/{name}.png")


async def _pictures(address: str) -> None:
    async with browser.browser() as chromium:
        async with browser.page(chromium, viewport={"width": 1100, "height": 800}) as window:
            page = window.page
            for name in ("now", "map", "models", "tables"):
                await page.goto(f"{address}/{name}")
                await _steady(page, name)
            await page.goto(f"{address}/map")
            await page.locator("tbody a").first.click()
            await page.wait_for_selector(".interval")
            await _steady(page, "cluster")
            await page.goto(f"{address}/tables")
            await page.get_by_role("button", name="Compare the two").click()
            await _steady(page, "diff")
            await page.goto(f"{address}/try")
            await page.fill("#prompt", PROMPT)
            await page.click("text=Route it")
            await page.wait_for_selector("#scores")
            await _steady(page, "try")
            await page.goto(f"{address}/rate")
            for key in "abatabba":
                await page.keyboard.press(key)
                await page.wait_for_timeout(300)
            await _steady(page, "rate")
            await page.goto(f"{address}/evidence")
            await _steady(page, "evidence")
        async with browser.page(
            chromium, viewport={"width": 390, "height": 780}, color_scheme="dark"
        ) as window:
            for name in ("now", "map", "rate"):
                await window.page.goto(f"{address}/{name}")
                await _steady(window.page, f"{name}-phone-dark")


async def _all(where: Servers) -> None:
    kafka = KafkaSettings()
    async with supervise.Supervisor(
        names(), where.environment | on_a_laptop(where) | demo.any_ports(), lambda *_: None
    ) as running:
        await running.ready(READY_WITHIN_S)
        async with open_traffic(kafka) as traffic:
            await demo._learn(kafka, traffic, demo._lessons(), as_json=True)
            await demo._route(traffic, demo.read_prompts(None), 2.0, as_json=True)
        await _pictures(running.addresses["console"])


if __name__ == "__main__":
    supervise.warm()
    TARGET.mkdir(parents=True, exist_ok=True)
    with started_servers() as servers:
        asyncio.run(_all(servers))
