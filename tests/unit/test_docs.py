"""The pages say what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from services.flows import names

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PATH = re.compile(
    r"(?:services|shared|tests|deploy|docs)/[\w/.-]*\w\.(?:py|md|ya?ml|toml|txt|json|sh|html)\b"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_is_named_is_there(page: Path) -> None:
    missing = [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()]
    assert not missing


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
