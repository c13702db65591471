"""The judge: which comparisons are made, what a vote is, what is paid."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from answered import NAMES, answer, completed
from support import table

from services.judge import verdict
from services.judge.attendance import Attendance
from services.judge.judge import chosen_once, judge, judges_of
from services.judge.sample import Sampler
from services.judge.settings import JudgeSettings
from shared.contracts.answers import Answer
from shared.contracts.errors import ModelUnavailable
from shared.contracts.messages import Completed
from shared.contracts.raters import Abstention, Votes
from shared.routing.learning.sampling import Pair


class Notes(dict[str, str]):
    async def get(self, key: str) -> str | None:  # type: ignore[override]
        return super().get(key)

    async def put(self, key: str, text: str) -> None:
        self[key] = text


class Purse:
    def __init__(self, cap: float = 1e9) -> None:
        self.cap, self.spent, self.most = cap, 0.0, 0.0

    async def reserve(self, usd: float) -> SimpleNamespace | None:
        if self.spent + usd > self.cap:
            return None
        self.spent += usd
        self.most = max(self.most, self.spent)
        return SimpleNamespace(settle=lambda spent: self.settle(usd, spent))

    async def settle(self, reserved: float, spent: float) -> None:
        self.spent += spent - reserved
        assert spent <= reserved + 1e-12, "more was spent than reserved"


class CatalogBound:
    def bound(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.01


class Said:
    def __init__(self, text: str, finish_reason: str = "stop") -> None:
        self.text, self.finish_reason, self.cost_usd, self.simulated = (
            text,
            finish_reason,
            1e-5,
            True,
        )


async def shadow(message: Completed, model: str) -> Answer:
    return answer(model, f"shadow of {model}")


async def test_six_votes_three_in_each_order_and_what_can_not_be_read_abstains() -> None:
    seen: list[tuple[str, int]] = []

    async def vote(model: str, messages: list[dict[str, str]], turn: int, once: str) -> Said:
        first = messages[1]["content"].split("FIRST ANSWER\n")[1]
        seen.append(("large" if "LARGE" in first.split("SECOND ANSWER")[0] else "small", turn))
        return Said({2: "tie, I think", 5: '{"better": "tie"}'}.get(turn, '{"better": "first"}'))

    message = completed(answer("large", "LARGE"), answer("small", "SMALL"))
    purse = Purse()
    found = await judge(
        message,
        [Pair("large", "small", 1)],
        JudgeSettings(both=0.0),
        shadow,
        vote,
        purse,
        CatalogBound(),
        Notes(),
        Attendance(60),
    )
    assert sorted(seen, key=lambda s: s[1]) == [
        ("large", 0),
        ("large", 1),
        ("large", 2),
        ("small", 3),
        ("small", 4),
        ("small", 5),
    ]
    votes = found[0].votes
    assert (
        votes.straight_first,
        votes.turned_first,
        votes.ties,
        votes.abstentions,
        votes.lead,
    ) == (2, 2, 1, 1, 0)
    assert purse.spent == pytest.approx(6e-5)
    assert found[0].answers[0].text == "LARGE"
    hidden = await judge(
        message,
        [Pair("large", "small", 1)],
        JudgeSettings(keep_texts=False),
        shadow,
        vote,
        purse,
        CatalogBound(),
        Notes(),
        Attendance(60),
    )
    assert "LARGE" not in hidden[0].model_dump_json()


async def test_challengers_are_called_in_the_shadow_within_the_budget() -> None:
    async def vote(model: str, messages: list[dict[str, str]], turn: int, once: str) -> Said:
        return Said('{"better": "second"}')

    async def broken(message: Completed, model: str) -> Answer:
        raise ModelUnavailable("no")

    message, pair = completed(answer("large")), [Pair("large", "small", 1)]
    found = await judge(
        message,
        pair,
        JudgeSettings(both=0.0),
        shadow,
        vote,
        Purse(),
        CatalogBound(),
        Notes(),
        Attendance(60),
    )
    assert found[0].cost_usd == pytest.approx(0.001 + 6e-5)
    purse = Purse(0.0001)
    assert (
        await judge(
            message,
            pair,
            JudgeSettings(),
            shadow,
            vote,
            purse,
            CatalogBound(),
            Notes(),
            Attendance(60),
        )
        == []
    )
    assert purse.most == 0
    purse = Purse()
    assert (
        await judge(
            message,
            pair,
            JudgeSettings(),
            broken,
            vote,
            purse,
            CatalogBound(),
            Notes(),
            Attendance(60),
        )
        == []
    )
    assert purse.spent == pytest.approx(0)


async def test_answers_that_call_tools_are_not_compared() -> None:
    """A judge would see an empty answer."""
    sampler = Sampler(JudgeSettings(rate=1.0))
    costs = dict.fromkeys(NAMES, 0.001)
    tab = table(models=NAMES)
    for parameters, compared in (
        ({}, 1),
        ({"response_format": {"type": "json_object"}}, 1),
        ({"tools": [{"type": "function"}]}, 0),
        ({"n": 2}, 0),
    ):
        message = completed(answer("large"), parameters=parameters)
        assert len(sampler.choose(message, tab, costs)) == compared

    async def calls(message: Completed, model: str) -> Answer:
        said = {"tool_calls": [{"function": {"name": "read"}}]}
        return answer(model, "").model_copy(update={"message": said})

    async def nobody(*_: object) -> Said:
        raise AssertionError("no judge is asked")

    purse = Purse()
    found = await judge(
        completed(answer("large")),
        [Pair("large", "small", 1)],
        JudgeSettings(both=0.0),
        calls,
        nobody,
        purse,
        CatalogBound(),
        Notes(),
        Attendance(60),
    )
    assert found == []
    assert purse.spent == pytest.approx(0.001), "the shadow answer was paid for"


async def test_a_message_that_comes_again_is_not_paid_for_again() -> None:
    asked = Counter[str]()

    async def vote(model: str, messages: list[dict[str, str]], turn: int, once: str) -> Said:
        asked[model] += 1
        return Said('{"better": "second"}')

    message, notes, purse = completed(answer("large")), Notes(), Purse()
    first = await chosen_once(message, lambda: [Pair("large", "small", 1)], notes)
    found = await judge(
        message, first, JudgeSettings(), shadow, vote, purse, CatalogBound(), notes, Attendance(60)
    )
    paid, cast = purse.spent, asked.total()
    assert cast in (6, 12)
    again = await chosen_once(message, lambda: [Pair("large", "middle", 1)], notes)
    assert [(p.first, p.second) for p in again] == [("large", "small")], (
        "the table may have changed since; the choice has not"
    )
    assert (
        await judge(
            message,
            again,
            JudgeSettings(),
            shadow,
            vote,
            purse,
            CatalogBound(),
            notes,
            Attendance(60),
        )
        == found
    )
    assert (purse.spent, asked.total()) == (paid, cast)


def test_judges_take_turns_and_some_comparisons_fall_to_two() -> None:
    settings = JudgeSettings(models=("a", "b"), both=0.25)
    drawn = [judges_of(Pair("x", "y", 1), f"r{i}", settings, Attendance(60)) for i in range(2000)]
    assert 0.2 < np.mean([len(d) == 2 for d in drawn]) < 0.3
    assert 0.45 < np.mean([d[0] == "a" for d in drawn]) < 0.55
    assert drawn == [
        judges_of(Pair("x", "y", 1), f"r{i}", settings, Attendance(60)) for i in range(2000)
    ]


def test_the_rate_is_kept_on_the_whole_and_novel_prompts_are_drawn_more_often() -> None:
    tab, costs = table(models=NAMES), dict.fromkeys(NAMES, 1e-3)
    sampler = Sampler(JudgeSettings(rate=0.2))
    plain = completed(answer("large"))
    fresh = plain.model_copy(
        update={"assignment": plain.assignment.model_copy(update={"novel": True})}
    )
    drawn = Counter()
    for i in range(3000):
        message = (fresh if i % 2 else plain).model_copy(update={"request_id": f"r{i}"})
        drawn[i % 2] += bool(sampler.choose(message, tab, costs))
    assert 0.15 < (drawn[0] + drawn[1]) / 3000 < 0.3
    assert drawn[1] > 1.5 * drawn[0]
    assert (
        len(Sampler(JudgeSettings(rate=1, pairs=3)).choose(completed(answer("small")), tab, costs))
        == 3
    )
    study = completed(*(answer(n) for n in NAMES), compare=NAMES)
    assert len(sampler.choose(study, tab, costs)) == 3


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ('{"better": "first"}', "first"),
        ('```json\n{"better": "second"}\n```', "second"),
        ('Sure: {"better": "tie"}', "tie"),
        ('{"better": " First"}', "first"),
        ('{"reason": "it {says} more", "better": "first"}', "first"),
        ('{"better": "first"} and so {"better": "first"}', "first"),
        ('The second says {"x": {"better": "second"}}. {"better": "first"}', Abstention.unreadable),
        ("", Abstention.empty),
        ("  ", Abstention.empty),
        ("first", Abstention.unreadable),
        ('{"better": "A"}', Abstention.unreadable),
        ("null", Abstention.unreadable),
        ('{"better": ["first"]}', Abstention.unreadable),
        ('{"verdict": {"better": "first"}}', "first"),
        ('{"better": "first",}', "first"),
        ('{"Better": "First."}', "first"),
        ('{"reasoning": "it said {\\"better\\": \\"second\\"}", "better": "first"}', "first"),
        (
            '{"reasoning": "the answer said {"better": "second"} which", "better": "first"}',
            Abstention.unreadable,
        ),
        ('It said {\\"better\\": \\"second\\"}. {"better": "first"}', Abstention.unreadable),
        ('{"better": "first"} {"better": null}', Abstention.unreadable),
        ('It says {"better": "second"}, but {"better": "first"}', Abstention.unreadable),
        ('{"better": "first"', "first"),
        ("{" * 5000, Abstention.unreadable),
    ],
)
def test_a_vote_is_what_all_objects_of_the_answer_agree_on(text: str, side: str) -> None:
    assert verdict.read(text) == side


def test_an_answer_that_reached_its_limit_says_so() -> None:
    assert verdict.read("", "length") is Abstention.cut_off
    assert verdict.read("I think that", "length") is Abstention.cut_off
    assert verdict.read('{"better": "tie"}', "length") == "tie"


async def test_where_the_first_votes_can_not_be_read_the_others_are_not_paid_for_and_the_reason_is_told() -> (
    None
):
    asked = Counter[str]()

    async def vote(model: str, messages: list[dict[str, str]], turn: int, once: str) -> Said:
        asked[model] += 1
        return Said("", "length")

    message, attendance = completed(answer("large"), answer("small")), Attendance(60)
    settings = JudgeSettings(models=("a",), both=0.0)
    told = await judge(
        message,
        [Pair("large", "small", 1)],
        settings,
        shadow,
        vote,
        Purse(),
        CatalogBound(),
        Notes(),
        attendance,
    )
    assert asked["a"] == 2
    assert told[0].votes == Votes(abstentions=2)
    assert told[0].abstained.reasons() == {"cut_off": 2}


async def test_a_judge_that_mostly_abstains_is_stopped_and_others_take_its_comparisons() -> None:
    now = [0.0]
    attendance = Attendance(60, clock=lambda: now[0])
    assert not any(attendance.note("a", read=6, abstained=0) for _ in range(2))
    stopped = [attendance.note("a", read=0, abstained=2) for _ in range(9)]
    assert stopped == [False] * 6 + [True, False, False]
    settings = JudgeSettings(models=("a", "b"), both=1.0)
    assert {*judges_of(Pair("x", "y", 1), "r", settings, attendance)} == {"b"}
    assert judges_of(Pair("x", "y", 1), "r", JudgeSettings(models=("a",)), attendance) == []
    unused = Purse(0.0)
    found = await judge(
        completed(answer("large"), answer("small")),
        [Pair("large", "small", 1)],
        JudgeSettings(models=("a",)),
        shadow,
        shadow,  # type: ignore[arg-type]  # never asked
        unused,
        CatalogBound(),
        Notes(),
        attendance,
    )
    assert (found, unused.most) == ([], 0.0)
    now[0] = 61
    assert attendance.votes("a")
    assert not attendance.note("a", read=6, abstained=0), "its rest has wiped the slate"
