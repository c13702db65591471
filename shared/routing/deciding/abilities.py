"""What a model can take, what a request needs, and what is missing. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Ability(StrEnum):
    """Something that some models can do and others can't. All of them read and write text."""

    image = "image"
    """Reads pictures."""
    audio = "audio"
    """Reads sounds."""
    video = "video"
    """Reads films."""
    document = "document"
    """Reads files such as PDF."""
    tools = "tools"
    """Calls functions that the request describes."""
    parallel_tools = "parallel_tools"
    """Calls several functions in one turn."""
    json = "json"
    """Answers in JSON where that is asked for."""
    structured_output = "structured_output"
    """Answers in JSON that fits a given schema."""
    reasoning = "reasoning"
    """Thinks before it answers, as long as it is told to."""
    sampling = "sampling"
    """Takes a temperature."""
    image_output = "image_output"
    """Draws."""
    audio_output = "audio_output"
    """Speaks."""


IMPLIED: Mapping[Ability, frozenset[Ability]] = {
    Ability.structured_output: frozenset({Ability.json}),
    Ability.parallel_tools: frozenset({Ability.tools}),
}
"""Who can do the first can do the others."""
LACKS: Mapping[Ability, str] = {
    Ability.image: "reads no images",
    Ability.audio: "reads no audio",
    Ability.video: "reads no video",
    Ability.document: "reads no documents",
    Ability.tools: "calls no tools",
    Ability.parallel_tools: "calls one tool at a time",
    Ability.json: "has no JSON mode",
    Ability.structured_output: "follows no JSON schema",
    Ability.reasoning: "does not reason",
    Ability.sampling: "takes no temperature",
    Ability.image_output: "draws no images",
    Ability.audio_output: "speaks no audio",
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What one model can take."""

    context_tokens: float = math.inf
    """Tokens of prompt and answer together."""
    largest_output: float = math.inf
    """Tokens of an answer."""
    can: frozenset[Ability] | None = None
    """None: nobody says, so nothing is ruled out."""
    efforts: tuple[str, ...] = ()
    """How long it can be told to think. Empty: nobody says."""

    def lacks(self, abilities: frozenset[Ability]) -> tuple[Ability, ...]:
        """Those that the model does not have, in the order of `Ability`."""
        if self.can is None:
            return ()
        can = self.can.union(*(IMPLIED.get(ability, frozenset()) for ability in self.can))
        return tuple(ability for ability in Ability if ability in abilities - can)


UNKNOWN = Abilities()
"""Of a model that is in no catalogue."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request needs of the model that answers."""

    abilities: frozenset[Ability] = frozenset()
    prompt_tokens: int = 0
    answer_tokens: int = 0
    """The longest answer that is asked for."""
    context_tokens: int = 0
    """A context length that the sender demands, whatever the prompt needs."""

    def room(self, model: Abilities) -> int:
        """Tokens that `model` must have room for: an answer is never longer than its largest."""
        answer = min(self.answer_tokens, model.largest_output)
        return max(self.context_tokens, self.prompt_tokens + int(answer))

    def shortfall(self, model: Abilities) -> str | None:
        """Why `model` can't take the request, for people; None: it can."""
        if missing := model.lacks(self.abilities):
            return " and ".join(LACKS[ability] for ability in missing)
        room = self.room(model)
        if room > model.context_tokens:
            return f"reads {model.context_tokens} tokens, {room} are needed"
        return None


NO_NEEDS = Needs()
