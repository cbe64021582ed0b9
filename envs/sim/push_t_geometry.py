"""Push-T: a disk pushes a T-shaped block onto a target. Here is gym-pusht's geometry, in numpy."""

import numpy as np

from ..spec import Field, Spec

# Corners of the block's bar, then of its stem, in the block's own frame [px], ordered as in
# gym-pusht.
_BAR = ((-60, 0), (60, 0), (60, 30), (-60, 30))
_STEM = ((-15, 30), (15, 30), (15, 120), (-15, 120))
_BLOCK = np.array(_BAR + _STEM, float)  # (8, 2)

_AGENT = Field((2,), "px")
_ACTION = Field((2,), "px", low=(0, 0), high=(512, 512), measured_by="agent_pos")
_HZ = 10.0

# Corners of a block at the wall may lie a few px outside the board, so the observations have no
# bounds.
SPEC = Spec(
    observations={"environment_state": Field((16,), "px"), "agent_pos": _AGENT},
    actions={"action": _ACTION},
    policy_hz=_HZ,
)
# The same seen from above, in gym-pusht's own words.
PIXELS_SPEC = Spec(
    observations={"pixels": Field((96, 96, 3), kind="image"), "agent_pos": _AGENT},
    actions={"action": _ACTION},
    policy_hz=_HZ,
)


def corners(state: np.ndarray) -> np.ndarray:
    """Return gym-pusht's `environment_state`, (T, 16) x y of the block's eight corners [px].

    state: (T, 5) agent x, y [px], block x, y [px], block angle [rad].
    """
    x, y, angle = np.asarray(state, float).T[2:, :, None]  # each (T, 1)
    block_x, block_y = _BLOCK.T
    corner_x = x + block_x * np.cos(angle) - block_y * np.sin(angle)
    corner_y = y + block_x * np.sin(angle) + block_y * np.cos(angle)
    return (
        np.stack([corner_x, corner_y], -1).reshape(-1, 16).astype(np.float32)
    )  # (T, 8, 2) -> (T, 16)
