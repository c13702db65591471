"""From clusters to a model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf

import numpy as np

from shared.catalog.models import Model
from shared.contracts.decisions import CandidateScore, CascadePlan, Decision, RuledOut
from shared.contracts.messages import Decided, Placed, extend
from shared.contracts.places import Place
from shared.contracts.wishes import ConversationSoFar, Preferences, RatesUsed
from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.cascade import Alone, plan
from shared.routing.deciding.pacing import Offer, Pacer
from shared.routing.deciding.rates import Goal, Rates, weights_of
from shared.routing.deciding.selection import Cached, Candidate, Limits, Selection, select
from shared.routing.deciding.table import RoutingTable
from shared.routing.errors import TableInvalid

NOTHING_BEFORE = ConversationSoFar()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a point of success is worth, and the goal that this was found for, if there is one."""

    rates: Rates
    goal: Goal | None = None


def decide(
    message: Placed,
    table: RoutingTable,
    models: Mapping[str, Model],
    wish: Wish,
    retired: frozenset[str] = frozenset(),
    predictor_share: float | None = None,
) -> Decided:
    """Add the decision, with every eligible model as a candidate. `table` must be the one that the
    assignment names; raises `TableInvalid` if it is not.

    `models` are those of the catalogue: what they can take, and their prices. `retired` models are
    not selected, whatever the table says of them. `predictor_share` replaces the part of the
    success that the table leaves to its predictor.
    """
    if table.digest != message.assignment.table.digest:
        raise TableInvalid(
            f"the assignment was made with table {message.assignment.table.digest[:12]}, not with "
            f"{table.digest[:12]}"
        )
    tokens = message.read_tokens()
    before = message.conversation or NOTHING_BEFORE
    limits = replace(message.constraints.limits(message.needed()), retired=retired)
    abilities = {name: model.abilities for name, model in models.items()}
    cached = {name: min(count, int(tokens)) for name, count in before.cached_tokens.items()}
    caches = caches_of(cached, models)
    places = (message.assignment, *message.assignment.views)
    selections = [
        select(
            table,
            _assignment(p, table, before.tasks),
            wish.rates,
            limits,
            abilities,
            p.prediction(table, predictor_share),
            tokens,
            caches,
        )
        for p in places
    ]
    whole = selections[0]
    selection = _guarded(whole, selections[1:])
    cascade = None if selection is not whole else _cascade(whole, table, wish.rates, limits)
    return extend(message, Decided, decision=_part(selection, wish, message, table, cascade))


def listed(message: Decided, most: int) -> Decided:
    """With the best `most` candidates, and the best single model that goals are measured by."""
    decision = message.decision
    beyond = [c for c in decision.candidates[most:] if c.model == decision.single]
    kept = (*decision.candidates[:most], *beyond)
    return message.model_copy(update={"decision": decision.model_copy(update={"candidates": kept})})


def caches_of(tokens: Mapping[str, int], models: Mapping[str, Model]) -> dict[str, Cached]:
    """What a conversation saves with each model, by the tokens that its provider has cached."""
    longest = max(tokens.values(), default=0)
    if not longest:
        return {}
    saved = {name: model.price.saved_usd(tokens.get(name, 0)) for name, model in models.items()}
    return {
        name: Cached(saved[name], model.price.saved_usd(longest) - saved[name])
        for name, model in models.items()
    }


def _cascade(
    selection: Selection, table: RoutingTable, rates: Rates, limits: Limits
) -> CascadePlan | None:
    """Whether asking a cheap model first is worth more, if both answers together keep the limits.
    What is not known well enough is not put at risk."""
    best = selection.candidates
    if table.cascade is None or not best:
        return None
    models = [Alone(c.model, c.success, c.cost_usd, c.latency_s) for c in best if not c.unproven]
    cascade = plan(
        models,
        table.cascade,
        rates,
        best[0].utility,
        inf if limits.max_cost_usd is None else limits.max_cost_usd,
        inf if limits.max_latency_s is None else limits.max_latency_s,
    )
    return None if cascade is None else CascadePlan(**asdict(cascade))


class Pacers:
    """One pacer a goal; those that were asked for least lately are forgotten."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._pacers: OrderedDict[Goal, Pacer] = OrderedDict()

    def wish(self, wanted: Rates | Goal, table: RoutingTable) -> Wish:
        """The rates to decide by."""
        if isinstance(wanted, Rates):
            return Wish(wanted)
        pacer = self._pacers.setdefault(wanted, Pacer(wanted))
        self._pacers.move_to_end(wanted)
        while len(self._pacers) > self._most:
            self._pacers.popitem(last=False)
        return Wish(pacer.rates(table.frontier), wanted)

    def decided(self, wish: Wish, decision: Decision, table: RoutingTable) -> None:
        """Take note of a decision with all its candidates. One with constraints counts, too: what
        it costs is spent."""
        if wish.goal is None or decision.model is None or table.reference_success is None:
            return
        offers = {c.model: Offer(c.success, c.cost_usd, c.latency_s) for c in decision.candidates}
        self._pacers[wish.goal].decided(offers, decision.model, table.frontier)


def _guarded(whole: Selection, views: Sequence[Selection]) -> Selection:
    """What is selected for the whole prompt; or, if without its edges a model wins that costs less
    here, that one.

    All figures and limits stay those of the whole prompt, so that a view can only make a choice
    cheaper.
    """
    winners = {view.candidates[0].model for view in views if view.candidates}
    if not whole.candidates:
        return whole
    first = whole.candidates[0]
    cheaper = [c for c in whole.candidates if c.model in winners and c.cost_usd < first.cost_usd]
    if not cheaper:
        return whole
    chosen = min(cheaper, key=lambda c: c.cost_usd)
    why = (
        f"{chosen.model} wins without an edge of the prompt, and costs less than {first.model}, "
        f"which wins with it (guarded); {whole.why}"
    )
    return replace(
        whole,
        candidates=(chosen, *(c for c in whole.candidates if c is not chosen)),
        confidence=0.0,
        why=why,
    )


def _assignment(place: Place, table: RoutingTable, before: Mapping[str, float]) -> Assignment:
    """The clusters of a prompt with those of the turns before it. A task lasts longer than a turn,
    and one turn's task may be a mistake."""
    weights = {part.id: part.weight for part in place.clusters}
    distances = {part.id: part.distance for part in place.clusters}
    farthest = max(distances.values())
    known = {name: weight for name, weight in before.items() if name in table.positions}
    total = 1.0 + sum(known.values())
    joined = {
        name: (weights.get(name, 0.0) + known.get(name, 0.0)) / total
        for name in (*weights, *(name for name in known if name not in weights))
    }
    try:
        clusters = np.array([table.positions[name] for name in joined], np.intp)
    except KeyError as error:
        raise TableInvalid(
            f"the assignment names cluster {error}, which table {table.digest[:12]} does not have"
        ) from None
    return Assignment(
        clusters,
        np.array([*joined.values()], np.float32),
        np.array([distances.get(name, farthest) for name in joined], np.float32),
        place.novel,
    )


def _part(
    selection: Selection,
    wish: Wish,
    message: Placed,
    table: RoutingTable,
    cascade: CascadePlan | None,
) -> Decision:
    best = selection.candidates
    weights = weights_of(wish.rates)
    goal = wish.goal
    used = RatesUsed(usd_per_point=wish.rates.usd_per_point, s_per_point=wish.rates.s_per_point)
    if goal is not None:
        spend = None if goal.spend_usd is None else 1000 * goal.spend_usd
        used = used.model_copy(update={"keep": goal.keep, "spend_usd_per_1000": spend})
    return Decision(
        status="decided" if best else "no_eligible_model",
        model=best[0].model if best else None,
        runner_up=best[1].model if len(best) > 1 else None,
        confidence=min(1.0, max(0.0, selection.confidence)),
        candidates=tuple(_score(c) for c in best),
        ruled_out=tuple(
            RuledOut(model=model, reason=reason) for model, reason in selection.ruled_out
        ),
        preferences=Preferences(
            performance=weights.performance, cost=weights.cost, latency=weights.latency
        ),
        rates=used,
        single=None if table.frontier is None else table.frontier.single,
        cascade=cascade,
        predictor_share=selection.share,
        why=selection.why if goal is None else f"{selection.why} ({goal.text})",
        table=message.assignment.table,
        simulated_rankings=table.provenance.simulated,
    )


def _score(candidate: Candidate) -> CandidateScore:
    return CandidateScore(
        model=candidate.model,
        utility=candidate.utility,
        success=candidate.success,
        success_low=candidate.success_low,
        success_high=candidate.success_high,
        performance=candidate.success,
        performance_low=candidate.success_low,
        performance_high=candidate.success_high,
        cost_usd=candidate.cost_usd,
        latency_s=candidate.latency_s,
        gain=candidate.gain,
        cost_penalty=candidate.cost_penalty,
        latency_penalty=candidate.latency_penalty,
        switching_cost_usd=candidate.switching_cost_usd,
        caution=candidate.caution,
        predicted=candidate.predicted,
    )
