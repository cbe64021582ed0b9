"""What a policy makes of an observation, computed with numpy alone, whichever engine acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...envs import Field, Spec
from ..field_widths import FARTHEST


@dataclass(frozen=True)
class Embedding:
    """The observation encoder of a policy: states normalised, and two layers with a Mish between.

    low, high: (D,) of the encoded states; first, second: weight (out, in) and bias (out,) of each
    layer.
    """

    low: np.ndarray
    high: np.ndarray
    first_weight: np.ndarray
    first_bias: np.ndarray
    second_weight: np.ndarray
    second_bias: np.ndarray

    def embed(self, spec: Spec, looked: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the condition features (B, C) of observations.

        looked[key]: (B, O, ...) in robot units, of a camera its pictures' features (B, P, F).
        """
        parts = []
        start = 0
        for key, field in spec.states.items():
            history = looked[key]
            encoded = encode_field(field, history.reshape(*history.shape[:2], field.size))
            place = slice(start, start + encoded.shape[-1])
            parts.append(self._scale(encoded, place))
            start = place.stop
        rows = [np.concatenate(parts, -1)] if parts else []
        rows += [looked[camera] for camera in spec.images]
        x = np.concatenate([row.reshape(len(row), -1) for row in rows], 1).astype(np.float32)
        hidden = x @ self.first_weight.T + self.first_bias
        hidden = hidden * np.tanh(np.logaddexp(0, hidden))
        return hidden @ self.second_weight.T + self.second_bias

    def _scale(self, x: np.ndarray, place: slice) -> np.ndarray:
        low, span = self.low[place], self.high[place] - self.low[place]
        scaled = np.where(span > 0, 2 * (x - low) / np.where(span > 0, span, 1) - 1, 0)
        return np.clip(scaled, -FARTHEST, FARTHEST)


def encode_field(field: Field, x: np.ndarray) -> np.ndarray:
    """Return x (..., size) as (..., width): angles and rotations without jumps, as in training."""
    x = x.astype(np.float32)
    if field.kind == "angle":
        return np.concatenate([np.cos(x), np.sin(x)], -1)
    if field.kind != "quaternion":
        return x
    w, a, b, c = np.moveaxis(x / np.linalg.norm(x, axis=-1, keepdims=True), -1, 0)
    first = [1 - 2 * (b * b + c * c), 2 * (a * b + w * c), 2 * (a * c - w * b)]
    second = [2 * (a * b - w * c), 1 - 2 * (a * a + c * c), 2 * (b * c + w * a)]
    return np.stack(first + second, -1)
