"""What comes with Pointsman: models of both profiles, and 25 tasks with prompts of which no two are
alike."""

import json
from datetime import date
from pathlib import Path

import pytest

from shared.catalog import lists, models, tasks
from shared.catalog.writing import with_models


def test_both_profiles_name_models_with_prices_ids_and_dates() -> None:
    catalog = models.load()
    assert [m.name for m in catalog.profile("study-2023")] == [
        "claude-2",
        "gpt-3.5-turbo",
        "gpt-4",
        "code-llama-34b",
        "llama-2-70b-chat",
    ]
    assert len(catalog.profile("current")) >= 5
    for model in catalog.models.values():
        assert "/" in model.openrouter
        assert model.price.output > 0
        assert model.source
    assert catalog.model("openai/gpt-4") is catalog.model("gpt-4")


def test_cost_is_price_times_tokens() -> None:
    assert models.Price(input=3, output=15).cost_usd(1000, 200) == pytest.approx(0.006)


def test_errors_name_the_place(tmp_path: Path) -> None:
    catalog = models.load()
    with pytest.raises(models.CatalogError, match="no model gpt-9; it has"):
        catalog.model("gpt-9")
    with pytest.raises(models.CatalogError, match="no profile x"):
        catalog.profile("x")
    broken = tmp_path / "m.yaml"
    for content, words in (
        ("models: {a: {price: 1}}", r"models\.a"),
        ("[", "form of models.yaml"),
        ("models: {}\nprofiles: {p: [z]}", "profile p names z"),
    ):
        broken.write_text(content)
        with pytest.raises(models.CatalogError, match=words):
            models.load(broken)
    with pytest.raises(models.CatalogError, match="can't be read"):
        models.load(tmp_path / "none.yaml")


def test_there_are_25_tasks_with_at_least_12_prompts_and_4_for_testing() -> None:
    known = tasks.methodology()
    assert len(known) == 25
    prompts = [p for t in known for p in t.train + t.test]
    assert len(prompts) == len({" ".join(p.lower().split()) for p in prompts})
    for task in known:
        assert len(task.train) + len(task.test) >= 12
        assert len(task.test) == 4
        assert task.description.endswith(".")
        assert len(task.description.split()) <= 30


def test_prompts_vary_in_length_and_language() -> None:
    prompts = [p for t in tasks.methodology() for p in t.train + t.test]
    lengths = sorted(len(p) for p in prompts)
    assert lengths[-1] > 10 * lengths[0]
    assert sum(any(c in p for c in "äöüßéèçñ¿") for p in prompts) >= 30


LISTED = {
    "data": [
        {
            "id": "maker/new-1.5",
            "context_length": 1000,
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "pricing": {"prompt": "0.000002", "completion": "0.00001", "input_cache_read": "0"},
            "supported_parameters": ["tools", "temperature"],
            "top_provider": {"max_completion_tokens": 500},
        }
    ]
}
OWN = """# mine
models:
  a:
    openrouter: maker/new-1.5
    price: {input: 9, output: 9,
      long: {above_tokens: 5, input: 99, output: 99}}
    context_tokens: 7
    efforts: [low]
    latency_s: 1.0
    as_of: 2020-01-01
    source: old
  # the other
  b:
    openrouter: maker/b
    price: {input: 1, output: 1}
    context_tokens: 7
    latency_s: 1.0
    as_of: 2020-01-01
    source: old
profiles:
  p: [a, b]
"""


def test_a_list_changes_what_it_states_and_nothing_else() -> None:
    found = lists.read(json.dumps(LISTED), "a list")
    before = models.read(OWN, "own")
    entry = found.find("maker/new-1.5")
    assert entry is not None
    assert found.find("new-1-5") is entry
    fresh = entry.applied_to(before.models["a"], date(2026, 1, 2))
    assert (fresh.price.input, fresh.price.output, fresh.price.cached_input) == (2, 10, 0)
    assert fresh.price.long == before.models["a"].price.long
    assert (fresh.context_tokens, fresh.largest_output, fresh.efforts) == (1000, 500, ("low",))
    assert fresh.can == {"image", "tools", "parallel_tools", "sampling"}
    assert (fresh.as_of, fresh.source) == (date(2026, 1, 2), "a list, maker/new-1.5")
    new = entry.as_model(date(2026, 1, 2))
    text = with_models(OWN, {"a": fresh, new.name: new})
    after = models.read(text, "own")
    assert after.models["a"] == fresh
    assert after.models["b"] == before.models["b"]
    assert after.models[new.name] == new
    assert after.profiles == before.profiles
    assert "# mine" in text
    assert "# the other" in text


def test_litellms_file_is_read_too_and_nonsense_is_refused() -> None:
    row = {
        "mode": "chat",
        "litellm_provider": "openai",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "input_cost_per_token_above_200k_tokens": 2e-6,
        "output_cost_per_token_above_200k_tokens": 4e-6,
        "max_input_tokens": 9,
        "supports_reasoning": True,
        "supports_none_reasoning_effort": True,
        "supports_function_calling": True,
    }
    entry = lists.read(json.dumps({"sample_spec": "x", "m": row}), "a list").find("maker/m")
    assert entry is not None
    made = entry.as_model(date(2026, 1, 2))
    assert made.can == {"reasoning", "tools", "parallel_tools"}, "no temperature"
    assert made.efforts == ("none", "low", "medium", "high")
    assert made.price.cost_usd(200_000, 0) == pytest.approx(0.2)
    assert made.price.cost_usd(200_001, 0) == pytest.approx(0.400002)
    for text in ("{", "[]", "{}", '{"data": []}', '{"m": {"mode": "image_generation"}}'):
        with pytest.raises(models.CatalogError):
            lists.read(text, "a list")
