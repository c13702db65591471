"""What answers when there is no decision: the default model, and those after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from services.gateway.requests import Problem
from services.gateway.settings import GatewaySettings
from services.gateway.understanding import UnderstoodRequest
from shared.catalog.estimates import ANSWER_TOKENS
from shared.catalog.models import Catalog
from shared.contracts.places import TableRef
from shared.routing.deciding.assignment import Assignment
from shared.routing.deciding.frontier import rates_for
from shared.routing.deciding.rates import PROFILES, Goal, Rates, weights_of
from shared.routing.deciding.selection import select
from shared.routing.deciding.table import RoutingTable

Current = Callable[[], tuple[TableRef, RoutingTable] | None]


class Fallback:
    """Ranks the models without a decision. `current` is the routing table in use, if there is
    one."""

    def __init__(
        self,
        current: Current,
        catalog: Callable[[], Catalog],
        gone: Callable[[], frozenset[str]],
        settings: GatewaySettings,
    ) -> None:
        self._current = current
        self._catalog = catalog
        self._gone = gone
        self._settings = settings

    def order(self, wanted: UnderstoodRequest) -> tuple[list[str], str]:
        """The default model of the request's profile, those after it, and the routing table's
        version.

        Named in the settings; else the best of the routing table over all its tasks; without a
        table, by the catalogue's prices. Raises `Problem` if the constraints leave none.
        """
        wish = self._wanted(wanted)
        order, version = self._by_table(wish, wanted) or (self._by_price(wish, wanted), "")
        named = self._settings.defaults.get(wanted.wishes.profile or self._settings.default_profile)
        if named is not None and named in order and wanted.wishes.stated() is None:
            order = [named, *(m for m in order if m != named)]
        if not order:
            raise Problem(
                400,
                "no model meets the constraints and the request's needs, and routing is not "
                "available",
                code="no_eligible_model",
                param="pointsman.constraints",
            )
        return order, version

    def _wanted(self, wanted: UnderstoodRequest) -> Rates | Goal:
        profile = wanted.wishes.profile or self._settings.default_profile
        if (stated := wanted.wishes.stated() or self._settings.profiles.get(profile)) is not None:
            return stated.wanted()
        return PROFILES[profile]

    def _by_table(
        self, wish: Rates | Goal, wanted: UnderstoodRequest
    ) -> tuple[list[str], str] | None:
        current = self._current()
        if current is None:
            return None
        ref, table = current
        sizes = np.array([max(1, c.size) for c in table.clusters], np.float32)
        everywhere = Assignment(
            np.arange(len(sizes)),
            sizes / sizes.sum(),
            np.zeros(len(sizes), np.float32),
            novel=False,
        )
        abilities = {m.name: m.abilities for m in self._catalog().models.values()}
        limits = wanted.wishes.constraints.limits(wanted.needs)
        if isinstance(wish, Goal):
            wish = rates_for(table.frontier, wish) if table.frontier else PROFILES["balanced"]
        chosen = select(
            table, everywhere, wish, limits, abilities, tokens=wanted.needs.prompt_tokens
        ).candidates
        gone = self._gone()
        names = [c.model for c in chosen if c.model not in gone and c.model in abilities]
        if not any(model in abilities for model in table.models):
            return None  # a table of other models says nothing of those that can be called
        return names, str(ref)

    def _by_price(self, wish: Rates | Goal, wanted: UnderstoodRequest) -> list[str]:
        """Without a routing table, price stands in for quality."""
        weights = weights_of(wish if isinstance(wish, Rates) else PROFILES["balanced"])
        catalog = self._catalog()
        limits = wanted.wishes.constraints
        names = catalog.profiles.get(self._settings.profile) or tuple(catalog.models)
        eligible = [
            m
            for n in names
            if (m := catalog.models[n]).name not in self._gone()
            and (limits.allow is None or n in limits.allow)
            and n not in limits.deny
            and wanted.needs.shortfall(m.abilities) is None
            and m.kind == "chat"
            and (limits.max_latency_s is None or m.latency_s <= limits.max_latency_s)
            and (
                limits.max_cost_usd is None
                or m.price.cost_usd(wanted.needs.prompt_tokens, ANSWER_TOKENS)
                <= limits.max_cost_usd
            )
        ]
        price = _ranks({m.name: m.price.output for m in eligible})
        slow = _ranks({m.name: m.latency_s for m in eligible})
        utility = {
            m.name: (weights.performance - weights.cost) * price[m.name]
            - weights.latency * slow[m.name]
            for m in eligible
        }
        return sorted(utility, key=lambda n: (-utility[n], price[n], n))


def _ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Each one's place among the others, 0 to 1."""
    order = sorted(set(values.values()))
    return {name: order.index(value) / max(1, len(order) - 1) for name, value in values.items()}
