"""Reads what happens from the topics; says prompts (to try one), votes, and routing tables.

The operator's desk: pages that are drawn here, on the server. Answering clients is left to the
gateway.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import (
    DECISIONS,
    EVALUATIONS,
    PROMPTS,
    REPLIES,
    ROUTING_TABLES,
    SPENDING,
)

FLOW = Flow(
    name="console",
    about="Shows people what happens, and lets them try, rate and roll back",
    says=(PROMPTS, EVALUATIONS, ROUTING_TABLES),
    reads=(DECISIONS, EVALUATIONS, SPENDING, REPLIES, ROUTING_TABLES),
    keys=(RedisKeys.tables,),
    port=8788,
)
