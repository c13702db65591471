"""Secrets from files, as Docker and Kubernetes mount them: POINTSMAN_KAFKA_PASSWORD_FILE names the
file of POINTSMAN_KAFKA_PASSWORD."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from shared.adapters.errors import SecretUnreadable


class SecretSettings(BaseSettings):
    """Settings whose secrets may stand in files. The variable itself goes before the file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            _Files(settings_cls),
            file_secret_settings,
        )


class _Files(PydanticBaseSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field.annotation is not SecretStr:
            return None, field_name, False
        path = os.environ.get(f"{self.config.get('env_prefix', '')}{field_name}_FILE".upper())
        return (
            (SecretStr(Path(path).read_text(encoding="utf-8").strip()) if path else None),
            field_name,
            False,
        )

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, key, _ = self.get_field_value(field, name)
            except OSError as error:
                variable = f"{self.config.get('env_prefix', '')}{name}_FILE".upper()
                raise SecretUnreadable(
                    f"the file that {variable} names can't be read: {error.strerror}"
                ) from None
            if value is not None:
                values[key] = value
        return values
