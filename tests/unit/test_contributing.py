"""CONTRIBUTING.md's examples are followed to the letter, on a copy of the tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import blocks, files

ROOT = Path(__file__).parents[2]
KINDS = "tests/unit/services/test_tables_of_kinds.py"
EXAMPLES = {
    "Add a clustering": (
        [KINDS, "tests/unit/services/test_reclusterer.py", "tests/unit/routing/test_learning.py"],
        "linkage",
    ),
    "Add a judge": ([KINDS], "two"),
    "Add a provider": ([KINDS], "key-header"),
    "Add a page to the console": ([KINDS], "Costs"),
}


def section(title: str) -> str:
    """The text of a section of CONTRIBUTING.md."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    return page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_can_be_followed(title: str, tmp_path: Path) -> None:
    """The tests that are named pass, and some of them run what was added."""
    for folder in ("services", "shared", "tests"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, text in files(section(title)):
        (tmp_path / path).write_text(text)
    applied = subprocess.run(
        ["git", "apply", "-"],
        cwd=tmp_path,
        input="\n".join(blocks(section(title), "diff")),
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
    )
    assert applied.returncode == 0, applied.stderr
    named, added = EXAMPLES[title]
    for path in named:
        assert path in section(title), f"{title} does not name {path}"
    python = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *named]
    ran = subprocess.run(
        python,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert re.search(rf"{added}\S* PASSED", ran.stdout), ran.stdout[-3000:]
