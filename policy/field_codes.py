"""How a field of a Spec is written as numbers without jumps, and read back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..envs import Field


def expand_field(field: Field, x: Tensor) -> Tensor:
    """Return x (..., size) as (..., width), in single precision.

    Angles become a point on the unit circle, all cosines before all sines; quaternions the first
    two columns of their rotation matrix (Zhou et al. 2019). So neither jumps where it wraps.
    """
    x = x.float()
    if field.kind == "angle":
        return torch.cat([x.cos(), x.sin()], -1)
    if field.kind == "quaternion":
        return _expand_quaternion(x)
    return x


def contract_field(field: Field, x: Tensor) -> Tensor:
    """Return x (..., width) as (..., size), the inverse of `expand_field`.

    Any numbers give a valid angle in (-pi, pi] or a unit quaternion with w >= 0.
    """
    if field.kind == "angle":
        cosine, sine = x.chunk(2, -1)
        return torch.atan2(sine, cosine)
    if field.kind == "quaternion":
        return _contract_quaternion(x)
    return x


def _expand_quaternion(q: Tensor) -> Tensor:
    """Return the first two columns (..., 6) of the rotation matrix of q = (w, a, b, c) (..., 4)."""
    w, a, b, c = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    first = [1 - 2 * (b * b + c * c), 2 * (a * b + w * c), 2 * (a * c - w * b)]
    second = [2 * (a * b - w * c), 1 - 2 * (a * a + c * c), 2 * (b * c + w * a)]
    return torch.stack(first + second, -1)


def _contract_quaternion(x: Tensor) -> Tensor:
    """Return the unit quaternion (..., 4) of the rotation nearest to two columns x (..., 6).

    a, b, c are the columns of the matrix, made orthonormal by Gram and Schmidt. Each of the four
    candidates is exact but for the division by its own leading element; the one that leads by the
    largest is taken (Shepperd 1978).
    """
    a = nn.functional.normalize(x[..., :3], dim=-1)
    along = (a * x[..., 3:]).sum(-1, keepdim=True)
    b = nn.functional.normalize(x[..., 3:] - along * a, dim=-1)
    c = torch.linalg.cross(a, b)
    diagonal = torch.stack([a[..., 0], b[..., 1], c[..., 2]], -1)
    trace = diagonal.sum(-1)
    x2, y2, z2 = (1 + 2 * diagonal - trace[..., None]).unbind(-1)
    wx = b[..., 2] - c[..., 1]
    wy = c[..., 0] - a[..., 2]
    wz = a[..., 1] - b[..., 0]
    xy = a[..., 1] + b[..., 0]
    xz = c[..., 0] + a[..., 2]
    yz = b[..., 2] + c[..., 1]
    candidates = torch.stack(
        [
            torch.stack([1 + trace, wx, wy, wz], -1),
            torch.stack([wx, x2, xy, xz], -1),
            torch.stack([wy, xy, y2, yz], -1),
            torch.stack([wz, xz, yz, z2], -1),
        ],
        -2,
    )
    leads = torch.cat([trace[..., None], diagonal], -1)
    best = leads.argmax(-1)[..., None, None].expand(*leads.shape[:-1], 1, 4)
    q = nn.functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)
