"""Normaliser: robot units to about [-1, 1] and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ..envs import DataError, Field, Spec

WIDTH = {"angle": 2, "quaternion": 6 / 4}  # encoded numbers per stored number, where not one
NARROW, FAR = 0.02, 2.0


class Normaliser(nn.Module):
    """Min-max to [-1, 1] per element; its statistics are buffers, so they travel inside the checkpoint.

    Angles become a point on the unit circle and quaternions the first two columns of their rotation matrix (Zhou et al.
    2019), so neither jumps where it wraps. An element whose range is at most 1e-6 + 1e-5 of its magnitude counts as
    constant: it encodes to 0 and decodes to its constant. One that hardly moves beside the others of its field is not
    blown up: its range counts as NARROW of the widest. Observations are clipped to FAR, so that a step beside the
    demonstrations does not look like another world. Decoded angles lie in (-pi, pi], quaternions have w >= 0.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        for group, table in (("observation", spec.observations), ("action", spec.actions)):
            size = sum(width(f) for f in table.values())
            self.register_buffer(f"{group}_low", -torch.ones(size))
            self.register_buffer(f"{group}_high", torch.ones(size))

    @classmethod
    def fit(cls, spec: Spec, data: Mapping[str, np.ndarray], ends: np.ndarray) -> Normaliser:
        """Statistics of data[key] (N, ...), data["action"] (N, A), of episodes that end at `ends` (E,).

        Raises DataError with key, episode and frame where a number is NaN or infinite, or a quaternion has no length.
        """
        out = cls(spec)
        for key, f in spec.observations.items():
            _refuse(key, f, data[key], ends)
        for f, s in out._action_fields():
            _refuse("action", f, data["action"][:, s], ends)
        observed = {k: torch.as_tensor(data[k]) for k in spec.observations}
        out._span("observation", out._expand_observations(observed), spec.observations)
        out._span("action", out._expand_actions(torch.as_tensor(data["action"])), spec.actions)
        return out

    @property
    def observation_size(self) -> int:
        """D, encoded numbers per observation."""
        return len(self.get_buffer("observation_low"))

    @property
    def action_size(self) -> int:
        """Encoded numbers per action."""
        return len(self.get_buffer("action_low"))

    def encode_observations(self, data: Mapping[str, Tensor]) -> Tensor:
        """data[key] (..., *shape) in robot units -> (..., D)."""
        return self._encode("observation", self._expand_observations(data)).clamp(-FAR, FAR)

    def encode_actions(self, actions: Tensor) -> Tensor:
        """(..., A) in robot units -> (..., encoded)."""
        return self._encode("action", self._expand_actions(actions))

    def decode_actions(self, x: Tensor) -> Tensor:
        """(..., encoded) -> (..., A) in robot units."""
        low, high = self.get_buffer("action_low"), self.get_buffer("action_high")
        x = (x + 1) / 2 * (high - low) + low
        fields = list(self.spec.actions.values())
        parts = x.split([width(f) for f in fields], -1)
        return torch.cat([contract(f, part) for f, part in zip(fields, parts, strict=True)], -1)

    def _encode(self, group: str, x: Tensor) -> Tensor:
        low, high = self.get_buffer(f"{group}_low"), self.get_buffer(f"{group}_high")
        span = high - low
        return torch.where(span > 0, 2 * (x - low) / torch.where(span > 0, span, 1) - 1, 0)

    def _expand_observations(self, data: Mapping[str, Tensor]) -> Tensor:
        fields = self.spec.observations
        return torch.cat([expand(f, _flat(f, data[k])) for k, f in fields.items()], -1)

    def _expand_actions(self, actions: Tensor) -> Tensor:
        return torch.cat([expand(f, actions[..., s]) for f, s in self._action_fields()], -1)

    def _action_fields(self) -> list[tuple[Field, slice]]:
        return list(zip(self.spec.actions.values(), self.spec.slices().values(), strict=True))

    def _span(self, group: str, x: Tensor, table: Mapping[str, Field]) -> None:
        low, high = x.amin(0), x.amax(0)
        flat = high - low <= 1e-6 + 1e-5 * torch.maximum(low.abs(), high.abs())
        widest = torch.cat(
            [
                part.amax().expand_as(part)
                for part in (high - low).split([width(f) for f in table.values()])
            ]
        )
        missing = (NARROW * widest - (high - low)).clamp(min=0) / 2
        low, high = torch.where(flat, low, low - missing), torch.where(flat, low, high + missing)
        wraps = torch.cat([torch.full((width(f),), f.kind in WIDTH) for f in table.values()])
        self.get_buffer(f"{group}_low").copy_(torch.where(wraps, -1, low))
        self.get_buffer(f"{group}_high").copy_(torch.where(wraps, 1, high))


def width(f: Field) -> int:
    """Numbers that a field takes once expanded."""
    return int(f.size * WIDTH.get(f.kind, 1))


def expand(f: Field, x: Tensor) -> Tensor:
    """(..., size) -> (..., width): angles as cosine and sine, quaternions as two columns of their matrix."""
    x = x.float()
    if f.kind == "angle":
        return torch.cat([x.cos(), x.sin()], -1)
    if f.kind == "quaternion":
        w, a, b, c = (x / x.norm(dim=-1, keepdim=True)).unbind(-1)
        first = [1 - 2 * (b * b + c * c), 2 * (a * b + w * c), 2 * (a * c - w * b)]
        second = [2 * (a * b - w * c), 1 - 2 * (a * a + c * c), 2 * (b * c + w * a)]
        return torch.stack(first + second, -1)
    return x


def contract(f: Field, x: Tensor) -> Tensor:
    """(..., width) -> (..., size), the inverse of `expand`; any numbers give a valid angle or rotation."""
    if f.kind == "angle":
        cosine, sine = x.chunk(2, -1)
        return torch.atan2(sine, cosine)
    return _quaternion(x) if f.kind == "quaternion" else x


def _quaternion(x: Tensor) -> Tensor:
    a = nn.functional.normalize(x[..., :3], dim=-1)
    b = nn.functional.normalize(x[..., 3:] - (a * x[..., 3:]).sum(-1, keepdim=True) * a, dim=-1)
    c = torch.linalg.cross(a, b)
    # Four candidates, each exact but for the division by its own leading element: take the largest (Shepperd 1978).
    d = torch.stack([a[..., 0], b[..., 1], c[..., 2]], -1)
    trace = d.sum(-1)
    lead = torch.stack([trace, *d.unbind(-1)], -1)
    wx, wy, wz = b[..., 2] - c[..., 1], c[..., 0] - a[..., 2], a[..., 1] - b[..., 0]
    xy, xz, yz = a[..., 1] + b[..., 0], c[..., 0] + a[..., 2], b[..., 2] + c[..., 1]
    x2, y2, z2 = (1 + 2 * d - trace[..., None]).unbind(-1)
    rows = [[1 + trace, wx, wy, wz], [wx, x2, xy, xz], [wy, xy, y2, yz], [wz, xz, yz, z2]]
    q = torch.stack([torch.stack(row, -1) for row in rows], -2)
    pick = lead.argmax(-1)[..., None, None].expand(*lead.shape[:-1], 1, 4)
    q = nn.functional.normalize(q.gather(-2, pick).squeeze(-2), dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def _flat(f: Field, x: Tensor) -> Tensor:
    return x.reshape(*x.shape[: x.ndim - len(f.shape)], f.size)


def _refuse(key: str, f: Field, x: np.ndarray, ends: np.ndarray) -> None:
    rows = x.reshape(len(x), -1)
    bad, what = ~np.isfinite(rows).all(1), "is not finite"
    if f.kind == "quaternion" and not bad.any():
        bad, what = ~rows.any(1), "is no rotation"
    if bad.any():
        frame = int(bad.argmax())
        episode = int(np.searchsorted(ends, frame, side="right"))
        start = int(ends[episode - 1]) if episode else 0
        raise DataError(
            f"{key!r} {what} in episode {episode}, frame {frame - start}: run `fewstep check`"
        )
