"""`pointsman flow`: which service hears, says and reads what, drawn from each service's `FLOW`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.flows import flows
from services.screen import as_json as print_json
from services.screen import out
from shared.contracts.errors import InvalidMessage
from shared.contracts.flow import Flow
from shared.contracts.topics import Topic

MARKS = ("<!-- flow {0}: written by `make flow` -->", "<!-- end of flow {0} -->")
"""What stands before and after a part in a page: `drawing` or `table`."""


def show(write: Path | None, *, as_json: bool) -> None:
    """Print the drawing and the table; with `write`, put them between the marks of that file, as
    far as it has them.

    Raises `InvalidMessage` if the file has no marks.
    """
    if write is not None:
        write.write_text(rewritten(write.read_text(), write.name))
        out.print(f"wrote {write}")
    elif as_json:
        print_json([_row(flow) for flow in flows()])
    else:
        print(drawing(flows()))
        print()
        for flow in flows():
            out.print(f"[bold]{flow.name}[/]  {flow.about}", soft_wrap=True)
            for what, values in _row(flow).items():
                if isinstance(values, list) and values:
                    out.print(f"  {what.replace('_', ' ')}: {', '.join(values)}", soft_wrap=True)


def rewritten(text: str, name: str) -> str:
    """The text with today's drawing and table, each between its marks, as far as it has them."""
    parts = {"drawing": f"```text\n{drawing(flows())}\n```", "table": table(flows())}
    marked = False
    for part, content in parts.items():
        begin, end = (mark.format(part) for mark in MARKS)
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if begun and ended:
            marked = True
            text = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    if not marked:
        wanted = " and ".join(mark.format("drawing") for mark in MARKS)
        raise InvalidMessage(f"{name} has no lines {wanted}; put them where the flow belongs")
    return text


def drawing(services: Sequence[Flow]) -> str:
    """One line a service: what it hears, itself, what it says; at most 88 columns."""
    lines = []
    for flow in services:
        heard = [flow.hears] if flow.hears is not None else list(flow.reads)
        said = list(flow.written if flow.hears is None else flow.says)
        rows = max(len(heard), len(said))
        for row in range(rows):
            left = heard[row].name if row < len(heard) else ""
            right = said[row].name if row < len(said) else ""
            first = row == 0
            into = "──►" if first else ("──┘" if left else "   ")
            onto = "──►" if first else ("└─►" if right else "   ")
            name = flow.name if first else ""
            lines.append(f"{left:>15} {into} {name:^12} {onto} {right}".rstrip())
    return "\n".join(lines)


def table(services: Sequence[Flow]) -> str:
    """In Markdown."""
    head = [
        "| service | hears | says | reads besides | Redis | port |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        f"| {flow.name} | {_names([flow.hears] if flow.hears else [])} | {_names(flow.written)} "
        f"| {_names(flow.reads)} | {', '.join(f'`{k}`' for k in flow.keys)} | {flow.port or ''} |"
        for flow in services
    ]
    return "\n".join([*head, *rows])


def _names(topics: Sequence[Topic]) -> str:
    return ", ".join(topic.name for topic in topics)


def _row(flow: Flow) -> dict[str, str | int | list[str] | None]:
    return {
        "service": flow.name,
        "about": flow.about,
        "hears": [flow.hears.name] if flow.hears else [],
        "says": [topic.name for topic in flow.written],
        "reads_besides": [topic.name for topic in flow.reads],
        "redis_keys": [str(keys) for keys in flow.keys],
        "single_writer_of": flow.single_writer.name if flow.single_writer else None,
        "port": flow.port,
    }
