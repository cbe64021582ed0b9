"""Spec: what a robot measures and accepts, described before any of it exists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from .errors import ConfigError, SpecError, names
from .schema import from_plain, to_plain

KINDS = ("linear", "angle", "quaternion", "image", "discrete")


@dataclass(frozen=True)
class Field:
    """One named array of a Spec.

    shape: of one sample, without time; images (height, width, 3).
    unit: of every element ("rad", "m", "px").
    kind: "linear"; "angle" (rad, wraps at a full turn); "quaternion" (w, x, y, z; shape (4,)); "image" (uint8, RGB);
      "discrete" (held between samples, never interpolated). A joint with end stops is "linear".
    low, high: bounds per element; empty means unbounded.
    measured_by: for an action field, the observation that measures the same quantity.
    velocity, acceleration: limits per element, in unit/s and unit/s^2; empty means none given.
    relative: the action is a difference, added once per policy period to where the robot is; holding sends zeros.
    """

    shape: tuple[int, ...]
    unit: str = ""
    kind: str = "linear"
    names: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    measured_by: str = ""
    velocity: tuple[float, ...] = ()
    acceleration: tuple[float, ...] = ()
    relative: bool = False

    @property
    def size(self) -> int:
        """Number of elements of one sample."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Storage type: uint8 for images, float32 for all else."""
        return np.dtype("uint8" if self.kind == "image" else "float32")

    def check(self, key: str) -> None:
        """Raise SpecError, naming `key`, where the description contradicts itself."""
        if self.kind not in KINDS:
            raise SpecError(f"field {key!r}: unknown kind {self.kind!r}; valid: {names(KINDS)}")
        if any(isinstance(n, bool) or not isinstance(n, Integral) or n < 0 for n in self.shape):
            raise SpecError(f"field {key!r}: no shape can be {self.shape}")
        if self.kind == "quaternion" and self.shape != (4,):
            raise SpecError(f"field {key!r}: a quaternion has shape (4,), not {self.shape}")
        if self.kind == "image" and (len(self.shape) != 3 or self.shape[2] != 3):
            raise SpecError(
                f"field {key!r}: an image has shape (height, width, 3), not {self.shape}"
            )
        for name in ("names", "low", "high", "velocity", "acceleration"):
            if (n := len(getattr(self, name))) not in (0, self.size):
                raise SpecError(
                    f"field {key!r}: {name} has {n} elements, the field has {self.size}"
                )
        for name in ("low", "high"):
            if any(math.isnan(x) for x in getattr(self, name)):
                raise SpecError(f"field {key!r}: {name} is no number")
        for name in ("velocity", "acceleration"):
            if not all(x > 0 for x in getattr(self, name)):
                raise SpecError(
                    f"field {key!r}: {name} must be positive, not {getattr(self, name)}"
                )
        if any(a > b for a, b in zip(self.low, self.high, strict=False)):
            raise SpecError(f"field {key!r}: low is above high")
        if self.relative:
            self._check_relative(key)

    def _check_relative(self, key: str) -> None:
        if self.kind not in ("linear", "angle"):
            raise SpecError(
                f"field {key!r}: what is relative is linear or an angle, not {self.kind}"
            )
        if self.measured_by:
            raise SpecError(
                f"field {key!r} is relative: {self.measured_by!r} cannot measure a difference, so leave out measured_by"
            )


@dataclass(frozen=True)
class Spec:
    """What a robot measures and accepts; the action vector is its fields laid end to end, in order.

    policy_hz: rate of observations and actions that the policy sees; command_hz: rate of commands to the robot.
    """

    observations: Mapping[str, Field]
    actions: Mapping[str, Field]
    policy_hz: float
    command_hz: float = field(default=0.0)

    def __post_init__(self) -> None:
        if not self.actions:
            raise SpecError("a Spec needs at least one action field")
        for key, f in (*self.observations.items(), *self.actions.items()):
            f.check(key)
        for key, f in self.observations.items():
            if f.relative:
                raise SpecError(f"observation {key!r} cannot be relative: only an action can")
        for key, f in self.actions.items():
            self._check_action(key, f)
        object.__setattr__(self, "command_hz", self.command_hz or self.policy_hz)
        for name in ("policy_hz", "command_hz"):
            if not 0 < getattr(self, name) < math.inf:
                raise SpecError(f"{name} must be positive, not {getattr(self, name)}")
        if any(f.relative for f in self.actions.values()) and self.command_hz != self.policy_hz:
            raise SpecError(
                "a relative action is a difference per policy period: "
                f"command_hz must be {self.policy_hz:g} like policy_hz, not {self.command_hz:g}"
            )

    def _check_action(self, key: str, f: Field) -> None:
        if f.kind == "image" or f.size == 0:
            raise SpecError(f"action {key!r} needs elements, and cannot be an image")
        if not f.measured_by:
            return
        if f.measured_by not in self.observations:
            raise SpecError(
                f"action {key!r} is measured by {f.measured_by!r}, which is no observation; "
                f"valid: {names(self.observations)}"
            )
        if (n := self.observations[f.measured_by].size) != f.size:
            raise SpecError(
                f"action {key!r} has {f.size} elements, but is measured by {f.measured_by!r} with {n}"
            )

    @property
    def action_size(self) -> int:
        """A, the length of the action vector."""
        return sum(f.size for f in self.actions.values())

    def slices(self) -> dict[str, slice]:
        """Where each action field lies in the action vector."""
        out, start = {}, 0
        for key, f in self.actions.items():
            out[key] = slice(start, start := start + f.size)
        return out

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest action, each (A,); infinite where none is given."""
        low = [f.low or (-np.inf,) * f.size for f in self.actions.values()]
        high = [f.high or (np.inf,) * f.size for f in self.actions.values()]
        return np.concatenate(low).astype(np.float32), np.concatenate(high).astype(np.float32)

    def held(self) -> np.ndarray:
        """(A,) True where an element is discrete and so never interpolated."""
        return np.concatenate(
            [np.full(f.size, f.kind == "discrete") for f in self.actions.values()]
        )

    def angles(self) -> np.ndarray:
        """(A,) True where an element is an angle, which wraps."""
        return np.concatenate([np.full(f.size, f.kind == "angle") for f in self.actions.values()])

    def relative(self) -> np.ndarray:
        """(A,) True where an element is a difference and not a target."""
        return np.concatenate([np.full(f.size, f.relative) for f in self.actions.values()])

    def element_names(self) -> list[str]:
        """A name for each element of the action: "gripper", "joints[0]", or "joints.base" where it has one."""
        called = []
        for key, f in self.actions.items():
            each = [f"{key}.{name}" for name in f.names] or [f"{key}[{i}]" for i in range(f.size)]
            called += [key] if f.size == 1 and not f.names else each
        return called

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values."""
        return to_plain(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """Read what `to_json` wrote; raises SpecError naming what is wrong."""
        try:
            observed, actions = (
                {k: from_plain(Field, v, k) for k, v in data[group].items()}
                for group in ("observations", "actions")
            )
            return cls(observed, actions, float(data["policy_hz"]), float(data["command_hz"]))
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            ConfigError,
        ) as error:
            raise SpecError(f"not a Spec: {error}") from error


def differences(ours: Spec, theirs: Spec) -> list[str]:
    """What keeps `theirs` from serving `ours`, one sentence each; empty where it can.

    Names of elements and limits may differ: they change neither the meaning nor the layout of the numbers. A robot may
    also measure more than a policy looks at.
    """
    out = []
    for group in ("observations", "actions"):
        a, b = getattr(ours, group), getattr(theirs, group)
        out += [f"{group[:-1]} {k!r} is missing" for k in a if k not in b]
        if group == "actions":
            out += [f"action {k!r} is not expected" for k in b if k not in a]
        for key in (k for k in a if k in b):
            for part in ("shape", "unit", "kind", "relative"):
                if (x := getattr(a[key], part)) != (y := getattr(b[key], part)):
                    out.append(f"{group[:-1]} {key!r}: {part} is {y}, expected {x}")
    if list(ours.actions) != list(theirs.actions) and not out:
        out.append(f"the order of actions is {list(theirs.actions)}, expected {list(ours.actions)}")
    if ours.policy_hz != theirs.policy_hz:
        out.append(f"policy_hz is {theirs.policy_hz}, expected {ours.policy_hz}")
    return out
