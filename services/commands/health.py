"""Whether the service of this container takes records: `python -m services.commands.health`, exit
code 0 or 1.

Reads the service's own metrics. Standard library only: it runs every few seconds.
"""

from __future__ import annotations

import os
import re
import sys
from urllib.error import URLError
from urllib.request import urlopen


def main() -> int:
    """0 if the service is ready."""
    port = os.environ.get("POINTSMAN_METRICS_PORT", "0")
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=3) as answer:
            ready = re.search(rb"^pointsman_ready\{.*\} 1\.0$", answer.read(), re.MULTILINE)
    except (URLError, OSError) as error:
        print(f"no metrics on port {port}: {error}; set POINTSMAN_METRICS_PORT")
        return 1
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
