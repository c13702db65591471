"""Whether the service of this container takes records: `python -m services.commands.health`, exit
code 0 or 1; with `--alive`, whether its event loop turns.

Reads the service's own metrics. Standard library only: it runs every few seconds.
"""

from __future__ import annotations

import os
import re
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

STUCK_S = 60.0
"""An event loop that has not turned for so long hangs. It turns at least every five seconds."""


def main(arguments: list[str]) -> int:
    """0 if the service is ready, or alive if that is asked."""
    port = os.environ.get("POINTSMAN_METRICS_PORT", "0")
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=3) as answer:
            metrics = answer.read()
    except (URLError, OSError) as error:
        print(f"no metrics on port {port}: {error}; set POINTSMAN_METRICS_PORT")
        return 1
    if "--alive" in arguments:
        return 0 if alive(metrics, time.time()) else 1
    return 0 if re.search(rb"^pointsman_ready\{.*\} 1\.0$", metrics, re.MULTILINE) else 1


def alive(metrics: bytes, now: float) -> bool:
    """Whether the event loop has turned lately, or has not begun to."""
    turned = re.search(rb"^pointsman_alive_at\{.*\} (\S+)$", metrics, re.MULTILINE)
    return turned is None or now - float(turned[1]) < STUCK_S


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
