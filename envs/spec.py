"""Spec: what a robot measures and accepts, described before any of it exists."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    kind: "linear"; "angle" (rad, wraps at a full turn); "quaternion" (w, x, y, z; shape (4,));
      "image" (uint8, RGB); "discrete" (held between samples, never interpolated). A joint with end
      stops is "linear".
    names: of the elements.
    low, high: bounds per element; empty means unbounded.
    measured_by: for an action field, the observation that measures the same quantity.
    velocity, acceleration: limits per element, in unit/s and unit/s^2; empty means none given.
    relative: the action is a difference, added once per policy period to where the robot is;
      holding sends zeros.
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
        """Return the number of elements of one sample."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Return whether samples are images."""
        return self.kind == "image"

    @property
    def dtype(self) -> np.dtype:
        """Return the storage type: uint8 for images, float32 for all else."""
        return np.dtype("uint8" if self.is_image else "float32")

    def check(self, key: str) -> None:
        """Raise SpecError, naming `key`, where the description contradicts itself."""
        self._check_shape(key)
        for name in ("names", "low", "high", "velocity", "acceleration"):
            count = len(getattr(self, name))
            if count not in (0, self.size):
                raise SpecError(
                    f"field {key!r}: {name} has {count} elements, the field has {self.size}"
                )
        for name in ("low", "high"):
            if any(math.isnan(bound) for bound in getattr(self, name)):
                raise SpecError(f"field {key!r}: {name} is no number")
        for name in ("velocity", "acceleration"):
            if not all(limit > 0 for limit in getattr(self, name)):
                raise SpecError(
                    f"field {key!r}: {name} must be positive, not {getattr(self, name)}"
                )
        if any(low > high for low, high in zip(self.low, self.high, strict=False)):
            raise SpecError(f"field {key!r}: low is above high")
        if self.relative:
            self._check_relative(key)

    def _check_shape(self, key: str) -> None:
        if self.kind not in KINDS:
            raise SpecError(f"field {key!r}: unknown kind {self.kind!r}; valid: {names(KINDS)}")
        for length in self.shape:
            if isinstance(length, bool) or not isinstance(length, Integral) or length < 0:
                raise SpecError(f"field {key!r}: no shape can be {self.shape}")
        if self.kind == "quaternion" and self.shape != (4,):
            raise SpecError(f"field {key!r}: a quaternion has shape (4,), not {self.shape}")
        if self.is_image and (len(self.shape) != 3 or self.shape[2] != 3):
            raise SpecError(
                f"field {key!r}: an image has shape (height, width, 3), not {self.shape}"
            )

    def _check_relative(self, key: str) -> None:
        if self.kind not in ("linear", "angle"):
            raise SpecError(
                f"field {key!r}: what is relative is linear or an angle, not {self.kind}"
            )
        if self.measured_by:
            raise SpecError(
                f"field {key!r} is relative: {self.measured_by!r} cannot measure a difference, "
                "so leave out measured_by"
            )


@dataclass(frozen=True)
class Spec:
    """What a robot measures and accepts; the action vector is its fields laid end to end, in order.

    policy_hz: rate of observations and actions that the policy sees; command_hz: rate of commands
    to the robot.
    """

    observations: Mapping[str, Field]
    actions: Mapping[str, Field]
    policy_hz: float
    command_hz: float = field(default=0.0)

    def __post_init__(self) -> None:
        if not self.actions:
            raise SpecError("a Spec needs at least one action field")
        for group in (self.observations, self.actions):
            for key, described in group.items():
                described.check(key)
        for key, observed in self.observations.items():
            if observed.relative:
                raise SpecError(f"observation {key!r} cannot be relative: only an action can")
        for key, action in self.actions.items():
            self._check_action(key, action)
        object.__setattr__(self, "command_hz", self.command_hz or self.policy_hz)
        for name in ("policy_hz", "command_hz"):
            if not 0 < getattr(self, name) < math.inf:
                raise SpecError(f"{name} must be positive, not {getattr(self, name)}")
        is_relative = any(action.relative for action in self.actions.values())
        if is_relative and self.command_hz != self.policy_hz:
            raise SpecError(
                "a relative action is a difference per policy period: "
                f"command_hz must be {self.policy_hz:g} like policy_hz, not {self.command_hz:g}"
            )

    def _check_action(self, key: str, action: Field) -> None:
        if action.is_image or action.size == 0:
            raise SpecError(f"action {key!r} needs elements, and cannot be an image")
        source = action.measured_by
        if not source:
            return
        if source not in self.observations:
            raise SpecError(
                f"action {key!r} is measured by {source!r}, which is no observation; "
                f"valid: {names(self.observations)}"
            )
        size = self.observations[source].size
        if size != action.size:
            raise SpecError(
                f"action {key!r} has {action.size} elements, but is measured by {source!r} "
                f"with {size}"
            )

    @property
    def states(self) -> dict[str, Field]:
        """Return the observations that are numbers."""
        return {key: seen for key, seen in self.observations.items() if not seen.is_image}

    @property
    def images(self) -> dict[str, Field]:
        """Return the observations that are images."""
        return {key: seen for key, seen in self.observations.items() if seen.is_image}

    @property
    def action_size(self) -> int:
        """Return A, the length of the action vector."""
        return sum(action.size for action in self.actions.values())

    def slices(self) -> dict[str, slice]:
        """Return where each action field lies in the action vector."""
        found = {}
        start = 0
        for key, action in self.actions.items():
            found[key] = slice(start, start + action.size)
            start += action.size
        return found

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and the highest action, each (A,); infinite where none is given."""
        low: list[float] = []
        high: list[float] = []
        for action in self.actions.values():
            low += action.low or (-np.inf,) * action.size
            high += action.high or (np.inf,) * action.size
        return np.array(low, np.float32), np.array(high, np.float32)

    def discrete_mask(self) -> np.ndarray:
        """Return (A,), True where an element is discrete and so never interpolated."""
        return self._mask(lambda action: action.kind == "discrete")

    def angle_mask(self) -> np.ndarray:
        """Return (A,), True where an element is an angle, which wraps."""
        return self._mask(lambda action: action.kind == "angle")

    def relative_mask(self) -> np.ndarray:
        """Return (A,), True where an element is a difference and not a target."""
        return self._mask(lambda action: action.relative)

    def _mask(self, holds: Callable[[Field], bool]) -> np.ndarray:
        """Return (A,), True for the elements of the actions for which `holds`."""
        parts = [np.full(action.size, holds(action)) for action in self.actions.values()]
        return np.concatenate(parts)

    def element_names(self) -> list[str]:
        """Return a name for each action element: "gripper", "joints[0]", or "joints.base"."""
        called = []
        for key, action in self.actions.items():
            if action.names:
                called += [f"{key}.{name}" for name in action.names]
            elif action.size == 1:
                called.append(key)
            else:
                called += [f"{key}[{index}]" for index in range(action.size)]
        return called

    def element_units(self) -> list[str]:
        """Return the unit of each action element."""
        units: list[str] = []
        for action in self.actions.values():
            units += [action.unit] * action.size
        return units

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of plain JSON values."""
        return to_plain(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """Read what `to_json` wrote; raises SpecError naming what is wrong."""
        try:
            observations = _read_fields(data["observations"])
            actions = _read_fields(data["actions"])
            return cls(observations, actions, float(data["policy_hz"]), float(data["command_hz"]))
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            ConfigError,
        ) as error:
            raise SpecError(f"not a Spec: {error}") from error


def _read_fields(described: Mapping[str, Any]) -> dict[str, Field]:
    return {key: from_plain(Field, plain, key) for key, plain in described.items()}


def incompatibilities(ours: Spec, theirs: Spec) -> list[str]:
    """Return what keeps `theirs` from serving `ours`, a sentence each; empty where it can.

    Names of elements and limits may differ: they change neither the meaning nor the layout of the
    numbers. A robot may also measure more than a policy looks at.
    """
    found = []
    found += _unlike_fields("observation", ours.observations, theirs.observations)
    for key in theirs.actions:
        if key not in ours.actions:
            found.append(f"action {key!r} is not expected")
    found += _unlike_fields("action", ours.actions, theirs.actions)
    expected = list(ours.actions)
    if list(theirs.actions) != expected and not found:
        found.append(f"the order of actions is {list(theirs.actions)}, expected {expected}")
    if ours.policy_hz != theirs.policy_hz:
        found.append(f"policy_hz is {theirs.policy_hz}, expected {ours.policy_hz}")
    return found


def _unlike_fields(what: str, ours: Mapping[str, Field], theirs: Mapping[str, Field]) -> list[str]:
    """Return a sentence for each of our fields that they lack, and for each that differs."""
    found = [f"{what} {key!r} is missing" for key in ours if key not in theirs]
    for key, expected in ours.items():
        if key not in theirs:
            continue
        for part in ("shape", "unit", "kind", "relative"):
            given = getattr(theirs[key], part)
            wanted = getattr(expected, part)
            if given != wanted:
                found.append(f"{what} {key!r}: {part} is {given}, expected {wanted}")
    return found
