"""Hears descriptions, says embeddings: each task description becomes a point, by an ONNX encoder on
CPU or CUDA.

Leaves what the point means to the assigner. The service that scales out: start as many as there are
partitions.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import DESCRIPTIONS, EMBEDDINGS, ROUTING_TABLES

FLOW = Flow(
    name="embedder",
    about="Turns each task description into a point",
    hears=DESCRIPTIONS,
    says=(EMBEDDINGS,),
    reads=(ROUTING_TABLES,),
    keys=(RedisKeys.tables,),
)
