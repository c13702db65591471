"""A name has one meaning."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_two_classes_share_a_name() -> None:
    where = defaultdict(list)
    for folder in ("services", "shared"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef):
                    where[node.name].append(str(file.relative_to(ROOT)))
    assert len(where) > 100
    assert {name: files for name, files in where.items() if len(files) > 1} == {}
