"""Hears completions, says evaluations: compares the answers of two models to one prompt, in six
votes, three in each order.

Samples what teaches most and stays within a daily budget. Which model is best where is worked out
by the re-clusterer.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import COMPLETIONS, EVALUATIONS, ROUTING_TABLES

FLOW = Flow(
    name="judge",
    about="Compares the answers of two models in six votes, three in each order",
    hears=COMPLETIONS,
    says=(EVALUATIONS,),
    reads=(EVALUATIONS, ROUTING_TABLES),
    keys=(RedisKeys.tables, RedisKeys.answer, RedisKeys.judged, RedisKeys.judge_budget),
)
