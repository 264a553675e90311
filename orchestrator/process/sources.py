"""Where settings come from: a flag, else the environment, else the file, else the default.

A value that will not do is one sentence that names its source.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    EnvSettingsSource,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)

from orchestrator.model.errors import ConfigError
from orchestrator.model.near_names import near_name
from orchestrator.process.settings import ENV_PREFIX, ProcessSettings

S = TypeVar("S", bound=ProcessSettings)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """Settings, and for each that is not the default the place where it was given."""

    settings: S
    given_by: Mapping[str, str]


def load_settings(
    kind: type[S], flags: Mapping[str, object], config_file: Path | None = None
) -> Loaded[S]:
    """Put `kind` together. `flags` hold the values by field name; None is not given.

    Raises `ConfigError`.
    """
    file = _read_file(kind, config_file) if config_file else {}
    environment = EnvSettingsSource(kind)()
    given = {name: value for name, value in flags.items() if value is not None}
    by = {name: str(config_file) for name in file}
    by |= {name: _variable(name) for name in environment}
    by |= {name: flag_of(name) for name in given}
    try:
        settings = kind(**{**file, **environment, **given})
    except ValidationError as error:
        sentences = [_sentence(detail, kind, by) for detail in error.errors()]
        raise ConfigError("; ".join(sentences)) from None
    return Loaded(settings, by)


def shown(loaded: Loaded[S]) -> list[tuple[str, str, str]]:
    """Every setting for `--show-config`: name, value, source."""
    return [
        (name, _text(getattr(loaded.settings, name)), loaded.given_by.get(name, "default"))
        for name in type(loaded.settings).model_fields
    ]


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENV_PREFIX + name.upper()


def _read_file(kind: type[ProcessSettings], path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}: correct --config (or {_variable('config')})")
    try:
        if path.suffix == ".toml":
            values: object = TomlConfigSettingsSource(kind, toml_file=path)()
        elif path.suffix in {".yaml", ".yml", ".json"}:
            values = YamlConfigSettingsSource(kind, yaml_file=path)()
        else:
            raise ConfigError(f"{path}: name it .yaml or .toml, to say which it is")
    except (yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read as {path.suffix[1:].upper()}: {text}") from None
    except (TypeError, ValueError, AttributeError):
        raise ConfigError(f"{path} must hold names and values, as in `log_level: info`") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    assert isinstance(values, dict)
    return values


def _sentence(detail: ErrorDetails, kind: type[ProcessSettings], by: Mapping[str, str]) -> str:
    message = _message(detail)
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    place = _place(name, by)
    if detail["type"] == "extra_forbidden":
        near = near_name(name, kind.model_fields)
        advice = f"; did you mean {near}?" if near else ""
        return f"{place}: there is no setting of that name{advice}"
    return f"{place}: {_text(detail['input'])!r} will not do: {message}"


def _place(name: str, by: Mapping[str, str]) -> str:
    source = by.get(name, "default")
    return source if source in {flag_of(name), _variable(name)} else f"{name} ({source})"


def _message(detail: ErrorDetails) -> str:
    """pydantic's own wording, without its capital and the prefix of our own errors."""
    text = detail["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _text(value: object) -> str:
    """As people write it, but for a password that somebody put before a host."""
    return re.sub(r"(?:(?<=//)[^/@,]*|[^/@,\s]+:[^/@,\s]*)@", "***@", _written(value))


def _written(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, tuple) and type(value) is tuple:
        return ",".join(str(part) for part in value)
    return "" if value is None else str(value)
