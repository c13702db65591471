"""Settings that several services must agree on: one variable for all of them.

A service's own variable (`POINTSMAN_SELECTOR_CATALOG`) goes before the common one
(`POINTSMAN_CATALOG`), as it did before there was one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

AGREED: Mapping[str, str] = MappingProxyType(
    {
        "catalog": "POINTSMAN_CATALOG",
        "default_profile": "POINTSMAN_DEFAULT_PROFILE",
        "encoder_dir": "POINTSMAN_ENCODER_DIR",
        "variant": "POINTSMAN_ENCODER_VARIANT",
    }
)
"""By the name of the field: the variable that every service reads that has such a field."""


class _Agreed(PydanticBaseSettingsSource):
    """Values of the common variables."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value, the field's name, and that it is no JSON."""
        del field
        return os.environ.get(AGREED[field_name]) or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The values there are."""
        fields = self.settings_cls.model_fields
        values = {
            name: self.get_field_value(fields[name], name)[0]
            for name in AGREED.keys() & fields.keys()
        }
        return {name: value for name, value in values.items() if value is not None}


class ServiceSettings(BaseSettings):
    """A service's settings."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, the service's own variables, the common ones."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _Agreed(settings_cls)
