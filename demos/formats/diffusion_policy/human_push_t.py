"""The human Push-T demonstrations of Diffusion Policy, observed as gym-pusht observes."""

from contextlib import AbstractContextManager
from pathlib import Path

from ....envs import DataError
from ....envs.sim.push_t_geometry import SPEC, corners
from ...episode import ACTION
from ..choosing import Choice
from ..source import Source
from .reading import Arrays
from .reading import read as read_buffer

NOTES = {"authors": "Chi et al., Diffusion Policy (2023)", "licence": "MIT"}


def read(path: Path) -> AbstractContextManager[Source]:
    """Read the replay buffer at `path` as corners and agent."""
    choice = Choice(keys=("state",), cameras=(), hz=SPEC.policy_hz)
    return read_buffer(path, choice, SPEC, observe_like_gym, NOTES)


def observe_like_gym(raw: Arrays) -> Arrays:
    """Return what gym-pusht observes of states (T, 5): agent x y, block x y [px], angle [rad]."""
    state = raw["state"]
    if state.shape[1:] != (5,):
        raise DataError(
            f"'state' has {state.shape[1:]} numbers a frame; Push-T has agent x y, block x y angle"
        )
    return {"environment_state": corners(state), "agent_pos": state[:, :2], ACTION: raw[ACTION]}
