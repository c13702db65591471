"""From clusters to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shared.contracts.messages import Decided, Placed, extend
from shared.contracts.parts import CandidateScore, Decision, Place, Preferences, Profile, RuledOut
from shared.routing.assignment import Assignment
from shared.routing.errors import TableInvalid
from shared.routing.selection import Candidate, Selection, Weights, select
from shared.routing.table import RoutingTable

BYTES_PER_TOKEN = 4
"""A rough figure for text in Latin script; what is held back for the answer is the constraint's business."""


def decide(
    message: Placed,
    table: RoutingTable,
    contexts: Mapping[str, int],
    default: Profile,
    candidates: int,
    retired: frozenset[str] = frozenset(),
    predictor_share: float | None = None,
) -> Decided:
    """Add the decision. `table` must be the one that the assignment names; raises `TableInvalid` if it is not.

    `contexts` are the tokens that models can read; `retired` models are not selected, whatever the table says of them.
    `predictor_share` replaces the part of the performance that the table leaves to its predictor.
    """
    if table.digest != message.assignment.table.digest:
        raise TableInvalid(f"the assignment was made with table {message.assignment.table.digest[:12]}, not with {table.digest[:12]}")
    weights = message.weights(default).normalised()
    limits = replace(message.constraints.limits(message.prompt_bytes() // BYTES_PER_TOKEN), retired=retired)
    places = (message.assignment, *message.assignment.views)
    selections = [select(table, _assignment(p, table), weights, limits, contexts, p.prediction(table, predictor_share)) for p in places]
    selection = _guarded(selections[0], selections[1:])
    return extend(message, Decided, decision=_part(selection, weights, message, table, candidates))


def _guarded(whole: Selection, views: Sequence[Selection]) -> Selection:
    """What is selected for the whole prompt; or, if without its edges a model wins that costs less here, that one.

    All figures and limits stay those of the whole prompt, so that a view can only make a choice cheaper.
    """
    winners = {view.candidates[0].model for view in views if view.candidates}
    if not whole.candidates:
        return whole
    first = whole.candidates[0]
    cheaper = [c for c in whole.candidates if c.model in winners and c.cost_usd < first.cost_usd]
    if not cheaper:
        return whole
    chosen = min(cheaper, key=lambda c: c.cost_usd)
    why = f"{chosen.model} wins without an edge of the prompt, and costs less than {first.model}, which wins with it (guarded); {whole.why}"
    return replace(whole, candidates=(chosen, *(c for c in whole.candidates if c is not chosen)), confidence=0.0, why=why)


def _assignment(place: Place, table: RoutingTable) -> Assignment:
    parts = place.clusters
    try:
        clusters = np.array([table.positions[p.id] for p in parts], np.intp)
    except KeyError as error:
        raise TableInvalid(f"the assignment names cluster {error}, which table {table.digest[:12]} does not have") from None
    weights, distances = (np.array(values, np.float32) for values in ([p.weight for p in parts], [p.distance for p in parts]))
    return Assignment(clusters, weights, distances, place.novel)


def _part(selection: Selection, weights: Weights, message: Placed, table: RoutingTable, candidates: int) -> Decision:
    best = selection.candidates
    return Decision(
        status="decided" if best else "no_eligible_model",
        model=best[0].model if best else None,
        runner_up=best[1].model if len(best) > 1 else None,
        confidence=min(1.0, max(0.0, selection.confidence)),
        candidates=tuple(_score(c) for c in best[:candidates]),
        ruled_out=tuple(RuledOut(model=model, reason=reason) for model, reason in selection.ruled_out),
        preferences=Preferences(performance=weights.performance, cost=weights.cost, latency=weights.latency),
        predictor_share=selection.share,
        why=selection.why,
        table=message.assignment.table,
        simulated_rankings=table.provenance.simulated,
    )


def _score(candidate: Candidate) -> CandidateScore:
    return CandidateScore(
        model=candidate.model,
        utility=candidate.utility,
        performance=candidate.performance,
        performance_low=candidate.performance_low,
        performance_high=candidate.performance_high,
        cost_usd=candidate.cost_usd,
        latency_s=candidate.latency_s,
        gain=candidate.gain,
        cost_penalty=candidate.cost_penalty,
        latency_penalty=candidate.latency_penalty,
        predicted=candidate.predicted,
    )
