"""The pages say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from blocks import blocks, without_blocks
from prose import LONGEST, findings

from services.flows import hot_path, names

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PATH = re.compile(
    r"(?:services|shared|tests|deploy|docs)/[\w/.-]*\w\.(?:py|md|ya?ml|toml|txt|json|sh|html)\b"
)


OF_EXAMPLES = {
    "services/console/pages/costs.py",
    "services/console/templates/costs.html",
    "services/greeter/__init__.py",
    "services/greeter/app.py",
}
"""Files that a reader of CONTRIBUTING.md writes."""
OF_OTHERS = {"docs/tutorials/algorithm/selection/elo.md", "docs/CONFIGURATION.md"}
"""Sources of docs/comparison.md, in other repositories."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_is_named_is_there(page: Path) -> None:
    shown = {*PATH.findall(page.read_text())} - OF_EXAMPLES - OF_OTHERS
    assert not [path for path in shown if not (ROOT / path).exists()]


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    broken = []
    for link in LINK.findall(without_blocks(page.read_text())):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert not broken


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert not {page for page in pages if f"({page})" not in index}


def test_the_readme_draws_the_path_of_a_prompt_and_names_every_service() -> None:
    text = (ROOT / "README.md").read_text()
    drawing = blocks(text, "text")[-1]
    assert " ─► ".join(["prompts", *hot_path(), "decisions"]) in drawing
    assert all(name in drawing for name in names())
    assert max(map(len, drawing.split("\n"))) <= 80


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 7_200
    prose = re.sub(r"^\|.*$", "", without_blocks(text), flags=re.MULTILINE)
    assert max(map(len, prose.split("\n"))) <= 88


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    """If this fails: make cli."""
    command = ["-m", "typer", "services/__main__.py", "utils", "docs"]
    printed = subprocess.run(
        [sys.executable, *command, "--name", "pointsman", "--title", "Commands"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs/cli.md").read_text().strip() == printed.strip()


def test_the_prose_linter_finds_what_it_looks_for() -> None:
    text = '"""Made anew by whoever asks."""\n# mend this\n'
    assert [line.split(" in ")[0] for line in findings("x.py", text)] == [
        *("x.py:1: “whoever”", "x.py:1: “anew”", "x.py:2: “mend”")
    ]
    long = " ".join(["word"] * (LONGEST + 1))
    assert len(list(findings("x.md", f"{long}.\n\nShort one. {long}.\n\n```\n{long}\n```\n"))) == 2
    assert not list(findings("x.md", f"`{long}` and [a word]({long}).\n"))
    assert list(findings("tests/x.py", "def test_it_bears_a_name(): ...\n"))
    assert list(findings("x.html", "<p>so <b>old</b> mend it</p>{# anew #}"))
    assert list(findings("x.yaml", "a: 1  # mend\n"))


def test_what_the_architecture_page_names_in_a_file_stands_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    page = text.partition("## Where to change what")[2]
    rows = re.findall(r"^\|.*\| (`.*`.*) \|$", page, re.MULTILINE)
    pairs = []
    for row in rows:
        path = ""
        for name in re.findall(r"`([^`]+)`", row):
            if "/" in name:
                path = name
            elif re.fullmatch(r"[A-Za-z_]+", name):
                pairs.append((path, name))
    assert len(pairs) >= 8
    for path, name in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (path, name)


def test_the_layers_that_are_drawn_are_those_that_are_checked() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    drawn = re.search(r"```text\nservices/.*?```", page, re.DOTALL)
    assert drawn is not None
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = {
        c["containers"][0] if "containers" in c else "": c["layers"]
        for c in config["contracts"]
        if c["type"] == "layers"
    }
    rooms = re.findall(
        r"^  (routing  ·  catalog|[a-z]+)", drawn.group().split("shared/")[1], re.MULTILINE
    )
    expected = [one.replace("catalog : routing", "routing  ·  catalog") for one in layers["shared"]]
    assert rooms == expected
    chain = " ─► ".join(layers["shared.routing"][:-1])
    assert chain in drawn.group()
    beside = [layer.removeprefix("services.") for layer in layers[""] if "." in layer]
    words = [layer for layer in beside if re.fullmatch(r"[a-z]+", layer)]
    assert re.sub(" +", " ", drawn.group()).count(" ─► ".join(words)) == 1


def test_wiring_fits_in_sixty_lines() -> None:
    for name in names():
        lines = (ROOT / "services" / name / "app.py").read_text().count("\n")
        assert lines <= 60, f"services/{name}/app.py has {lines}"
