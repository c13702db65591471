"""Hears assignments, says decisions: the best model of the assigned clusters for this request's
preferences and constraints.

Leaves calling that model to the dispatcher. Decides with the very table that the assignment was
made with.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import ASSIGNMENTS, DECISIONS, ROUTING_TABLES

FLOW = Flow(
    name="selector",
    about="Selects the best model for the request's preferences and constraints",
    hears=ASSIGNMENTS,
    says=(DECISIONS,),
    reads=(ROUTING_TABLES,),
    replies=True,
    keys=(RedisKeys.tables,),
)
