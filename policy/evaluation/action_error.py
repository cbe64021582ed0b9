"""How far predicted actions are from recorded ones: in the unit of each element, and as a share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...envs import Field, Spec
from ...envs.angles import shorter_way
from ..normaliser import NARROWEST

LOWEST, HIGHEST = 1, 99  # [%] percentiles of the recorded actions, whose distance is the range
WRONG = "share wrong"  # stands for the unit of a discrete element


@dataclass(frozen=True)
class ActionError:
    """Errors of actions of one Spec, M numbers per action.

    There is one for each element, and one for a whole rotation. Linear elements differ by their
    absolute difference, angles the shorter way round, rotations by the angle between them [rad].
    A discrete element is wrong (1) or right (0): what is predicted counts as the nearest of the
    recorded values.
    """

    spec: Spec
    names: list[str]  # M of them
    units: list[str]  # M of them
    ranges: np.ndarray  # (M,) of the recorded actions, NaN where they never change
    values: dict[str, list[np.ndarray]]  # of discrete fields, the recorded ones of each element

    @classmethod
    def fit(cls, spec: Spec, actions: np.ndarray) -> ActionError:
        """Return the measure for recorded actions (N, A), which decide what range they have.

        The range of an element is what lies between its 1st and 99th percentile; where these are
        equal, between its lowest and highest value. As in the normaliser, an element counts as
        NARROWEST of the widest of its field at least.
        """
        names: list[str] = []
        units: list[str] = []
        ranges: list[np.ndarray] = []
        values: dict[str, list[np.ndarray]] = {}
        called = spec.element_names()
        for key, place in spec.slices().items():
            field = spec.actions[key]
            recorded = np.asarray(actions[:, place], float)
            names += [key] if field.kind == "quaternion" else called[place]
            ranges.append(measure_ranges(field, recorded))
            units += [_unit_of(field)] * len(ranges[-1])
            if field.kind == "discrete":
                values[key] = [np.unique(column) for column in recorded.T]
        return cls(spec, names, units, np.concatenate(ranges), values)

    @property
    def counted(self) -> np.ndarray:
        """Return (M,), True where an element has a range, so that its error is a share of it."""
        return np.isfinite(self.ranges)

    def measure(self, predicted: np.ndarray, recorded: np.ndarray) -> np.ndarray:
        """Return errors (..., M) of predicted actions (..., A) beside recorded ones (..., A)."""
        parts: list[np.ndarray] = []
        for key, place in self.spec.slices().items():
            field = self.spec.actions[key]
            ours = np.asarray(predicted[..., place], float)
            theirs = np.asarray(recorded[..., place], float)
            if field.kind == "quaternion":
                parts.append(rotation_between(ours, theirs)[..., None])
            elif field.kind == "discrete":
                parts.append(self._is_wrong(key, ours, theirs).astype(float))
            else:
                is_angle = np.full(field.size, field.kind == "angle")
                parts.append(np.abs(shorter_way(ours - theirs, is_angle)))
        return np.concatenate(parts, -1)

    def mean_share(self, errors: np.ndarray) -> np.ndarray:
        """Return the mean (...) over elements of errors (..., M) as shares of their ranges.

        It is NaN where no element has a range.
        """
        counted = self.counted
        if not counted.any():
            return np.full(errors.shape[:-1], np.nan)
        return (errors[..., counted] / self.ranges[counted]).mean(-1)

    def _is_wrong(self, key: str, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        wrong = np.empty(ours.shape, bool)
        for index, valid in enumerate(self.values[key]):
            wrong[..., index] = _nearest(valid, ours[..., index]) != theirs[..., index]
        return wrong


def measure_ranges(field: Field, recorded: np.ndarray) -> np.ndarray:
    """Return the range of each number that errs, of recorded values (N, size); NaN for constants.

    Angles are taken about their mean direction. Rotations have twice the angle from their mean that
    all but 2 % of them keep within, at most pi. A discrete element has 1.
    """
    if field.kind == "quaternion":
        away = rotation_between(recorded, mean_rotation(recorded))
        width = 2 * np.percentile(away, HIGHEST - LOWEST) or 2 * away.max()
        return np.array([min(width, np.pi) if width > 1e-6 else np.nan])
    if field.kind == "discrete":
        changes = recorded.min(0) < recorded.max(0)
        return np.where(changes, 1.0, np.nan)
    if field.kind == "angle":
        mean = np.arctan2(np.sin(recorded).mean(0), np.cos(recorded).mean(0))
        recorded = shorter_way(recorded - mean, np.full(field.size, True))
    lowest = recorded.min(0)
    highest = recorded.max(0)
    widest = highest - lowest
    low, high = np.percentile(recorded, (LOWEST, HIGHEST), axis=0)
    width = np.where(high > low, high - low, widest)
    width = np.maximum(width, NARROWEST * width.max())
    magnitude = np.maximum(np.abs(lowest), np.abs(highest))
    return np.where(widest > 1e-6 + 1e-5 * magnitude, width, np.nan)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle (...) [rad], 0 to pi, between rotations given as quaternions (..., 4).

    They need not have length one. The angle comes from both diagonals of the rhombus between them,
    so that it is exact where they are equal; q and -q are the same.
    """
    ours = _normalise(a)
    theirs = _normalise(b)
    apart = np.linalg.norm(ours - theirs, axis=-1)
    together = np.linalg.norm(ours + theirs, axis=-1)
    return 4 * np.arctan2(np.minimum(apart, together), np.maximum(apart, together))


def mean_rotation(quaternions: np.ndarray) -> np.ndarray:
    """Return the mean (4,) of rotations (N, 4), to which q and -q are the same.

    It is the leading eigenvector of the sum of q q^T (Markley et al. 2007).
    """
    units = _normalise(quaternions)
    return np.linalg.eigh(units.T @ units)[1][:, -1]


def _normalise(quaternions: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(quaternions, axis=-1, keepdims=True)
    return quaternions / np.where(lengths > 0, lengths, 1)


def _unit_of(field: Field) -> str:
    if field.kind == "discrete":
        return WRONG
    if field.kind == "quaternion":
        return "rad"
    return field.unit


def _nearest(valid: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return which of the valid values (V,), sorted, is the nearest to each of those given."""
    middles = (valid[1:] + valid[:-1]) / 2
    return valid[np.searchsorted(middles, given)]
