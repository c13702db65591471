"""`make fuzz`: look for bytes that a reader can't take, for this many seconds; a finding is printed
with the number that makes it again."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from fuzzing import READERS, case
from rich.progress import Progress


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--reader", choices=[*READERS], help="only this one")
    parser.add_argument("--number", type=int, help="only this case")
    options = parser.parse_args()
    readers = [options.reader] if options.reader else [*READERS]
    if options.number is not None:
        for reader in readers:
            case(reader, options.number)
        return 0
    found, number, ends = 0, 0, time.monotonic() + options.seconds
    began = time.time_ns() // 10**9 * 10**6  # other cases each time
    with Progress() as bar:
        shown = bar.add_task("cases", total=options.seconds)
        while time.monotonic() < ends and found < 20:
            for reader in readers:
                try:
                    case(reader, began + number)
                except Exception:
                    found += 1
                    bar.console.print(
                        f"[red]finding[/] --reader {reader} --number {began + number}"
                    )
                    bar.console.print(traceback.format_exc(limit=-4), markup=False)
            number += 1
            bar.update(shown, completed=options.seconds - max(0.0, ends - time.monotonic()))
    print(f"{number} cases of each of {', '.join(readers)}; {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
