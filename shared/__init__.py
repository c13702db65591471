"""Pointsman's own package: what more than one service needs.

adapters   everything that touches the outside: Kafka, Redis, language models, ONNX, telemetry
contracts  the messages on the topics
catalog    models with their prices, the 25 tasks with their prompts
routing    the arithmetic: tables, assignment, selection, ranking, clustering; pure functions

Imports run downwards only. Adapters may use contracts, and contracts may use catalog and routing.
These two use neither of the others (checked by import-linter, see pyproject.toml).
"""
