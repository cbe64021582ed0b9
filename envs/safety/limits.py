"""Limits on what is sent, from a Spec and a table that tightens them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RobotError, names
from ..spec import Field, Spec
from ..tables import read_table

FOLLOWING_SECONDS = 0.25  # of travel at full velocity: the default of max_following_error
LIMITS = ("low", "high", "velocity", "acceleration", "max_following_error")
Table = Mapping[str, Mapping[str, Any]]


def read_limits(path: Path | str) -> dict[str, Any]:
    """Read a YAML file {action: {limit: number or one per element}}; "" gives an empty table."""
    return read_table(path, "limits") if path else {}


@dataclass(frozen=True)
class Limits:
    """Per action element (A,), in robot units and seconds; infinite where there is none.

    max_following_error: largest distance of what is sent from what is measured.
    """

    low: np.ndarray
    high: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    max_following_error: np.ndarray

    @classmethod
    def of(
        cls,
        spec: Spec,
        tighter: Table | None = None,
        unlimited: Sequence[str] = (),
        source: str = "",
    ) -> Limits:
        """Return the limits of a Spec, made tighter by a table.

        Args:
            spec: Of the robot.
            tighter: {action: {limit: number or one per element}}; a limit that is wider than the
                Spec's changes nothing.
            unlimited: Actions that may be sent without limits.
            source: The file that the table comes from, for errors.

        Raises:
            RobotError: Where an action has no limits and is not named in `unlimited`.
        """
        tighter = tighter or {}
        _require_actions(spec, tighter, unlimited, source)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in LIMITS}
        for key, field in spec.actions.items():
            limits = _field_limits(key, field, tighter.get(key, {}), source)
            if key not in unlimited:
                _require_limited(key, field, limits)
            for name in LIMITS:
                parts[name].append(limits[name])
        return cls(**{name: np.concatenate(parts[name]) for name in LIMITS})

    def to_plain(self) -> dict[str, list[float | None]]:
        """Return values for JSON: of each limit a number per element, None where there is none."""
        plain = {}
        for name in LIMITS:
            numbers = getattr(self, name).tolist()
            plain[name] = [number if math.isfinite(number) else None for number in numbers]
        return plain


def _require_actions(spec: Spec, tighter: Table, unlimited: Sequence[str], source: str) -> None:
    """Raise RobotError where limits are given for, or taken from, what is no action."""
    valid = names(spec.actions)
    not_actions = set(unlimited) - spec.actions.keys()
    if not_actions:
        raise RobotError(f"unlimited={names(not_actions)} is no action; valid: {valid}")
    not_actions = tighter.keys() - spec.actions.keys()
    if not_actions:
        text = f"limits for {names(not_actions)}, which are no actions; valid: {valid}"
        raise RobotError(_named(source, text))


def _field_limits(
    key: str, field: Field, tighter: Mapping[str, Any], source: str
) -> dict[str, np.ndarray]:
    """Return every limit of a field, one number per element."""
    what = _named(source, f"limits of {key!r}")
    if not isinstance(tighter, Mapping):
        raise RobotError(f"{what} must be a table of {names(LIMITS)}, not {tighter!r}")
    unknown = tighter.keys() - set(LIMITS)
    if unknown:
        raise RobotError(f"{what}: unknown {names(unknown)}; valid: {names(LIMITS)}")
    limits = {}
    for name in LIMITS:
        limits[name] = _one_limit(what, name, field, tighter)
    if field.measured_by and field.kind != "discrete" and "max_following_error" not in tighter:
        limits["max_following_error"] = FOLLOWING_SECONDS * limits["velocity"]
    if (limits["low"] > limits["high"]).any():
        raise RobotError(
            f"{what}: nothing lies between low {limits['low']} and high {limits['high']}"
        )
    if field.relative and ((limits["low"] > 0) | (limits["high"] < 0)).any():
        raise RobotError(
            f"action {key!r} is a difference, and 0, which holds, does not lie within low and high"
        )
    return limits


def _one_limit(what: str, name: str, field: Field, tighter: Mapping[str, Any]) -> np.ndarray:
    """Return the tighter one of the Spec's limit and the table's, one number per element."""
    none = -math.inf if name == "low" else math.inf
    own = np.full(field.size, none)
    if getattr(field, name, ()):
        own = np.array(getattr(field, name), float)
    given = _numbers(f"{what}: {name}", tighter.get(name, none), field.size)
    if name == "low":
        return np.maximum(own, given)
    limit = np.minimum(own, given)
    if name != "high" and (limit <= 0).any():
        raise RobotError(f"{what}: {name} must be positive numbers, not {given}")
    return limit


def _require_limited(key: str, field: Field, limits: Mapping[str, np.ndarray]) -> None:
    """Raise RobotError where an action may not be sent with these limits."""
    go_without = f"unlimited=[{key}]"
    if field.kind == "quaternion":
        raise RobotError(
            f"action {key!r} is a rotation, which cannot be bounded here; "
            f"{go_without} sends it as it is"
        )
    if not (field.measured_by or field.kind == "discrete" or field.relative):
        raise RobotError(
            f"nothing measures action {key!r}: where should it start from? "
            f"{go_without} sends it as it is"
        )
    missing = [name for name in _needed(field) if np.isinf(limits[name]).any()]
    if missing:
        raise RobotError(
            f"action {key!r} has no limit on {names(missing)}: give some, or {go_without} "
            "to go without"
        )


def _needed(field: Field) -> tuple[str, ...]:
    """Return the limits without which a field is not sent."""
    if field.relative or field.kind == "discrete":
        return ("low", "high")
    if field.kind == "angle":
        return ("velocity", "acceleration")
    return ("low", "high", "velocity", "acceleration")


def _numbers(what: str, given: Any, size: int) -> np.ndarray:
    """Return one number for all of `size` elements, or one for each."""
    try:
        numbers = np.broadcast_to(np.asarray(given, float), size)
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    if np.isnan(numbers).any() or isinstance(given, bool | str):
        raise RobotError(f"{what} must be a number, or {size} of them, not {given!r}")
    return numbers


def _named(source: str, text: str) -> str:
    """Return the text of an error, with the file that it is about."""
    return f"{source}: {text}" if source else text
