"""Takes HTTP in the forms of OpenAI's and Anthropic's APIs, says prompts; hears replies, says
completions, evaluations (feedback) and spending.

Calls the selected model itself, so that its answer can be streamed. Describing, embedding,
assigning and selecting are left to the services of the hot path.
"""

from shared.contracts.flow import Flow, RedisKeys
from shared.contracts.topics import (
    COMPLETIONS,
    EVALUATIONS,
    PROMPTS,
    REPLIES,
    ROUTING_TABLES,
    SPENDING,
)

FLOW = Flow(
    name="gateway",
    about="Answers programs in the forms of OpenAI's and Anthropic's APIs",
    says=(PROMPTS, COMPLETIONS, EVALUATIONS, SPENDING),
    reads=(REPLIES, COMPLETIONS, SPENDING, ROUTING_TABLES),
    keys=(
        RedisKeys.tables,
        RedisKeys.rate,
        RedisKeys.key_budget,
        RedisKeys.conversation,
        RedisKeys.answered,
        RedisKeys.response,
    ),
    port=8787,
)
