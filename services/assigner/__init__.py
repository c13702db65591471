"""Hears embeddings, says assignments: the nearest clusters of the current routing table, with
weights.

Leaves the choice of a model to the selector. Refuses an embedding from another encoder than the
table's.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import ASSIGNMENTS, EMBEDDINGS, ROUTING_TABLES

FLOW = Flow(
    name="assigner",
    about="Finds the nearest clusters of the current routing table",
    hears=EMBEDDINGS,
    says=(ASSIGNMENTS,),
    reads=(ROUTING_TABLES,),
    keys=(RedisKeys.tables,),
)
