"""The encoders that come with Pointsman."""

from __future__ import annotations

from typing import Literal

VariantName = Literal[
    "int8",
    "fp32",
    "fp16",
    "tasks2-int8",
    "tasks2-fp32",
    "tasks2-fp16",
    "tasks1-int8",
    "tasks1-fp32",
    "tasks1-fp16",
    "minilm-int8",
    "minilm-fp32",
    "minilm-fp16",
    "int8-whole",
    "fp32-whole",
]
"""`int8`, `fp32`, `fp16` (for GPUs): the task encoder. `tasks2-…` and `tasks1-…`: those before it,
of six and of three layers. `minilm-…`: the default before them, three layers of all-MiniLM-L6-v2,
in English. `…-whole`: all six of them. A routing table belongs to one of them."""
