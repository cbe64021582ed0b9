"""The human Push-T demonstrations of Diffusion Policy, observed as gym-pusht observes."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....envs import DataError
from ....envs.sim.push_t_geometry import PIXELS_SPEC, SPEC, corners
from ...episode import ACTION
from ...storage.images import EncodedImages
from ..choosing import Choice
from ..source import Source
from .reading import Arrays, round_pixels
from .reading import read as read_buffer

NOTES = {"authors": "Chi et al., Diffusion Policy (2023)", "licence": "MIT"}


def read(path: Path, choice: Choice) -> AbstractContextManager[Source]:
    """Read the replay buffer at `path` as corners and agent; nothing is left to choose."""
    taken = replace(choice, keys=("state",), cameras=(), hz=SPEC.policy_hz)
    return read_buffer(path, taken, SPEC, observe_like_gym, NOTES)


def read_pixels(path: Path, choice: Choice) -> AbstractContextManager[Source]:
    """Read the replay buffer at `path` as pictures and agent; `choice` says how to keep them."""
    taken = replace(choice, keys=("state",), cameras=("img",), hz=PIXELS_SPEC.policy_hz)
    return read_buffer(path, taken, PIXELS_SPEC, observe_pixels, NOTES)


def observe_like_gym(raw: Arrays) -> Arrays:
    """Return what gym-pusht observes of states (T, 5): agent x y, block x y [px], angle [rad]."""
    state = _require_states(raw)
    return {"environment_state": corners(state), "agent_pos": state[:, :2], ACTION: raw[ACTION]}


def observe_pixels(raw: Arrays) -> Arrays:
    """Return the recorded pictures, (T, 96, 96, 3) from 0 to 255, as uint8, and the agent [px]."""
    state = _require_states(raw)
    images = raw["img"]
    expected = PIXELS_SPEC.observations["pixels"].shape
    if images.shape[1:] != expected:
        raise DataError(f"'img' has pictures of {images.shape[1:]}; Push-T has {expected}")
    pixels = images if isinstance(images, EncodedImages) else round_pixels("img", images)
    return {"pixels": pixels, "agent_pos": state[:, :2], ACTION: raw[ACTION]}


def _require_states(raw: Arrays) -> np.ndarray:
    """Return the states (T, 5); DataError where they are other ones."""
    state = raw["state"]
    if state.shape[1:] != (5,):
        raise DataError(
            f"'state' has {state.shape[1:]} numbers a frame; Push-T has agent x y, block x y angle"
        )
    return state
