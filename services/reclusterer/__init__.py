"""Reads embeddings, evaluations and completions, says routing-tables: finds the tasks and ranks the
models in each.

One writer at a time: re-clusterers form a group on the single partition of `routing-tables`; its
owner writes under an epoch of its own, the others learn and stand by. Everything it knows comes
from the topics and can be learnt from them again.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import COMPLETIONS, EMBEDDINGS, EVALUATIONS, ROUTING_TABLES

FLOW = Flow(
    name="reclusterer",
    about="Finds the tasks among embeddings and ranks the models in each",
    says=(ROUTING_TABLES,),
    reads=(EMBEDDINGS, EVALUATIONS, COMPLETIONS),
    single_writer=ROUTING_TABLES,
    keys=(RedisKeys.tables,),
)
