"""Hears prompts, says descriptions: a language model distils each prompt into one short task
description.

Leaves embedding to the embedder. It is the entrance: what is wrong with a producer's message is
found here."""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import DESCRIPTIONS, PROMPTS, ROUTING_TABLES

FLOW = Flow(
    name="describer",
    about="Distils each prompt into one short task description",
    hears=PROMPTS,
    says=(DESCRIPTIONS,),
    reads=(DESCRIPTIONS, ROUTING_TABLES),
    replies=True,
    keys=(RedisKeys.tables, RedisKeys.description),
)
