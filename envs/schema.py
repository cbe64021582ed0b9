"""Dataclasses to plain JSON values and back, strictly.

A file can name nothing but fields that exist.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError, names

T = TypeVar("T")

to_plain = asdict


def from_plain(cls: type[T], data: Any, where: str = "") -> T:
    """Build dataclass `cls` from what `to_plain` made of one.

    ConfigError names the entry that does not fit.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected a table, not {data!r}")
    hints = get_type_hints(cls)
    every = fields(cls)  # pyright: ignore[reportArgumentType]
    known = [f.name for f in every]
    if extra := [k for k in data if k not in known]:
        raise ConfigError(
            f"{where or cls.__name__}: unknown entry {names(extra)}; valid: {names(known)}"
        )
    if lacking := [
        f.name for f in every if f.name not in data and f.default is f.default_factory is MISSING
    ]:
        raise ConfigError(f"{where or cls.__name__} lacks {names(lacking)}")
    prefix = f"{where}." if where else ""
    try:
        return cls(**{k: _value(hints[k], v, prefix + str(k)) for k, v in data.items()})
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else _value(inner, value, where)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return from_plain(hint, value, where)  # pyright: ignore[reportArgumentType]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, not {value!r}")
        return tuple(_value(args[0], v, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{where}: {error}") from error
    if type(value) is not (origin or hint):
        raise ConfigError(f"{where}: expected {hint.__name__}, not {value!r}")
    return value
