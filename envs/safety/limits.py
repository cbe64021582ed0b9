"""Limits on what is sent, from a Spec and a table that tightens them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RobotError, names
from ..spec import Spec

REACH = 0.25  # s of travel at full velocity that an action may lie ahead of what is measured, unless a limit says else


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
        tighter: Mapping[str, Mapping[str, Any]] | None = None,
        unlimited: Sequence[str] = (),
    ) -> Limits:
        """The limits of a Spec, made tighter by a table {action: {limit: number or one per element}}.

        unlimited: actions that may be sent without limits; RobotError where another one has none.
        """
        tighter = tighter or {}
        if unknown := set(unlimited) - spec.actions.keys():
            raise RobotError(
                f"unlimited={names(unknown)} is no action; valid: {names(spec.actions)}"
            )
        if unknown := tighter.keys() - spec.actions.keys():
            raise RobotError(
                f"limits for {names(unknown)}, which are no actions; valid: {names(spec.actions)}"
            )
        rows = [_field(key, spec, tighter.get(key, {}), key in unlimited) for key in spec.actions]
        return cls(*(np.concatenate(column) for column in zip(*rows, strict=True)))


LIMITS = ("low", "high", "velocity", "acceleration", "max_following_error")


def _field(key: str, spec: Spec, tighter: Mapping[str, Any], unlimited: bool) -> list[np.ndarray]:
    f, n = spec.actions[key], spec.actions[key].size
    if not isinstance(tighter, Mapping):
        raise RobotError(f"limits of {key!r} must be a table of {names(LIMITS)}, not {tighter!r}")
    if unknown := tighter.keys() - set(LIMITS):
        raise RobotError(f"limits of {key!r}: unknown {names(unknown)}; valid: {names(LIMITS)}")
    out = {}
    for name in LIMITS:
        sign = -1.0 if name == "low" else 1.0
        given = (
            np.full(n, sign * math.inf)
            if not (own := getattr(f, name, ()))
            else np.array(own, float)
        )
        more = _numbers(f"limits of {key!r}: {name}", tighter.get(name, sign * math.inf), n)
        out[name] = np.maximum(given, more) if name == "low" else np.minimum(given, more)
        if name not in ("low", "high") and (out[name] <= 0).any():
            raise RobotError(f"limits of {key!r}: {name} must be positive numbers, not {more}")
    if f.measured_by and f.kind != "discrete" and "max_following_error" not in tighter:
        out["max_following_error"] = REACH * out["velocity"]
    if (out["low"] > out["high"]).any():
        raise RobotError(
            f"limits of {key!r}: nothing lies between low {out['low']} and high {out['high']}"
        )
    relative = f.relative
    needed = {"discrete": ("low", "high"), "angle": ("velocity", "acceleration")}.get(
        f.kind, LIMITS[:4]
    )
    needed = ("low", "high") if relative else needed
    if relative and ((out["low"] > 0) | (out["high"] < 0)).any():
        raise RobotError(
            f"action {key!r} is a difference, and 0, which holds, does not lie within low and high"
        )
    if f.kind == "quaternion" and not unlimited:
        raise RobotError(
            f"action {key!r} is a rotation, which cannot be bounded here; unlimited=[{key}] sends it as it is"
        )
    if not (unlimited or f.measured_by or f.kind == "discrete" or relative):
        raise RobotError(
            f"nothing measures action {key!r}: where should it start from? unlimited=[{key}] sends it as it is"
        )
    if not unlimited and (missing := [name for name in needed if np.isinf(out[name]).any()]):
        raise RobotError(
            f"action {key!r} has no limit on {names(missing)}: give some, or unlimited=[{key}] to go without"
        )
    return [out[name] for name in LIMITS]


def _numbers(what: str, given: Any, n: int) -> np.ndarray:
    """One number for all of n elements, or one for each."""
    try:
        numbers = np.broadcast_to(np.asarray(given, float), n)
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    if np.isnan(numbers).any() or isinstance(given, bool | str):
        raise RobotError(f"{what} must be a number, or {n} of them, not {given!r}")
    return numbers
