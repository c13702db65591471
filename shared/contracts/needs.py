"""What a request needs of the model that answers it, read from its turns and parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.routing.deciding.abilities import Abilities, Ability

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
"""What a chat request calls the longest answer, the newer name first."""
REASONING = frozenset({"reasoning_effort", "reasoning"})
"""Parameters that say how long a model thinks."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Values of `reasoning_effort`, in their order."""
SAMPLING = frozenset({"temperature", "top_p", "top_k"})
"""Parameters that say how freely a model chooses its words."""
UNASKED: tuple[Any, ...] = (None, "none", "minimal")
"""Values that ask for nothing; who can't do it does that anyway."""
PARTS: Mapping[str, Ability] = {
    "image": Ability.image,
    "image_url": Ability.image,
    "input_image": Ability.image,
    "audio": Ability.audio,
    "input_audio": Ability.audio,
    "video": Ability.video,
    "video_url": Ability.video,
    "input_video": Ability.video,
    "document": Ability.document,
    "file": Ability.document,
    "input_file": Ability.document,
}
"""Kinds of content parts that not every model reads."""
MODALITIES: Mapping[str, Ability] = {
    "image": Ability.image_output,
    "audio": Ability.audio_output,
}
FORMATS: Mapping[str, Ability] = {
    "json_object": Ability.json,
    "json_schema": Ability.structured_output,
}


def needed_abilities(
    turns: Iterable[Mapping[str, Any]], parameters: Mapping[str, Any]
) -> frozenset[Ability]:
    """The abilities that a chat of these turns with these parameters can't do without."""
    abilities = {*_by_parameters(parameters)}
    for turn in turns:
        abilities.update(_parts(turn.get("content")))
        calls = turn.get("tool_calls")
        if isinstance(calls, list) and calls:
            abilities.add(Ability.tools if len(calls) == 1 else Ability.parallel_tools)
    return frozenset(abilities)


def _parts(content: Any) -> Iterable[Ability]:
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(kind, str) and kind in PARTS:
            yield PARTS[kind]


def _by_parameters(parameters: Mapping[str, Any]) -> Iterable[Ability]:
    if parameters.get("tools") or parameters.get("functions"):
        yield Ability.tools
    asked_format = parameters.get("response_format")
    kind = asked_format.get("type") if isinstance(asked_format, Mapping) else None
    if isinstance(kind, str) and kind in FORMATS:
        yield FORMATS[kind]
    modalities = parameters.get("modalities")
    for modality in modalities if isinstance(modalities, Sequence) else ():
        if isinstance(modality, str) and modality in MODALITIES:
            yield MODALITIES[modality]


def output_limit(parameters: Mapping[str, Any]) -> int | None:
    """Tokens of the longest answer that is asked for; None: not stated."""
    return next(
        (
            limit
            for name in OUTPUT_LIMITS
            if isinstance(limit := parameters.get(name), int)
            and not isinstance(limit, bool)
            and limit > 0
        ),
        None,
    )


def fitting(
    parameters: Mapping[str, Any], model: Abilities
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters as `model` takes them, and the names of those that had to change. An answer is
    at most as long as the model's longest. A temperature goes to models that take one. A reasoning
    model gets the nearest effort that it knows."""
    fit = dict(parameters)
    changed = []
    for name in OUTPUT_LIMITS:
        limit = fit.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > model.largest_output:
            fit[name] = int(model.largest_output)
            changed.append(name)
    for names, ability in ((SAMPLING, Ability.sampling), (REASONING, Ability.reasoning)):
        if model.lacks(frozenset({ability})):
            left = names & {name for name in fit if fit[name] not in UNASKED}
            changed.extend(sorted(left))
            fit = {name: value for name, value in fit.items() if name not in names}
    effort = fit.get("reasoning_effort")
    if model.efforts and effort in UNASKED and not set(UNASKED) & set(model.efforts):
        fit.pop("reasoning_effort", None)  # who is not told to think does not
    elif model.efforts and isinstance(effort, str) and effort not in model.efforts:
        fit["reasoning_effort"] = _nearest(effort, model.efforts)
        changed.append("reasoning_effort")
    return fit, tuple(changed)


def _nearest(effort: str, known: Sequence[str]) -> str:
    """The effort that a model knows and that is nearest; of two as near the greater."""
    at = EFFORTS.index(effort) if effort in EFFORTS else EFFORTS.index("medium")
    ranks = [EFFORTS.index(one) for one in known if one in EFFORTS]
    if not ranks:
        return known[0]
    return EFFORTS[min(ranks, key=lambda rank: (abs(rank - at), -rank))]
