"""Settings of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.gateway import FLOW
from shared.contracts.encoders import VariantName
from shared.contracts.settings import ServiceSettings
from shared.contracts.wishes import PROFILES_VARIABLE, Preferences, Profile


class GatewaySettings(ServiceSettings):
    """POINTSMAN_GATEWAY_*"""

    model_config = SettingsConfigDict(
        env_prefix="POINTSMAN_GATEWAY_", frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 in a container."""
    port: Annotated[int, Field(ge=0, le=65535)] = FLOW.port or 0
    """Port to listen at; 0: any that is free."""
    origins: tuple[str, ...] = ()
    """Origins whose pages may call the gateway from a browser, `["https://chat.example.org"]`;
    `["*"]` are all. Empty: no page may."""
    profiles: dict[Profile, Preferences] = Field(default={}, validation_alias=PROFILES_VARIABLE)
    """Your own meaning of profiles: JSON such as `{"balanced": {"keep": 0.97}}`."""
    default_profile: Profile = Profile.balanced
    """The profile of a request that states no preferences."""
    deadline_s: Annotated[float, Field(gt=0)] = 0.3
    """Time limit of a decision in seconds after the description. After it the profile's default
    model answers."""
    describe_s: Annotated[float, Field(gt=0)] = 5.0
    """Time limit of the description in seconds: a little more than the describer gives its language
    model."""
    answer_s: Annotated[float, Field(gt=0)] = 300.0
    """Time limit of one model's whole answer in seconds."""
    silence_s: Annotated[float, Field(gt=0)] = 60.0
    """Most seconds of silence in a stream. Before the first word the next model is called; later
    the stream ends with an error."""
    keep_alive_s: Annotated[float, Field(ge=0)] = 0.0
    """Interval of comments in seconds until a model begins a stream, so that proxies keep the
    connection. The header with the model's name is missing then. 0: no comments."""
    aliases: Mapping[str, str] = {}
    """Other meanings of model names, for clients whose model can't be changed:
    `{"gpt-4o": "auto", "*": "auto:economy"}`; `*` is every name that the catalogue does not
    have."""
    responses_s: Annotated[int, Field(ge=0)] = 24 * 3600
    """How long a response is kept in Redis for `previous_response_id`; 0: not at all."""
    models: Annotated[int, Field(ge=1)] = 3
    """Most models of the ranking to call until one answers."""
    defaults: Mapping[Profile, str] = {}
    """The default model of a profile, {"economy": "gpt-5.6-luna"}; where none is named, the best
    single one of the routing table."""
    profile: str = "current"
    """The catalogue's models that may be such a default while there is no routing table."""
    cascade: Literal["off", "whole", "streams"] = "whole"
    """When to ask a cheap model first, and another only if its answer is not good enough. It needs
    a routing table that can tell. off: never; whole: where the whole answer is wanted; streams: for
    streams too, which then wait for the first answer. Needs the encoder beside the gateway (the
    extra `cpu`)."""
    encoder_dir: Path | None = None
    """Directory of the encoder that answers are assessed with, as the embedder's. None: the default
    encoder."""
    variant: VariantName = "int8"
    """Which encoder of those that come with Pointsman, as the embedder's."""
    keep_model: bool = True
    """Whether decisions consider a conversation's earlier turns: their tasks, and which model has
    read them."""
    stay_points: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Points of utility by which another model must lead to take over a conversation, beside its
    cost of reading all of it."""
    cache_s: Annotated[float, Field(ge=0)] = 300.0
    """How long a provider is assumed to cache a conversation. Until then another model must be
    worth the cost of reading all of it."""
    conversation_s: Annotated[int, Field(ge=1)] = 3600
    """How long a conversation is remembered after its last request."""
    feedback_s: Annotated[int, Field(ge=1)] = 24 * 3600
    """How long feedback on an answer is accepted."""
    max_requests: Annotated[int, Field(ge=1)] = 1000
    """Most concurrent requests; more get 429."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Bytes of the largest request."""
    max_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """Most bytes of all concurrent requests; more get 429."""
    catalog: Path | None = None
    """File of models with their prices and ids. None: the catalogue that comes with Pointsman."""
