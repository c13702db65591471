"""Hears decisions, says completions: calls the selected model, and the next in line when it fails.

A decision that asks for no answer passes. What an answer cost and how long it took is recorded;
whether it was any good is left to the judge and to people.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import COMPLETIONS, DECISIONS, ROUTING_TABLES

FLOW = Flow(
    name="dispatcher",
    about="Calls the selected model and records what the answer took",
    hears=DECISIONS,
    says=(COMPLETIONS,),
    reads=(ROUTING_TABLES,),
    replies=True,
    keys=(RedisKeys.tables, RedisKeys.answer, RedisKeys.asking),
)
