"""The services, one folder each, and the command line.

A service's folder has

    __init__.py   what it hears, what it says, what it leaves to whom
    app.py        build(settings=None, <ports>=None) -> FastStream: wiring only
    <verb>.py     the work: no framework, no adapter
    settings.py   frozen, POINTSMAN_<SERVICE>_*, a docstring for each field

and is found by its app.py. No service imports another. Only an app.py may import faststream and
shared.adapters; `commands`, the command line, is no service and may use adapters too.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Read when numpy is first imported. Its threads wait for each other by spinning, and the hot
path's products are small."""
