"""Layouts: how clients call what a policy observes, and the arrays that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ....envs import ConfigError, Field, ProtocolError, Spec
from ....envs.errors import names, pick, refusing
from ....envs.pictures import resize

# What a message may say beside its observation; clients of openpi leave all of it out.
TIME, SEED, EPISODE, PREFIX, NOISE = "time", "seed", "episode", "prefix", "noise"
SHIPPED = Path(__file__).with_name("layouts.yaml")


@dataclass(frozen=True)
class Layout:
    """For each observation of a policy the client's keys, whose arrays are laid end to end."""

    keys: Mapping[str, tuple[str, ...]]

    def read(
        self, given: Mapping[str, Any], seen: Spec, samples: int = 1, pictures: int = 1
    ) -> dict[str, np.ndarray]:
        """Return what a client's flat map holds for each observation, a sample or a history.

        A sample has a field's shape, a history (n, ...) has the time in front. Raises
        ProtocolError, which names the key.

        Args:
            given: The map.
            seen: The policy's Spec, pictures at the size at which it sees them.
            samples: Of a history of numbers that are kept, the newest.
            pictures: The same of cameras.
        """
        missing = [key for keys in self.keys.values() for key in keys if key not in given]
        if missing:
            raise ProtocolError(f"the observation lacks {names(missing)}; it has {names(given)}")
        observed = {}
        for ours, keys in self.keys.items():
            field = seen.observations[ours]
            if field.is_image:
                observed[ours] = _read_pictures(given[keys[0]], field, keys[0], pictures)
            else:
                parts = [read_numbers(given[key], key) for key in keys]
                joined = _join_numbers(parts, field, ", ".join(keys))
                is_history = joined.ndim > len(field.shape)
                observed[ours] = joined[-samples:].copy() if is_history else joined
        return observed


def read_layout(name: str, spec: Spec) -> Layout:
    """Return a layout by its name, or from a YAML file {layout: {our key: their key or keys}}.

    Without a name clients call everything as the policy does. Raises ConfigError where there is
    none, or where it says nothing of an observation.
    """
    keys = _read_keys(name, spec) if name else {key: (key,) for key in spec.observations}
    used: set[str] = set()
    for ours, theirs in keys.items():
        twice = used.intersection(theirs) or len(set(theirs)) < len(theirs)
        if twice:
            raise ConfigError(f"layout {name!r} uses a key of {names(theirs)} twice")
        used.update(theirs)
        taken = {TIME, SEED, EPISODE, PREFIX, NOISE} & {*theirs}
        if taken:
            raise ConfigError(f"{ours!r} cannot be {names(taken)} for a client: that is taken")
    return Layout(keys)


def _read_keys(name: str, spec: Spec) -> dict[str, tuple[str, ...]]:
    is_file = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_file else SHIPPED
    with refusing(ConfigError, f"{path} holds no layout", path):
        tables = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(tables, dict) or (is_file and len(tables) != 1):
            raise ConfigError("a file of a layout is one table {layout: {our key: their key}}")
        table = next(iter(tables.values())) if is_file else pick(tables, name, "layout")
        keys = {str(ours): _as_keys(theirs) for ours, theirs in dict(table).items()}
    lacking = [key for key in spec.observations if key not in keys]
    if lacking:
        raise ConfigError(
            f"layout {name!r} does not say what the policy's {names(lacking)} is for a client; "
            f"it knows {names(keys)}: write a YAML file {{layout: {{our key: their key}}}}"
        )
    unknown = [key for key in keys if key not in spec.observations]
    if is_file and unknown:
        raise ConfigError(
            f"{path} names {names(unknown)}, which the policy does not observe; it observes "
            f"{names(spec.observations)}"
        )
    for key in spec.images:
        if len(keys[key]) != 1:
            raise ConfigError(f"{path}: camera {key!r} is one key, not {names(keys[key])}")
    return {key: keys[key] for key in spec.observations}


def _as_keys(theirs: Any) -> tuple[str, ...]:
    keys = theirs if isinstance(theirs, list) else [theirs]
    if not keys or any(not isinstance(key, str) for key in keys):
        raise ConfigError(f"a client's key is a text, or a list of them, not {theirs!r}")
    return tuple(keys)


def read_numbers(value: Any, key: str) -> np.ndarray:
    """Return a value as float32; ProtocolError, which names the key, where it is no numbers."""
    with refusing(ProtocolError, f"{key!r} is no array of numbers"):
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf":
            raise ProtocolError(f"{key!r} is no array of numbers, but of {value.dtype}")
        with np.errstate(over="ignore"):
            array = np.array(value, np.float32)
    if not np.isfinite(array).all():
        raise ProtocolError(f"{key!r} holds what is no number, or too large a one")
    return array


def _join_numbers(parts: list[np.ndarray], field: Field, key: str) -> np.ndarray:
    """Return parts laid end to end, in the shape of a sample or of a history of them."""
    joined = parts[0]
    if len(parts) > 1:
        rows = [np.atleast_1d(part) for part in parts]
        if len({row.shape[:-1] for row in rows}) > 1:
            raise ProtocolError(f"{key} cannot be laid end to end: their shapes do not fit")
        joined = np.concatenate(rows, -1)
    if joined.shape == field.shape:
        return joined
    if joined.ndim == len(field.shape) + 1 and joined.shape[1:] == field.shape and len(joined):
        return joined
    raise ProtocolError(f"{key} has the shape {joined.shape}; the policy observes {field.shape}")


def _read_pictures(value: Any, field: Field, key: str, most: int) -> np.ndarray:
    """Return a picture (h, w, 3), or the newest of several (n, h, w, 3), at the field's size."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        raise ProtocolError(f"{key!r} is a picture of uint8, not {getattr(value, 'dtype', value)}")
    if value.ndim not in (3, 4) or not value.size:
        raise ProtocolError(f"{key!r} is a picture (h, w, 3) or (3, h, w), not {value.shape}")
    if value.ndim == 4:
        return np.stack([_read_picture(picture, field, key) for picture in value[-most:]])
    return _read_picture(value, field, key)


def _read_picture(picture: np.ndarray, field: Field, key: str) -> np.ndarray:
    if picture.shape[2] != 3 and picture.shape[0] == 3:
        picture = np.ascontiguousarray(picture.transpose(1, 2, 0))
    if picture.shape[2] != 3:
        raise ProtocolError(f"{key!r} is a picture (h, w, 3) or (3, h, w), not {picture.shape}")
    height, width, _ = field.shape
    # One pixel of the shorter side is what rounding may change.
    skewed = abs(picture.shape[0] * width - picture.shape[1] * height)
    if skewed > max(picture.shape[:2]):
        raise ProtocolError(
            f"{key!r} is {picture.shape[1]} x {picture.shape[0]} px, which has other proportions "
            f"than the policy's {width} x {height}"
        )
    if 2 * picture.shape[0] < height:
        raise ProtocolError(
            f"{key!r} is {picture.shape[1]} x {picture.shape[0]} px, and the policy sees "
            f"{width} x {height}: that is too small"
        )
    return resize(picture, (height, width))
