"""A catalogue that changes while services run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from shared.adapters import catalog as module
from shared.adapters.catalog import CurrentCatalog
from shared.catalog.models import DEFAULT, CatalogError


@pytest.fixture
def data() -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(DEFAULT.read_text())
    return found


def write(path: Path, data: object, turn: int) -> None:
    path.write_text(yaml.safe_dump(data) if not isinstance(data, str) else data)
    os.utime(path, (turn, turn))


def test_a_model_leaves_when_it_is_retired_or_gone_and_comes_when_it_is_added(
    tmp_path: Path, data: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    path, models = tmp_path / "models.yaml", dict(data["models"])  # type: ignore[call-overload]
    write(path, {"models": models}, 1)
    current = CurrentCatalog(path)
    assert current.gone() == frozenset()
    write(path, {"models": models, "retired": ["gpt-4"]}, 2)
    assert current.gone() == {"gpt-4"}
    fewer = {name: fields for name, fields in models.items() if name != "claude-2"}
    write(path, {"models": fewer}, 3)
    assert current.gone() == {"claude-2"}
    assert "claude-2" not in current.abilities()
    write(path, "models: [", 4)
    assert current.gone() == {"claude-2"}, "a file that is wrong changes nothing"
    write(path, {"models": models | {"new": models["gpt-4"]}}, 5)
    assert current.gone() == frozenset()
    assert "new" in current().models


def test_a_catalogue_that_can_not_be_read_at_first_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="can't be read"):
        CurrentCatalog(tmp_path / "none.yaml")
