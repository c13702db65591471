"""What comes with Pointsman: models of both profiles, and 25 tasks with prompts of which no two are
alike."""

from pathlib import Path

import pytest

from shared.catalog import models, tasks


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
