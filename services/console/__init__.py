"""Hears decisions, completions, evaluations and routing tables; says evaluations (people's votes)
and prompts (to try one).

The operator's desk: pages that are drawn here, on the server. Answering clients is left to the
gateway.
"""
