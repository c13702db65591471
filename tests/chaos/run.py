"""`make chaos`: break an installation in every way that is listed, under load, and say what was
lost and what happened twice.

Real Kafka, real Redis, the services as processes of their own; the language models are SIMULATED.
Each fault begins with fresh services. Prints a table and writes it as JSON and Markdown; the exit
code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faults import FAULTS, FULL, SHORT, Findings, Size
from machine import described, machine
from own import OWN
from rich.console import Console
from rich.table import Table
from scene import installation, scene

from services.local import supervise

out = Console(width=180, highlight=False)


def one(name: str, size: Size) -> Findings:
    """One fault on an installation of its own."""
    if name in OWN:
        return asyncio.run(OWN[name](size))

    async def run() -> Findings:
        async with scene(made) as there:
            return await FAULTS[name](there, size)

    with installation(size.session_s) as made:
        return asyncio.run(run())


def row(found: Findings) -> list[str]:
    figures = "; ".join(
        f"{name}: {value}"
        for name, value in found.figures.items()
        if name not in ("reasons", "services said", "billed twice")
    )
    c = found.counted
    return [
        found.fault,
        str(found.times),
        str(c.accepted),
        str(c.lost),
        str(found.figures.get("billed twice", "-")),
        figures,
        "; ".join(found.wrong),
    ]


HEADINGS = ("fault", "times", "prompts", "lost", "billed twice", "figures", "wrong")


def markdown(done: list[Findings]) -> str:
    """The table for docs/operations.md."""
    lines = [" | ".join(HEADINGS), " | ".join("---" for _ in HEADINGS)]
    lines += [" | ".join(cell or "–" for cell in row(found)) for found in done]
    return "".join(f"| {line} |\n" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "faults", nargs="*", help="which; by default all. " + ", ".join((*FAULTS, *OWN))
    )
    parser.add_argument("--short", action="store_true", help="the form that `make test` runs")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument("--write", type=Path, default=Path("bench-results/chaos.json"))
    options = parser.parse_args()
    names = options.faults or [*FAULTS, *OWN]
    if unknown := set(names) - FAULTS.keys() - OWN.keys():
        known = ", ".join((*FAULTS, *OWN))
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {known}")
    size, done = SHORT if options.short else FULL, list[Findings]()
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "size": asdict(size),
        "faults": {},
    }
    for number, name in enumerate(names, 1):
        began = time.monotonic()
        found = one(name, size)
        done.append(found)
        results["faults"][name] = asdict(found) | {"seconds": round(time.monotonic() - began)}
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(json.dumps(results, indent=2) + "\n")
        options.write.with_suffix(".md").write_text(markdown(done))
        if not options.json:
            state = (
                "[red]" + "; ".join(found.wrong) + "[/]"
                if found.wrong
                else "[green]as it should be[/]"
            )
            out.print(
                f"{number}/{len(names)} {found.fault}: {state} ({time.monotonic() - began:.0f} s)"
            )
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        shown = Table(*HEADINGS, box=None)
        for found in done:
            shown.add_row(*row(found))
        out.print(shown)
        out.print(described(results["machine"]))
        out.print(
            f"written to {options.write} and {options.write.with_suffix('.md')}; language models "
            "were SIMULATED"
        )
    return 1 if any(found.wrong for found in done) else 0


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # of the load and the ledger: they wait and go on
    supervise.warm()
    sys.exit(main())
