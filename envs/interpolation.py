"""What lies between two actions of a chunk, and after its last one."""

import numpy as np

from .spec import Spec


def after(last: np.ndarray, spec: Spec) -> np.ndarray:
    """Return what follows the last action (A,) of a chunk: the same targets, no difference."""
    return np.where(spec.relative_mask(), 0.0, last)


def interpolate(spec: Spec, a: np.ndarray, b: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """Return what lies between actions a and b (..., A); weight: of b, a number or (..., 1).

    Angles go the short way round, rotations on the sphere, discrete fields are held at a. Relative
    fields are those of the nearer action: on a clock with jitter each difference is then sent just
    once.
    """
    out = a.copy()
    for part, f in zip(spec.slices().values(), spec.actions.values(), strict=True):
        x, y = a[..., part], b[..., part]
        if f.relative:
            out[..., part] = np.where(np.less(weight, 0.5), x, y)
        elif f.kind == "angle":
            z = x + weight * ((y - x + np.pi) % (2 * np.pi) - np.pi)
            out[..., part] = np.where(np.abs(z) <= np.pi, z, (z + np.pi) % (2 * np.pi) - np.pi)
        elif f.kind == "quaternion":
            same = np.sum(x * y, -1, keepdims=True) >= 0  # as -y, which is the same rotation
            mean = (1 - weight) * x + weight * np.where(same, y, -y)
            out[..., part] = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
        elif f.kind != "discrete":
            out[..., part] = x + weight * (y - x)
    return out
