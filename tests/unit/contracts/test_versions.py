"""Messages of every kind survive the way over a topic, and those of older and newer versions are
read."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.contracts.answers import Answer, Completion, FailedCall
from shared.contracts.decisions import CandidateScore, Decision, RuledOut
from shared.contracts.errors import InvalidMessage
from shared.contracts.evaluations import Evaluated, Shown
from shared.contracts.messages import Completed, Submitted, read, to_json
from shared.contracts.places import (
    Assigned,
    ClusterWeight,
    Description,
    Embedding,
    EncoderRef,
    Predicted,
    Source,
    TableRef,
)
from shared.contracts.raters import Rater, RaterKind, Votes
from shared.contracts.spending import Spent
from shared.contracts.vector import pack
from shared.contracts.wishes import Constraints, Preferences, ReplyTo

text = st.text(min_size=1, max_size=60).filter(lambda s: bool(s.strip()))
money = st.floats(0, 1e6)
share = st.floats(0, 1)
count = st.integers(0, 1000)
at = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda t: t - timedelta(microseconds=t.microsecond % 1000)
)
vectors = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4).map(
    lambda v: pack(np.array(v, np.float32))
)
tables = st.builds(
    TableRef,
    epoch=count,
    sequence=count,
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
)
encoders = st.just(
    EncoderRef(id="e", revision="1", dimension=4, pooling="mean", quantization="none")
)
embeddings = st.builds(
    Embedding,
    vector=vectors,
    encoder=encoders,
    latency_s=money,
    batch=st.integers(1, 64),
    form=st.none() | vectors,
)
descriptions = st.builds(
    Description,
    text=text,
    source=st.sampled_from(Source),
    model=st.none() | text,
    simulated=st.booleans(),
    fallback=st.none() | text,
    latency_s=money,
    cost_usd=money,
)
assignments = st.builds(
    Assigned,
    table=tables,
    clusters=st.lists(
        st.builds(ClusterWeight, id=text, label=text, weight=share, distance=money),
        min_size=1,
        max_size=3,
    ).map(tuple),
    novel=st.booleans(),
    predicted=st.lists(
        st.builds(Predicted, model=text, probability=share, spread=money), max_size=3
    ).map(tuple),
)
scores = st.builds(
    CandidateScore,
    model=text,
    utility=st.floats(-1, 1),
    performance=share,
    performance_low=share,
    performance_high=share,
    cost_usd=money,
    latency_s=money,
    gain=money,
    cost_penalty=money,
    latency_penalty=money,
    predicted=st.none() | share,
)
decisions = st.builds(
    Decision,
    status=st.sampled_from(["decided", "no_eligible_model"]),
    model=st.none() | text,
    runner_up=st.none() | text,
    confidence=share,
    candidates=st.lists(scores, max_size=3).map(tuple),
    ruled_out=st.lists(st.builds(RuledOut, model=text, reason=text), max_size=2).map(tuple),
    preferences=st.builds(Preferences, performance=st.floats(0.1, 5), cost=share, latency=share),
    predictor_share=share,
    why=text,
    table=tables,
    simulated_rankings=st.booleans(),
)
answers = st.builds(
    Answer,
    model=text,
    text=st.text(max_size=60),
    finish_reason=st.none() | text,
    provider=text,
    simulated=st.booleans(),
    prompt_tokens=count,
    completion_tokens=count,
    cost_usd=money,
    cost_source=st.sampled_from(["provider", "catalogue"]),
    first_token_s=st.none() | money,
    latency_s=money,
)
completions = st.builds(
    Completion,
    status=st.sampled_from(["answered", "failed"]),
    answers=st.lists(answers, max_size=2).map(tuple),
    failed=st.lists(st.builds(FailedCall, model=text, error=text), max_size=2).map(tuple),
    repeated=st.booleans(),
)
whole = st.builds(
    Completed,
    request_id=text,
    session_id=st.none() | text,
    prompt=text,
    constraints=st.builds(
        Constraints, max_cost_usd=st.none() | money, deny=st.frozensets(text, max_size=2)
    ),
    answer=st.booleans(),
    deadline_s=st.none() | st.floats(1, 3600),
    reply_to=st.none() | st.builds(ReplyTo, topic=text, partition=count),
    metadata=st.dictionaries(text, text, max_size=2),
    submitted_at=at,
    description=descriptions,
    embedding=embeddings,
    assignment=assignments,
    decision=decisions,
    completion=completions,
)
evaluations = st.builds(
    Evaluated,
    request_id=text,
    first=st.just("a"),
    second=st.just("b"),
    rater=st.builds(Rater, kind=st.sampled_from(RaterKind), name=text, simulated=st.booleans()),
    votes=st.builds(
        Votes,
        straight_first=count,
        straight_second=count,
        turned_first=count,
        turned_second=count,
        ties=count,
    ),
    at=st.none() | at,
    description=st.text(max_size=60),
    embedding=st.none() | embeddings,
    prompt=st.none() | text,
    answers=st.lists(
        st.builds(Shown, model=text, cost_usd=money, latency_s=money, text=st.none() | text),
        max_size=2,
    ).map(tuple),
    cost_usd=money,
)
bills = st.builds(
    Spent,
    request_id=text,
    spender=text,
    model=text,
    cost_usd=money,
    expected=st.booleans(),
    simulated=st.booleans(),
    at=at,
)
kinds = st.one_of(whole, evaluations, bills)


@given(kinds)
def test_every_kind_of_message_is_read_as_it_was_written(message: BaseModel) -> None:
    assert read(type(message), to_json(message)) == message


def newer(value: Any) -> Any:
    """The message of a version to come: every object in it has a field that we do not know."""
    if isinstance(value, dict):
        return {key: newer(part) for key, part in value.items()} | {
            "added_in_a_version_to_come": {"x": [1]}
        }
    return [newer(part) for part in value] if isinstance(value, list) else value


@given(kinds)
def test_what_a_newer_service_adds_passes_an_older_one_by(message: BaseModel) -> None:
    told = json.loads(to_json(message))
    own = {
        key: told.pop(key)
        for key in ("metadata", "parameters", "constraints", "reply_to")
        if key in told
    }  # the sender's, not a service's
    own["decision"] = (
        newer(told.pop("decision", {})) | {"preferences": message.decision.preferences.model_dump()}
        if "decision" in told
        else {}
    )
    body = newer(told) | {key: part for key, part in own.items() if part}
    assert read(type(message), json.dumps(body).encode()) == message


@pytest.mark.parametrize(
    "asked",
    [
        {"preferences": {"performance": 1, "prize": 1}},
        {"constraints": {"max_cost": 1}},
        {"reply_to": {"topic": "replies", "partition": 0, "x": 1}},
    ],
)
def test_what_a_sender_misspells_is_still_an_error(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="there is no such field"):
        read(Submitted, json.dumps({"prompt": "Translate this.", **asked}).encode())


OLDER: dict[str, tuple[str, ...]] = {
    "embedding": ("form",),
    "assignment": ("predicted",),
    "decision": ("predictor_share",),
}
"""Fields of stages that came later than the first version of their message; an older service does
not write them."""


@given(whole)
def test_what_an_older_service_does_not_write_has_a_default(message: Completed) -> None:
    told = json.loads(to_json(message))
    for part, fields in OLDER.items():
        for name in fields:
            told[part].pop(name, None)
    for name in (
        "reply_to",
        "deadline_s",
        "metadata",
        "constraints",
        "parameters",
        "compare",
        "ignored",
        "session_id",
    ):
        told.pop(name, None)
    again = read(Completed, json.dumps(told).encode())
    assert again.embedding.form is None
    assert again.assignment.predicted == ()
    assert again.decision.predictor_share == 0.0
    assert again.completion == message.completion
