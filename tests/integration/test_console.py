"""The console in a real browser, on a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.async_playwright import Axe
from browser import Watched, browser, page
from conftest import Pipeline, eventually, running_pipeline
from injections import TEXTS
from playwright.async_api import Browser, Route, expect

from services.console.pages.common import choice
from services.flows import hot_path
from services.local.supervise import Supervisor
from shared.adapters.kafka.client import publisher, read_all
from shared.adapters.kafka.tables import find, versions
from shared.adapters.keys import new, write
from shared.adapters.tables import publish
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.messages import Decided, read, to_json
from shared.contracts.raters import Rater, RaterKind, Votes
from shared.contracts.scopes import Scope
from shared.contracts.topics import EVALUATIONS
from shared.routing.deciding.rates import PROFILES
from shared.routing.deciding.table import Cluster, RoutingTable

PAGES = ("now", "map", "models", "try", "rate", "tables", "evidence")
FIRST, SECOND = "claude-haiku-5.5", "gpt-5.6-luna"
"""The two models whose answers people compare; in the order of the alphabet."""
KINDS = (
    "Translate into Portuguese",
    "Write a Python function that sorts",
    "Summarise in two sentences",
    "Solve step by step",
)


@dataclass
class Desk:
    pipeline: Pipeline
    browser: Browser
    address: str
    keys: dict[str, str]
    log: list[tuple[str, str, str]]

    @asynccontextmanager
    async def seat(self, who: str, start: str = "now", **options: Any) -> AsyncIterator[Watched]:
        """A window of somebody who has entered with the keyboard, at a page."""
        async with page(self.browser, **options) as window:
            await window.page.goto(f"{self.address}/{start}")
            await window.page.keyboard.press("Tab")
            await window.page.focus("#key")
            await window.page.keyboard.type(self.keys[who])
            await window.page.keyboard.press("Enter")
            await window.page.wait_for_url(f"{self.address}/{start}")
            yield window

    def http(self, who: str | None = None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.keys[who]}"} if who else {}
        return httpx.AsyncClient(base_url=self.address, headers=headers, timeout=30)

    async def newest(self) -> tuple[str, RoutingTable]:
        known = (await versions(self.pipeline.kafka))[-1]
        return str(known.ref), known.read_table()

    async def shown(self, window: Watched) -> RoutingTable:
        """The table that a page names; the newest may be another by now, since the re-clusterer
        publishes whenever a test before has left it something to learn."""
        name = await window.page.locator("main a[href='/tables']").first.inner_text()
        return (await find(self.pipeline.kafka, name)).read_table()


@pytest.fixture(scope="module")
async def desk(
    installation: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    scopes = {
        "boss": {Scope.admin},
        "ann": {Scope.vote, Scope.route},
        "bob": {Scope.vote},
        "guest": {Scope.complete},
    }
    made = {name: new(name, frozenset(may), None, None) for name, may in scopes.items()}
    write(file, tuple(key for _, key in made.values()))
    log: list[tuple[str, str, str]] = []
    environment = {
        "POINTSMAN_CONSOLE_PORT": "0",
        "POINTSMAN_KEYS_FILE": str(file),
        "POINTSMAN_CONSOLE_RATE_TWICE": "0",
    }
    learning = {
        "POINTSMAN_RECLUSTERER_EVERY_S": "1",
        "POINTSMAN_RECLUSTERER_CLUSTERS": "4",
        "POINTSMAN_RECLUSTERER_GROWN": "50",
        # how many comparisons each model has by now is chance; all may win
        "POINTSMAN_RECLUSTERER_UNPROVEN": "1000",
    }
    async with (
        running_pipeline((*hot_path(), "reclusterer"), **learning) as pipeline,
        Supervisor(("console",), environment, lambda *entry: log.append(entry)) as running,
        browser() as chromium,
    ):
        await running.ready(30)
        yield Desk(
            pipeline,
            chromium,
            running.addresses["console"],
            {name: clear for name, (clear, _) in made.items()},
            log,
        )


async def test_before_anything_has_happened_every_page_says_what_to_do_next(desk: Desk) -> None:
    async with desk.seat("boss") as window:
        for name, words in {
            "now": "pointsman route",
            "map": "pointsman table build",
            "models": "pointsman table build",
            "try": "A prompt",
            "rate": "POINTSMAN_JUDGE_RATE",
            "tables": "No version has been published yet",
            "evidence": "There are no votes yet",
        }.items():
            await window.page.goto(f"{desk.address}/{name}")
            await expect(window.page.locator("main")).to_contain_text(words)
        assert await window.ran() == []


@pytest.fixture(scope="module")
async def lived(desk: Desk) -> dict[str, Decided]:
    """A hundred prompts, each with an injection, decided on; a judge has compared two answers to
    each and found a tie."""
    wanted = set()
    for i, text in enumerate(TEXTS):
        wanted.add(
            await desk.pipeline.send(
                {"prompt": f"{KINDS[i % 4]}: item {i} {text}", "metadata": {"x": text}},
                f"inj-{i:03d}",
            )
        )
    outcomes = await desk.pipeline.collect(wanted)
    decided = {r: o.decided for r, o in outcomes.items() if o.decided is not None}
    assert len(decided) == len(TEXTS)
    async with publisher(desk.pipeline.kafka) as out:
        for i, (request_id, message) in enumerate(sorted(decided.items())):
            answers = tuple(
                Shown(
                    model=m,
                    cost_usd=0.001,
                    latency_s=1.0,
                    text=f"the answer called {word} for item {i}\n\n{TEXTS[i]}",
                )
                for m, word in ((FIRST, "Amber"), (SECOND, "Birch"))
            )
            told = Evaluated(
                request_id=request_id,
                first=FIRST,
                second=SECOND,
                rater=Rater(kind=RaterKind.judge, name=f"judge {TEXTS[0]}"),
                votes=Votes(ties=6),
                description=message.description.text,
                embedding=message.embedding,
                prompt=message.prompt,
                answers=answers,
            )
            await out.send(desk.pipeline.kafka.name(EVALUATIONS), to_json(told), key=told.key)

    async def ranked() -> bool:
        known = await versions(desk.pipeline.kafka)
        return bool(known) and known[-1].read_table().provenance.source.startswith(
            "100 evaluations"
        )

    await eventually(ranked, 60)
    async with desk.http("boss") as http:

        async def heard() -> bool:
            return (
                "100" in (await http.get("/now")).text
                and "left for you" in (await http.get("/rate")).text
            )

        await eventually(heard)
    return decided


def lead(table: RoutingTable) -> float:
    """How far the second model is above the first, over all clusters."""
    first, second = (table.models.index(m) for m in (FIRST, SECOND))
    return float(np.mean(table.strength[:, second] - table.strength[:, first]))


async def press(window: Watched, key: str) -> None:
    """A key on the page Rate, and wait for the result."""
    before = await window.page.locator("input[name=token]").get_attribute("value")
    await window.page.keyboard.press(key)
    await expect(window.page.locator("input[name=token]")).not_to_have_value(before or "")
    await expect(
        window.page.locator(".htmx-request, .htmx-swapping, .htmx-settling")
    ).to_have_count(0)


async def test_twenty_pairs_rated_by_keyboard_alone_change_the_ranking(
    desk: Desk, lived: dict[str, Decided]
) -> None:
    name, table = await desk.newest()
    before = lead(table)
    favourite = "Birch" if before <= 0 else "Amber"
    said: list[str] = []
    async with desk.seat("ann", "rate") as window:
        window.page.on("request", lambda r: said.append(r.url + (r.post_data or "")))

        async def keep(response: Any) -> None:
            if response.request.resource_type in {"document", "xhr", "fetch"}:
                said.append(str(response.headers) + await response.text())

        window.page.on("response", keep)
        await window.page.reload()
        sides = set()
        for number in range(20):
            texts = await window.page.locator(".answer").all_inner_texts()
            side = next(i for i, text in enumerate(texts) if favourite in text)
            sides.add(side)
            await press(window, "ab"[side])
            if number == 3:
                await press(window, "s")
            if number == 7:  # a slip, taken back
                await press(window, "n")
                await press(window, "u")
            if number == 12:
                await press(window, "t")
                await press(window, "u")
        assert sides == {0, 1}, "sides are drawn by lot"
        await expect(window.page.locator("#desk")).to_contain_text("20 rated as “ann”")
        assert await window.ran() == []
    assert len(said) > 40
    told = [text for text in said if FIRST in text or SECOND in text or '"model"' in text]
    assert told == [], "no model is named before, in or after a vote"

    people = [
        e
        for r in await read_all(desk.pipeline.kafka, EVALUATIONS)
        if (e := read(Evaluated, r.value)).rater.kind is RaterKind.human
    ]
    latest = {e.evaluation_id: e for e in people}
    leads = [e.votes.lead for e in latest.values()]
    assert (len(leads), set(leads)) == (22, {0, 1 if favourite == "Amber" else -1}) or (
        len(leads),
        sum(map(abs, leads)),
    ) == (20, 20)
    assert {e.rater.name for e in people} == {"ann"}

    async def learnt() -> bool:
        return abs(lead((await desk.newest())[1]) - before) > 0.5

    await eventually(learnt, 60)
    after_name, after = await desk.newest()
    assert after_name != name
    assert (lead(after) > before) == (favourite == "Birch")
    won, lost = (SECOND, FIRST) if favourite == "Birch" else (FIRST, SECOND)
    order = np.argsort(-after.strength.mean(axis=0))
    assert list(order).index(after.models.index(won)) < list(order).index(after.models.index(lost))


async def test_two_people_in_two_windows_get_different_pairs_and_one_person_in_two_votes_once(
    desk: Desk, lived: dict[str, Decided]
) -> None:
    async with desk.seat("ann", "rate") as ann, desk.seat("bob", "rate") as bob:
        prompts = [await w.page.locator("pre.foreign").inner_text() for w in (ann, bob)]
        assert prompts[0] != prompts[1]
        again = await bob.page.context.new_page()
        await again.goto(f"{desk.address}/rate")
        assert await again.locator("pre.foreign").inner_text() == prompts[1]
        await press(bob, "a")
        await again.keyboard.press("b")
        await expect(again.locator("[role=alert]")).to_contain_text("rated already")
        await expect(again.locator("#desk")).to_contain_text("1 rated as “bob”")
        assert await ann.ran() == await bob.ran() == []


async def test_the_sliders_move_the_winner(desk: Desk, lived: dict[str, Decided]) -> None:
    async with desk.seat("ann", "try") as window:
        await window.page.fill(
            "#prompt", "Translate into Portuguese: the library is closed on Monday."
        )
        await window.page.keyboard.press("Tab")
        await window.page.keyboard.press("Enter")
        await expect(window.page.locator(".said")).to_contain_text("Translate into Portuguese")
        winners: dict[str, str] = {}
        costs: dict[str, float] = {}
        waits: dict[str, float] = {}
        for name, dial, wait in (
            ("better", "End", "Home"),
            ("cheaper", "Home", "Home"),
            ("faster", "End", "End"),
        ):
            for slider, key in (("dial", dial), ("wait", wait)):
                await window.page.focus(f"input[name={slider}]")
                await window.page.keyboard.press(key)
            for shown in (
                "$0.0001 here" if dial == "Home" else "$10.00 here",
                "or no matter how long" if wait == "Home" else "or 1 s",
            ):
                await expect(window.page.locator("#scores")).to_contain_text(shown)
            rows = [
                await row.locator("td").all_inner_texts()
                for row in await window.page.locator(".scores tbody tr").all()
            ]
            winners[name] = await window.page.locator(".winner .model").inner_text()
            assert winners[name] == rows[0][0].split("\n")[0].replace(" too little known yet", "")
            costs[name], waits[name] = (
                float(re.sub(r"[$s ]", "", rows[0][place])) for place in (3, 4)
            )
            if name == "better":
                proven = [row for row in rows if "too little" not in row[0]]
                assert float(proven[0][1]) >= max(float(row[1]) for row in proven) - 0.01
        assert costs["cheaper"] <= costs["better"]
        assert waits["faster"] <= waits["better"]
        assert len(set(winners.values())) > 1
        url = window.page.url
        assert await window.ran() == []
    async with desk.http("boss") as http:
        assert (await http.get(url)).status_code == 404, "a trial is its owner's"


async def test_sliders_that_move_while_an_answer_is_on_its_way_show_the_last_place(
    desk: Desk, lived: dict[str, Decided]
) -> None:
    async def slowly(route: Route) -> None:
        await asyncio.sleep(0.2)
        await route.continue_()

    async with desk.seat("ann", "models") as window:
        await window.page.route("**/models?dial=*", slowly)
        await window.page.focus("input[name=dial]")
        for key in ("End", "Home", "ArrowRight", "End"):
            await window.page.keyboard.press(key)
            await asyncio.sleep(0.1)
        await expect(window.page.locator("#dialled")).to_contain_text("$10.00 here")
        assert await window.ran() == [], "no answer is cut off, which htmx reports as an error"


async def test_the_map_leads_to_a_cluster_and_its_colours_follow_the_profile(
    desk: Desk, lived: dict[str, Decided]
) -> None:
    async with desk.seat("boss", "map") as window:
        await window.page.get_by_label("economy").check()
        await window.page.wait_for_url("**/map?profile=economy")
        table = await desk.shown(window)
        clusters = window.page.locator("svg a")
        labels = [await one.get_attribute("aria-label") or "" for one in await clusters.all()]
        economy = [
            choice(table, c, PROFILES["economy"]).candidates[0].model
            for c in range(len(table.clusters))
        ]
        assert [text.rsplit(", ", 1)[1] for text in labels] == [f"{m} wins" for m in economy]
        await clusters.first.focus()
        await window.page.keyboard.press("Enter")
        await window.page.wait_for_url("**/map/*")
        await expect(window.page.locator("h2").first).to_have_text("Ranking")
        assert await window.page.locator(".interval svg").count() == len(table.models)
        await expect(window.page.locator("main")).to_contain_text("Latest prompts")
        assert await window.ran() == []
    async with desk.seat("ann", "map") as window:
        await window.page.locator("svg a").first.click()
        await expect(window.page.locator("main")).to_contain_text(
            "shown to keys with the scope “admin”"
        )
        assert "item " not in await window.page.locator(".foreign").all_inner_texts()


async def test_now_shows_decisions_as_they_are_made(desk: Desk, lived: dict[str, Decided]) -> None:
    async with desk.seat("boss") as window, desk.seat("guest") as guest:
        await expect(guest.page.locator("#latest tr").first).to_contain_text(
            "own words: needs “admin”"
        )
        before = await window.page.locator("#latest tr").count()
        assert before == 25
        await desk.pipeline.one(
            {"prompt": "Compose a limerick about a pointsman at a railway junction"}
        )
        await expect(window.page.locator("#latest tr").first).to_contain_text("limerick")
        assert await window.page.locator("#latest tr").count() == 25
        await expect(window.page.locator("#rate canvas")).to_be_visible()
        await expect(guest.page.locator("#latest tr").first).not_to_contain_text("limerick")
        await window.page.click("#pause")
        await desk.pipeline.one({"prompt": "Compose a sonnet about a railway junction in the rain"})
        await expect(window.page.locator("#numbers")).to_contain_text(str(len(TEXTS) + 3))
        await expect(window.page.locator("#latest tr").first).to_contain_text("limerick")
        assert await window.ran() == []


async def test_a_table_is_compared_and_rolled_back_with_one_click_by_those_who_may(
    desk: Desk, lived: dict[str, Decided]
) -> None:
    oldest = str((await versions(desk.pipeline.kafka))[0].ref)
    async with desk.seat("boss", "tables") as window:
        await window.page.get_by_label(f"Compare from {oldest}").check()
        to = await window.page.locator("input[name=new]:checked").get_attribute("value")
        assert to == await window.page.locator("input[name=new]").first.get_attribute("value")
        await window.page.get_by_role("button", name="Compare the two").click()
        await expect(window.page.locator("h1")).to_have_text(f"From {oldest} to {to}")
        await window.page.go_back()
        await window.page.get_by_role("button", name=f"Roll back to {oldest}", exact=True).click()
        await expect(window.page.get_by_role("status").first).to_contain_text(
            f"rolled back to {oldest}"
        )
        await expect(window.page.locator("main")).to_contain_text("The current table is pinned")
        newest = (await versions(desk.pipeline.kafka))[-1]
        assert newest.pinned
        assert newest.note == f"rolled back to {oldest}"
        await window.page.get_by_role("button", name="Unpin it").click()
        await expect(window.page.get_by_role("status").first).to_contain_text("unpinned")
        assert not (await versions(desk.pipeline.kafka))[-1].pinned
        assert await window.ran() == []
    async with desk.seat("ann", "tables") as window:
        assert await window.page.get_by_role("button", name=re.compile("^Roll back")).count() == 0
    async with desk.http("ann") as http:
        assert (await http.post("/tables/rollback", data={"version": oldest})).status_code == 403


async def test_who_may_see_what(desk: Desk, lived: dict[str, Decided]) -> None:
    async with desk.http() as http:
        for name in PAGES:
            page_ = await http.get(f"/{name}", headers={"accept": "text/html"})
            assert page_.status_code == 303
            assert page_.headers["location"].startswith("/login")
            assert (await http.get(f"/{name}")).status_code == 401
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/readyz")).json()["ready"] is True
        wrong = await http.post(
            "/login", data={"key": "pm-wrong"}, headers={"origin": desk.address}
        )
        assert wrong.status_code == 401
        assert "no such key" in wrong.text
        entered = await http.post(
            "/login",
            data={"key": desk.keys["boss"], "next": "//evil.test"},
            headers={"origin": desk.address},
        )
        assert entered.headers["location"] == "/now"
        evil = {"origin": "https://evil.test"}
        assert (await http.post("/tables/unpin", headers=evil)).status_code == 403, (
            "the cookie alone is not enough"
        )
        assert (
            await http.post("/login", data={"key": desk.keys["boss"]}, headers=evil)
        ).status_code == 403
        policy = (await http.get("/now")).headers["content-security-policy"]
        assert "'unsafe" not in policy
        assert (await http.post("/logout", headers={"origin": desk.address})).status_code == 303
        assert (await http.get("/now")).status_code == 401
    allowed = {
        "guest": set(PAGES) - {"try", "rate"},
        "bob": set(PAGES) - {"try"},
        "ann": set(PAGES),
        "boss": set(PAGES),
    }
    for who, may in allowed.items():
        async with desk.http(who) as http:
            assert {
                name for name in PAGES if (await http.get(f"/{name}")).status_code == 200
            } == may
            assert ("pointsman_ready" in (await http.get("/metrics")).text) == (who == "boss")
            assert (await http.get("/static/../app.py")).status_code == 404
            assert (await http.post("/try", content=b"x" * 2_000_000)).status_code in {413, 403}


async def test_without_javascript_one_can_still_try_and_rate(
    desk: Desk, lived: dict[str, Decided]
) -> None:
    async with desk.seat("ann", "try", java_script_enabled=False) as window:
        await window.page.fill("#prompt", "Solve step by step: 3 apples cost 2 euros")
        await window.page.click("text=Route it")
        await expect(window.page.locator(".winner")).to_be_visible()
        await window.page.locator("input[name=dial]").fill("100")
        await window.page.get_by_role("button", name="Show").click()
        await expect(window.page.locator("input[name=dial]")).to_have_value("100")
        await window.page.goto(f"{desk.address}/rate")
        before = await window.page.locator("input[name=token]").get_attribute("value")
        await window.page.get_by_role("button", name="Tie").click()
        await expect(window.page.locator("input[name=token]")).not_to_have_value(before or "")
        await window.page.get_by_role("button", name="Undo the last").click()
        await expect(window.page.locator("pre.foreign")).to_be_visible()


async def test_a_hundred_injections_execute_nowhere(desk: Desk, lived: dict[str, Decided]) -> None:
    """They came in prompts and answers; here also as labels, notes and raters, over the topics
    themselves."""
    _, table = await desk.newest()
    labels = [TEXTS[i::4] for i in range(4)]
    clusters = tuple(
        Cluster(c.id, " ".join(labels[i % 4])[:4000], c.size, c.radius)
        for i, c in enumerate(table.clusters)
    )
    poisoned = replace(table, clusters=clusters)
    await publish(
        desk.pipeline.kafka, desk.pipeline.redis, poisoned, TEXTS[0] + TEXTS[21], pinned=True
    )
    async with desk.seat("boss", "tables") as window:
        await expect(window.page.locator("tbody tr", has_text="window.pwned").first).to_be_visible()
        await window.page.get_by_role("button", name="Compare the two").click()
        paths = [*PAGES, *(f"map/{c.id}" for c in clusters)]
        for path in paths:
            await window.page.goto(f"{desk.address}/{path}")
            await window.page.wait_for_load_state("load")
            assert await window.ran() == [], path
        for text in TEXTS[::9]:
            await window.page.goto(f"{desk.address}/try")
            await window.page.fill("#prompt", f"Translate into Portuguese: {text}")
            await window.page.click("text=Route it")
            await window.page.wait_for_selector("#scores")
            assert await window.ran() == [], text
        await window.page.goto(f"{desk.address}/rate")
        seen = set()
        for _ in range(len(TEXTS) - 25):
            seen.add(await window.page.locator("pre.foreign").inner_text())
            assert await window.ran() == []
            await press(window, "s")
        assert len(seen) == len(TEXTS) - 25
        for path in (
            "map/%3Cscript%3Ewindow.pwned=1%3C/script%3E",
            "tables?done=<script>window.pwned=1</script>",
            "map?profile=<b>",
            "try/<b>",
        ):
            await window.page.goto(f"{desk.address}/{path}")
            state = await window.page.evaluate("[window.pwned, window.violations]")
            assert state == [0, []]
    assert not [entry for entry in desk.log if "pwned" in entry[2]], "prompts are in no log"
    assert not [entry for entry in desk.pipeline.log if "pwned" in entry[2]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault(
    desk: Desk, lived: dict[str, Decided], scheme: Any
) -> None:
    size = {"width": 1200, "height": 900} if scheme == "light" else {"width": 375, "height": 800}
    _, table = await desk.newest()
    async with desk.seat("boss", color_scheme=scheme, viewport=size) as window:
        await window.page.goto(f"{desk.address}/try")
        await window.page.fill("#prompt", "Write a Python function that sorts ships")
        await window.page.click("text=Route it")
        await window.page.wait_for_selector("#scores")
        known = [str(v.ref) for v in await versions(desk.pipeline.kafka)]
        others = [
            f"map/{table.clusters[0].id}",
            f"tables/diff?old={known[0]}&new={known[-1]}",
            "nowhere",
        ]
        for path in (window.page.url.removeprefix(desk.address + "/"), *PAGES, *others):
            await window.page.goto(f"{desk.address}/{path}")
            found = (await Axe().run(window.page)).response["violations"]
            serious = [
                (v["id"], [n["html"][:200] for n in v["nodes"]][:3])
                for v in found
                if v["impact"] in {"serious", "critical"}
            ]
            assert serious == [], path
            wide = await window.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], f"{path} scrolls sideways"
    async with page(desk.browser, color_scheme=scheme) as window:
        await window.page.goto(f"{desk.address}/login")
        found = (await Axe().run(window.page)).response["violations"]
        assert [v["id"] for v in found if v["impact"] in {"serious", "critical"}] == []


async def test_the_console_ends_promptly_though_somebody_watches(
    installation: dict[str, str], tmp_path: Path
) -> None:
    environment = {"POINTSMAN_CONSOLE_PORT": "0", "POINTSMAN_KEYS_OPEN_ON_LOOPBACK": "true"}
    async with (
        Supervisor(("console",), environment, lambda *_: None) as running,
        httpx.AsyncClient(timeout=30) as http,
    ):
        await running.ready(30)
        address = running.addresses["console"]
        async with http.stream("GET", f"{address}/now/events") as stream:
            lines = stream.aiter_lines()
            line = ""
            while not line.startswith("data:"):
                line = await anext(lines)
            assert {"rows", "numbers", "series"} <= json.loads(line[5:]).keys()
            async with asyncio.timeout(
                8
            ):  # the service itself would wait ten seconds for open requests
                os.kill(running.pids["console"], signal.SIGTERM)
                async for _ in lines:
                    pass
