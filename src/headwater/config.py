"""Settings from TOML, checked: an unknown key is an error that names the nearest valid one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from headwater.errors import ConfigError


class Settings(BaseModel):
    """Base of every settings class: frozen, no unknown key, a docstring under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=BaseModel)


def parse(model: type[S], values: Mapping[str, Any], where: str) -> S:
    """Validate `values` as `model`.

    Raises
    ------
    ConfigError
        An unknown key (with the nearest valid one), a missing key, or a value of another type or range;
        the message begins with `where` and names every faulty key.
    """
    problems = _unknown_keys(model, values, "")
    if not problems:
        try:
            return model.model_validate(dict(values))
        except ValidationError as error:
            for fault in error.errors():
                key = ".".join(str(step) for step in fault["loc"]) or "value"
                problems.append(f"{key}: {fault['msg'][:1].lower()}{fault['msg'][1:]} (got {fault['input']!r:.80})")
    raise ConfigError(f"{where}: " + "; ".join(problems))


def _unknown_keys(model: type[BaseModel], values: Mapping[str, Any], prefix: str) -> list[str]:
    problems = []
    for key, value in values.items():
        if key not in model.model_fields:
            nearest = get_close_matches(key, model.model_fields, 1, 0.0)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            problems.append(f"unknown key {prefix + key!r}{hint} (valid: {', '.join(model.model_fields)})")
            continue
        inner = model.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            problems += _unknown_keys(inner, value, f"{prefix}{key}.")
    return problems


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises `ConfigError`, which names file and line, where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = [str(other) for other in sorted(path.parent.glob("*.toml"))]
        hint = f"; there is {', '.join(near)}" if near else ""
        raise ConfigError(f"{path} does not exist{hint}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from error
