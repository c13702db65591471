"""What was decided, and why."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from shared.contracts.base import NonNegative, Part, Probability
from shared.contracts.places import TableRef
from shared.contracts.wishes import Preferences, RatesUsed


class CandidateScore(Part):
    """One eligible model with everything its utility is made of: utility = gain - cost_penalty -
    latency_penalty - caution."""

    model: str
    utility: float
    """In points of success."""
    success: Probability
    """Expected score of its answer; where rankings come from votes, its probability of winning
    against the reference model (0.5)."""
    success_low: Probability
    success_high: Probability
    """The 95% interval."""
    cost_usd: NonNegative
    latency_s: NonNegative
    gain: NonNegative
    """The success. Of a table of format 1: the win rate against the best, scaled over the eligible
    models and weighed."""
    cost_penalty: NonNegative
    latency_penalty: NonNegative
    switching_cost_usd: NonNegative = 0.0
    """Part of `cost_usd`: what it costs that this model reads the conversation again, where another
    has it in its cache. A quarter of it counts in `cost_penalty`: it is paid once, for the turns
    that follow, too."""
    caution: NonNegative = 0.0
    """Points that its success is taken to be lower, since too little is known of it yet."""
    predicted: Probability | None = None
    """Success as the table's predictor has it, where there is one."""
    performance: Probability = 0.0
    """The same as `success`, with its interval: services of the version before read it under this
    name."""
    performance_low: Probability = 0.0
    performance_high: Probability = 0.0

    @model_validator(mode="before")
    @classmethod
    def _older(cls, data: Any) -> Any:
        if isinstance(data, dict) and "success" not in data:
            return data | {
                f"success{end}": data[f"performance{end}"]
                for end in ("", "_low", "_high")
                if f"performance{end}" in data
            }
        return data


class RuledOut(Part):
    """A model that a constraint, or what the request needs, made ineligible."""

    model: str
    reason: str


class CascadePlan(Part):
    """What would be worth more than any model alone: ask `first`, and `then` only where its answer
    is not good enough.

    Who asks models may follow it or not (POINTSMAN_DISPATCHER_CASCADE, POINTSMAN_GATEWAY_CASCADE).
    """

    first: str
    then: str
    accept_at: float
    """The first answer is accepted if it is good with this probability or more."""
    success: Probability
    """Expected score of the answer that is given in the end."""
    cost_usd: NonNegative
    """Expected cost of all answers."""
    latency_s: NonNegative
    escalated: Probability
    """How probably the second is asked."""
    gain: NonNegative
    """Points of utility beyond the best model alone."""


class Decision(Part):
    """The selected model and why; or no model, and the constraints that left none."""

    status: Literal["decided", "no_eligible_model"]
    model: str | None = None
    """Its name in the catalogue."""
    runner_up: str | None = None
    confidence: Probability
    """Probability that the winner's utility is really above the runner-up's."""
    candidates: tuple[CandidateScore, ...]
    """Best first; the order in which to fall back."""
    ruled_out: tuple[RuledOut, ...]
    preferences: Preferences
    """The weights that the rates stand for, summing to 1: what tables of format 1 are decided by,
    and older services read."""
    rates: RatesUsed | None = None
    """What a point of success was worth. None: decided by a service of the version before."""
    single: str | None = None
    """The best model where one answers all prompts, which goals are measured by. None: the table
    does not say."""
    cascade: CascadePlan | None = None
    """A cheaper way than `model`, where the table knows one."""
    predictor_share: Probability = 0.0
    """The predictor's part of the success; the clusters' rankings have the rest."""
    why: str
    table: TableRef
    simulated_rankings: bool
    """True if the table's rankings come from simulated outcomes."""
