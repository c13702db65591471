"""Responses that are kept in Redis, to be asked for or gone on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway.forms.responses import ResponsesRequest, referred_to
from services.gateway.remembered import KeptResponse
from services.gateway.requests import Problem
from services.gateway.understanding import UnderstoodRequest
from services.gateway.wiring.serving import HttpCall
from shared.adapters.errors import AdapterError
from shared.adapters.keys import Key
from shared.adapters.redis.cache import TextCache
from shared.adapters.redis.client import RedisSettings
from shared.adapters.telemetry import log
from shared.contracts.flow import RedisKeys
from shared.contracts.remembered import keys_of
from shared.contracts.scopes import Scope
from shared.protocols.responses.answers import response_id, response_of, visible

MOST_BYTES = 4 * 1024 * 1024
"""Of a response with its conversation, that is kept."""
MOST_REFERENCES = 256
"""To items, in one request."""
SESSION = "pointsman_session"
"""Under which key a kept response names its conversation."""


class KeptResponses:
    """For a time; 0 seconds: not at all."""

    def __init__(self, redis: RedisSettings, for_s: int) -> None:
        self._texts = TextCache(redis, RedisKeys.response, max(1, for_s))
        self._for_s = for_s

    async def close(self) -> None:
        """Let go of the connection."""
        await self._texts.close()

    async def keep(
        self, wanted: UnderstoodRequest, key: Key, completion: Mapping[str, Any]
    ) -> None:
        """Keep the response to a request, where the sender wants it."""
        if not wanted.asked.store or not self._for_s:
            return
        response = response_of(completion, wanted.asked.body)
        items = [*wanted.asked.body["items"], *response["output"]]
        session = wanted.wishes.session_id or wanted.request_id
        kept = KeptResponse(key=key.name, items=items, response=response | {SESSION: session})
        if len(kept.model_dump_json()) <= MOST_BYTES:
            await kept.keep(self._texts, wanted.request_id)
        else:
            log.warning("a response is too long to be kept", request_id=wanted.request_id)

    async def find(self, call: HttpCall, name: str, param: str | None) -> KeptResponse:
        """A response of the call's key. Raises `Problem`, which names the field `param` of the
        request that refers to it; None: it is in the path."""
        if not self._for_s:
            raise Problem(
                400,
                "responses are not kept here (POINTSMAN_GATEWAY_RESPONSES_S is 0); send the whole "
                "conversation in input",
                code="unsupported_parameter",
                param=param,
            )
        kept = await KeptResponse.recall(self._texts, name)
        if kept is None or (kept.key != call.key.name and not call.key.may(Scope.admin)):
            raise Problem(
                404 if param is None else 400,
                f"no response {name[:80]!r} of this key is kept; they are kept for {self._for_s} s",
                code="previous_response_not_found" if param else "not_found",
                param=param,
            )
        return kept

    async def referred(
        self, call: HttpCall, request: ResponsesRequest
    ) -> dict[str, dict[str, Any]]:
        """The items that a request refers to by their ids, which name their responses. Raises
        `Problem` for one that is not kept."""
        names = referred_to(request)
        if len(names) > MOST_REFERENCES:
            raise Problem(400, f"at most {MOST_REFERENCES} items may be referred to", param="input")
        found: dict[str, dict[str, Any]] = {}
        for name in names:
            if name not in found:
                kept = await self.find(call, response_id(name), "input")
                found |= {item["id"]: item for item in kept.items if "id" in item}
            if name not in found:
                raise Problem(
                    400, f"no item {name[:80]!r} is kept", code="item_not_found", param="input"
                )
        return {name: found[name] for name in names}

    async def show(self, call: HttpCall) -> None:
        """Answer with a response that is kept."""
        kept = await self.find(call, call.request.path_params["id"], None)
        response = {name: value for name, value in kept.response.items() if name != SESSION}
        included = call.request.query_params.getlist("include[]")
        await call.say(200, response | {"output": visible(response["output"], included)})

    async def delete(self, call: HttpCall) -> None:
        """Keep a response no longer."""
        name = call.request.path_params["id"]
        await self.find(call, name, None)
        try:
            await self._texts.forget(keys_of(name))
        except AdapterError as error:
            raise Problem(503, str(error), kind="server_error") from None
        await call.say(200, {"id": name, "object": "response", "deleted": True})
