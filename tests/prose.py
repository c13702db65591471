"""`make check`'s prose linter: banned words, and sentences that are too long.

It reads what people read: pages, docstrings, comments, texts that programs print, templates, names
of tests, comments of configuration files. Vale would do the same, but its package downloads a
program when it starts, which a machine without access to GitHub can't do.

`python tests/prose.py [FILE…]` prints one line a finding and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 25
"""Words in a sentence. The aim is 20; 25 is the limit."""
FEWEST_WORDS = 3
"""A string literal with fewer words is a key or a name, not a sentence."""
INSTEAD = {
    r"whoever": "anyone who; or name the person",
    r"anew": "again; or: from scratch",
    r"all the same": "still; or: anyway",
    r"so[ -]man\w+": "name the number",
    r"so (?:much|large|long|often) (?:a|an|without|more)": "name the quantity",
    r"dear(?:er|est|ly)?": "expensive",
    r"by lot": "at random",
    r"mend(?:s|ed|ing)?": "fix; or: repair",
    r"(?:is|are|was|were) said": "name who says it",
    r"(?:came|comes?) of": "the result of",
    r"take[ns]? for": "treat as",
    r"tak(?:e|es|en|ing) it for": "treat it as",
    r"likewise|hence|albeit|thereof|thereby|whence|lest|hitherto|forthwith": "leave it out",
    r"thrice|naught|aught|amid|amongst|whilst|upon|unto|shall|betwixt|ere": "today's word",
    r"but for|save for|for want of": "except; or: without",
    r"of (?:ours|theirs|late|old)": "our; their; recently; old",
    r"heed(?:s|ed|ing)?": "follow; or: support",
    r"bears?|bore|borne": "has",
    r"be had": "be available",
    r"need be": "needed",
    r"reckon(?:s|ed|ing)?": "calculate",
    r"in its stead": "instead",
    r"told apart|tell(?:s|ing)? (?:\w+ )?apart": "distinguish",
    r"(?:is|are|was|were|be) away": "is unreachable",
    r"share of": "fraction of",
    r"once more": "again",
    r"purses?": "budget",
    r"now and then|every so \w+": "say how often",
    r"stand(?:s|ing)? still": "is stalled",
    r"(?:from|on) which on": "from … on",
    r"at hand": "available",
    r"strangers?": "name the unknown thing",
    r"doors?": "gateway and console; or: HTTP service",
    r"in vain": "without result",
    r"as it were|so to speak": "leave it out",
}
"""Words that make a reader stop, and what to write instead. They are matched without their case."""
BANNED = {re.compile(rf"\b(?:{word})\b", re.IGNORECASE): to for word, to in INSTEAD.items()}
UNREAD = (
    "shared/catalog/tasks/",
    "shared/adapters/llm/simulated_answers.py",
    "docs/tasks/",
    "services/gateway/samples.py",
    "services/console/static/vendor/",
    "deploy/helm/rendered/",
    "deploy/requirements/",
    "tests/clients/",
    "tests/prose.py",
)
"""Data, and what other programs wrote."""
FENCE = re.compile(r"^\s*```")
DRAWING = re.compile(r"(?m)^(?: {4,}\S|.*[├└│►]|\S+ {2,}\S).*$")
"""A line of a docstring that is a drawing, a column or an example."""
ARTICLE = re.compile(r"\b(?:the|an?|is|are|of|to|by|for)\b", re.IGNORECASE)
"""What a string without is a list of names."""
BLOCK = re.compile(r"^\s*(?:[-*>#]+|\d+\.)\s+")


@dataclass(frozen=True)
class Passage:
    """A text for people, and where it is."""

    line: int
    text: str
    sentences: bool = True
    """Whether its sentences are counted: those of names and of configuration are not."""


def in_python(source: str, *, test: bool = False) -> Iterator[Passage]:
    """Docstrings and comments; of a program also its texts, of a test also its name."""
    tree = ast.parse(source)
    docstrings = {
        id(statement.value): statement.value
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list)
        for statement in body
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    }
    for constant in docstrings.values():
        text = DRAWING.sub("", inspect.cleandoc(str(constant.value)))
        for passage in in_markdown(text):
            yield replace(passage, line=constant.lineno + passage.line - 1)
    yield from _comments(source)
    if test:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                node.name.startswith("test_")
            ):
                yield Passage(node.lineno, node.name.replace("_", " "), sentences=False)
        return
    parts = {
        id(value)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for value in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(value.value) if isinstance(value, ast.Constant) else "X"
                for value in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and id(node) not in parts
        ):
            text = node.value
        else:
            continue
        if len(text.split()) >= FEWEST_WORDS and ARTICLE.search(text):
            for passage in in_markdown(text) if "\n" in text else [Passage(1, text)]:
                yield replace(passage, line=node.lineno + passage.line - 1)


def _comments(source: str) -> Iterator[Passage]:
    gathered: list[str] = []
    began = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#").strip()
        if text.startswith(("noqa", "type:", "!", "pragma")):
            continue
        if gathered and token.start[0] != last + 1:
            yield Passage(began, " ".join(gathered))
            gathered = []
        if not gathered:
            began = token.start[0]
        gathered.append(text)
        last = token.start[0]
    if gathered:
        yield Passage(began, " ".join(gathered))


def in_markdown(source: str) -> Iterator[Passage]:
    """Paragraphs, list items, headings and cells of tables; code is left out."""
    gathered: list[str] = []
    began = 0
    fenced = False
    for number, line in enumerate([*source.split("\n"), ""], 1):
        fence = FENCE.match(line) is not None
        table = line.lstrip().startswith("|")
        if gathered and (fence or table or not line.strip() or BLOCK.match(line)):
            yield Passage(began, " ".join(gathered))
            gathered = []
        if fence:
            fenced = not fenced
        elif table and not fenced:
            for cell in line.strip().strip("|").split("|"):
                yield Passage(number, cell)
        elif line.strip() and not fenced and not line.startswith("<!--"):
            began = began if gathered else number
            gathered.append(BLOCK.sub("", line.strip()))


def in_html(source: str) -> Iterator[Passage]:
    """The text between tags, without template code."""
    shown = re.sub(r"(?s)<(script|style)\b.*?</\1>|\{[{%#].*?[%}#]\}|<!--.*?-->", _blank, source)
    for found in re.finditer(r">([^<]+)<", shown):
        yield Passage(shown[: found.start()].count("\n") + 1, found.group(1))


def _blank(found: re.Match[str]) -> str:
    return "X" + "\n" * found.group().count("\n")


def in_configuration(source: str) -> Iterator[Passage]:
    """Comments, and the words of alerts."""
    for number, line in enumerate(source.split("\n"), 1):
        found = re.search(r"(?:^|\s)#+\s?(.*)$|\b(?:summary|description):\s*(.+)$", line)
        if found:
            yield Passage(number, found.group(1) or found.group(2) or "", sentences=False)


READERS: Mapping[str, Callable[[str], Iterator[Passage]]] = {
    ".py": in_python,
    ".md": in_markdown,
    ".html": in_html,
    **dict.fromkeys((".yaml", ".yml", ".toml", ".sh", ".conf", ".acl", ""), in_configuration),
}
"""By the ending of a file's name. Files with another ending are not read."""


def passages(path: str, source: str) -> Iterator[Passage]:
    """The texts for people in a file of the tree."""
    if path.startswith("tests/") and path.endswith(".py"):
        return in_python(source, test=True)
    return READERS[Path(path).suffix](source)


def plain(text: str) -> str:
    """A text in one line, without code and targets of links."""
    text = re.sub(r"`[^`]*`", "X", text)
    return re.sub(r"\s+", " ", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text))


def sentences(text: str) -> list[str]:
    """The sentences of a `plain` text. A semicolon ends one, and so does a colon before a
    capital."""
    text = re.sub(r"\b(e\.g|i\.e|cf|al|vs|etc|Dr|No)\.", r"\1", text)
    return re.split(
        r"(?<=[.!?])[)*”\"]*\s+(?=[\W_]*[A-Z0-9])|;\s|(?<=:)\s+(?=[A-Z])|\s[–—]\s", text
    )


def words(sentence: str) -> int:
    """How many words a sentence has."""
    return sum(any(letter.isalpha() for letter in word) for word in sentence.split())


def findings(path: str, source: str) -> Iterator[str]:
    """What is wrong with the words of a file, one line each."""
    for passage in passages(path, source):
        text = plain(passage.text)
        for pattern, instead in BANNED.items():
            for found in pattern.finditer(text):
                around = text[max(0, found.start() - 40) : found.end() + 30]
                yield f"{path}:{passage.line}: “{found.group()}” in “…{around}…”: {instead}"
        if not passage.sentences:
            continue
        for sentence in sentences(text):
            if (count := words(sentence)) > LONGEST:
                yield f"{path}:{passage.line}: {count} words (at most {LONGEST}): {sentence}"


def tracked() -> list[str]:
    """The files of the tree that people read."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        path
        for path in listed.stdout.split()
        if not path.startswith(UNREAD) and (ROOT / path).is_file()
    ]


def main() -> int:
    found = [
        line
        for path in sys.argv[1:] or tracked()
        if Path(path).suffix in READERS
        for line in findings(path, (ROOT / path).read_text())
    ]
    for line in found:
        print(line)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
