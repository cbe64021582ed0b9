"""Dataclasses to plain JSON values and back: a file can name nothing but fields that exist."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError, names

T = TypeVar("T")

to_plain = asdict


def from_plain(cls: type[T], data: Any, where: str = "") -> T:
    """Build dataclass `cls` from what `to_plain` made of one.

    where: what errors call it. ConfigError names the entry that does not fit.
    """
    name = where or cls.__name__
    if not isinstance(data, Mapping):
        raise ConfigError(f"{name}: expected a table, not {data!r}")
    _require_entries(cls, data, name)
    hints = get_type_hints(cls)
    prefix = f"{where}." if where else ""
    values = {}
    try:
        for key, value in data.items():
            values[key] = _read_value(hints[key], value, prefix + str(key))
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from error


def _require_entries(cls: type, data: Mapping[str, Any], name: str) -> None:
    """Raise ConfigError where entries are unknown, or lack and have no default."""
    known = []
    lacking = []
    for field in fields(cls):
        known.append(field.name)
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if field.name not in data and not has_default:
            lacking.append(field.name)
    unknown = [key for key in data if key not in known]
    if unknown:
        raise ConfigError(f"{name}: unknown entry {names(unknown)}; valid: {names(known)}")
    if lacking:
        raise ConfigError(f"{name} lacks {names(lacking)}")


def _read_value(hint: Any, value: Any, where: str) -> Any:
    """Return a plain value as a type hint wants it; ConfigError where it is none."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _read_optional(hint, value, where)
    if is_dataclass(hint):
        return from_plain(hint, value, where)  # pyright: ignore[reportArgumentType]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, not {value!r}")
        element = get_args(hint)[0]
        return tuple(_read_value(element, entry, where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: {error}") from error
    if type(value) is not (origin or hint):
        raise ConfigError(f"{where}: expected {hint.__name__}, not {value!r}")
    return value


def _read_optional(hint: Any, value: Any, where: str) -> Any:
    """Return None, or a value of the first other type of a union."""
    if value is None:
        return None
    types = [choice for choice in get_args(hint) if choice is not type(None)]
    return _read_value(types[0], value, where)
