"""YAML files that people write, and strangers too: plain values, of a size that somebody can have meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    from importlib.abc import Traversable  # importlib.resources.abc only from Python 3.11 on

MOST_VALUES = 100_000
"""In a file, aliases written out."""


def yaml_mapping(path: Path | Traversable, what: str, keys: str) -> dict[str, Any]:
    """The mapping that a YAML file is; empty for an empty file.

    Args:
        path: the file.
        what: it is, for people, with its article.
        keys: what it maps, for people.

    Raises:
        ConfigError: unreadable, no YAML, not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{path}: cannot read {what}: {reason}") from error
    values = plain_yaml(text, f"{path}: not valid YAML") or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of {keys}, got {type(values).__name__}")
    return values


def plain_yaml(text: str, problem: str) -> Any:
    """The values of a YAML text, of a size that its author can have meant; ``problem`` begins errors.

    Raises:
        ConfigError: no YAML, or one that stands for more than ``MOST_VALUES`` values.
    """
    try:
        values = yaml.safe_load(text)
        if _weight(values, {}) > MOST_VALUES:
            raise ValueError(f"aliases make more than {MOST_VALUES} values of it")
    except RecursionError as error:
        raise ConfigError(f"{problem}: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # dates and long numbers raise the latter
        raise ConfigError(f"{problem}: {str(error).splitlines()[0]}") from error
    return values


def _weight(value: Any, known: dict[int, int]) -> int:
    """How many values it is with every alias written out: a few lines of aliases can stand for billions."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1  # where it is met inside of itself
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_weight(one, known) for one in inner)
    return known[id(value)]
