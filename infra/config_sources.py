"""Where settings come from beside the flags of a command: the environment, files that it names, and a TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, TomlConfigSettingsSource

from domain.errors import InvalidInput

PREFIX = "FENGHUO_"


class _NoJson(ValueError):
    """Of a list or a map in the environment; its name."""


class Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """As EnvSettingsSource; a fault says of which setting it is."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            raise _NoJson(field_name) from None


def settings_file(settings_cls: type[BaseSettings]) -> PydanticBaseSettingsSource:
    path = _toml_file()
    try:
        return TomlConfigSettingsSource(settings_cls, path)
    except OSError as error:
        said = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        said = "is no TOML: it is not UTF-8"
    except tomllib.TOMLDecodeError as error:
        said = f"is no TOML: {error}"
    except (ValueError, RecursionError):  # a number of too many digits, a list in a list in a list
        said = "is no TOML that can be read"
    raise InvalidInput("config.toml", f"The settings file {path} {said}.", "Correct it, or FENGHUO_CONFIG.")


def _toml_file() -> Path | None:
    named = os.environ.get(f"{PREFIX}CONFIG")
    path = Path(named) if named else Path("fenghuo.toml")
    if named and not path.is_file():
        raise InvalidInput("config.missing", f"There is no settings file {path}.", "Correct FENGHUO_CONFIG.")
    return path if path.is_file() else None


class secret_files:  # noqa: N801  reads like the function that it is
    """For the time of loading, `NAME_FILE` in the environment stands for `NAME` with the file's content."""

    def __enter__(self) -> None:
        self._set: list[str] = []
        for name, path in list(os.environ.items()):
            if name.startswith(PREFIX) and name.endswith("_FILE"):
                target = name.removesuffix("_FILE")
                try:
                    content = Path(path).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    raise InvalidInput("config.secret", f"{name} names a file that cannot be read.") from error
                if target not in os.environ:
                    os.environ[target] = content
                    self._set.append(target)

    def __exit__(self, *_: object) -> None:
        for name in self._set:
            del os.environ[name]
