"""The services, one folder each, and the command line.

A service's folder has

    __init__.py   FLOW: what it hears, says and reads, its Redis keys, its port
    app.py        build(settings=None, …): assembles it, in at most 60 lines
    wiring        wiring.py or a folder: what touches adapters for it
    <verb>.py     the work: no framework, no adapter
    settings.py   frozen, POINTSMAN_<SERVICE>_*, a docstring for each field

A folder with an app.py is a service. No service imports another. The folders cli, commands,
workbench and local are no services: they are the command line and what it needs
(docs/architecture.md)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Read when numpy is first imported. Its threads wait for each other by spinning, and the hot
path's products are small."""
