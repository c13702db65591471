"""What several services must agree on is set once."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.local.settings import all_settings, explain
from services.selector.settings import SelectorSettings
from shared.contracts.settings import AGREED, ServiceSettings
from shared.contracts.wishes import Profile

VALUES = {
    "catalog": "/elsewhere/models.yaml",
    "default_profile": "economy",
    "encoder_dir": "/elsewhere/encoder",
    "variant": "fp32",
}


@pytest.mark.parametrize("field", AGREED)
def test_one_variable_sets_it_for_every_service_that_has_it(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [kind for kind in all_settings() if field in kind.model_fields]
    assert len(kinds) >= 3
    before = {str(getattr(kind(), field)) for kind in kinds}
    assert len(before) == 1, "they agree where nobody says anything"
    monkeypatch.setenv(AGREED[field], VALUES[field])
    for kind in kinds:
        assert issubclass(kind, ServiceSettings)
        value = getattr(kind(), field)
        assert str(getattr(value, "value", value)) == VALUES[field]


def test_a_services_own_variable_and_what_is_given_go_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POINTSMAN_DEFAULT_PROFILE", "economy")
    monkeypatch.setenv("POINTSMAN_SELECTOR_DEFAULT_PROFILE", "fast")
    assert SelectorSettings().default_profile is Profile.fast
    assert SelectorSettings(default_profile=Profile.quality).default_profile is Profile.quality


def test_a_wrong_value_is_told_by_the_variable_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_DEFAULT_PROFILE", "lavish")
    with pytest.raises(ValidationError) as told:
        SelectorSettings()
    assert explain(told.value).startswith("POINTSMAN_DEFAULT_PROFILE: ")
    assert "lavish" not in explain(told.value)
    monkeypatch.setenv("POINTSMAN_SELECTOR_DEFAULT_PROFILE", "lavish")
    with pytest.raises(ValidationError) as told:
        SelectorSettings()
    assert explain(told.value).startswith("POINTSMAN_SELECTOR_DEFAULT_PROFILE: ")
