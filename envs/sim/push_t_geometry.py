"""Push-T: a disk pushes a T-shaped block onto a target. The physics is gym-pusht's; here is its geometry, in numpy."""

import numpy as np

from ..spec import Field, Spec

# Corners of the block's bar, then of its stem, in the block's own frame [px], in the order of gym-pusht.
_BAR = ((-60, 0), (60, 0), (60, 30), (-60, 30))
_STEM = ((-15, 30), (15, 30), (15, 120), (-15, 120))
_BLOCK = np.array(_BAR + _STEM, float)  # (8, 2)

# Corners of a block at the wall may lie a few px outside the board, so the observations have no bounds.
SPEC = Spec(
    observations={"environment_state": Field((16,), "px"), "agent_pos": Field((2,), "px")},
    actions={"action": Field((2,), "px", low=(0, 0), high=(512, 512), measured_by="agent_pos")},
    policy_hz=10,
)


def corners(state: np.ndarray) -> np.ndarray:
    """gym-pusht's `environment_state`, (T, 16) x y of the block's eight corners [px].

    state: (T, 5) agent x, y [px], block x, y [px], block angle [rad].
    """
    x, y, angle = np.asarray(state, float).T[2:, :, None]  # each (T, 1)
    turned = [
        x + _BLOCK[:, 0] * np.cos(angle) - _BLOCK[:, 1] * np.sin(angle),
        y + _BLOCK[:, 0] * np.sin(angle) + _BLOCK[:, 1] * np.cos(angle),
    ]
    return np.stack(turned, -1).reshape(-1, 16).astype(np.float32)  # (T, 8, 2) -> (T, 16)
