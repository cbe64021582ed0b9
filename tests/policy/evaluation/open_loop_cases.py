"""A robot with every kind of action, demonstrations of it, and policies that nobody trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.demos.windows import split_episodes
from fewstep.envs import Field, Spec
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.engines.eager import shape_of
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec(
    {"pose": Field((2,), "m"), "frame": Field((1,))},  # the second counts the frames of the store
    {
        "reach": Field((2,), "m", measured_by="pose"),
        "turn": Field((1,), "rad", "angle"),
        "tool": Field((4,), kind="quaternion"),
        "grip": Field((1,), kind="discrete"),
        "step": Field((1,), "m", relative=True),
    },
    policy_hz=10,
)
CONFIG = PolicyConfig(
    horizon=4,
    action_steps=2,
    net=UnetConfig(channels=(4, 8), kernel=3, groups=2, time_size=4, condition=4),
)
LENGTHS = (11, 8, 9, 12)


def make_episode(length: int, first: int, spec: Spec = SPEC, lift: float = 0.0) -> Episode:
    """An episode whose frames are counted from `first` on; its reach is lifted by so much."""
    rng = np.random.default_rng(first)
    half = rng.uniform(-1, 1, length)
    grip = np.arange(length)[:, None] // 3 % 2
    actions = {
        "reach": rng.normal(size=(length, 2)) + lift,
        "turn": rng.uniform(-3, 3, (length, 1)),
        "tool": np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], 1),
        "grip": grip,
        "step": grip - 0.5,
    }
    data: dict[str, Any] = {
        "pose": rng.normal(size=(length, 2)),
        "frame": first + np.arange(length)[:, None],
        "action": np.concatenate([actions[key] for key in spec.actions], 1),
        "time": np.arange(length) / 10,
    }
    for camera, field in spec.images.items():
        data[camera] = rng.integers(0, 256, (length, *field.shape), np.uint8)
    wanted = {*spec.observations, "action", "time"}
    return Episode({key: value for key, value in data.items() if key in wanted}, spec)


def write_store(path: Path, lengths: tuple[int, ...] = LENGTHS, spec: Spec = SPEC) -> Path:
    with DemoStore.create(path, spec) as store:
        for length in lengths:
            store.append(make_episode(length, store.frames, spec))
    return path


def write_policy(
    out: Path,
    data: Path,
    /,
    held_out: float = 0.5,
    seed: int = 0,
    config: PolicyConfig = CONFIG,
    spec: Spec | None = None,
    **provenance: Any,
) -> Path:
    """Save a policy as a training on `data` leaves it, with weights that mean nothing."""
    store = DemoStore.open(data)
    spec = spec or store.spec
    arrays = {key: store.array(key) for key in [*spec.states, "action"]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(spec, config, Normaliser.fit(spec, arrays, store.ends))
    kept, _ = split_episodes(len(store), held_out, seed)
    origin: Mapping[str, Any] = {
        "data": str(data),
        "windows": int(np.diff(store.ends, prepend=0)[kept].sum()),
        "train": {"held_out": held_out, "seed": seed},
    }
    save_policy(policy, out, {**origin, **provenance})
    return out


class Knowing:
    """An engine that knows what was recorded, and is off by a known amount."""

    name = "knowing"
    batches = True

    def __init__(self, policy: Policy, data: Path, offset: np.ndarray, after_end: float) -> None:
        store = DemoStore.open(data)
        self._actions = store.array("action")
        self._ends = store.ends
        self._offset = offset
        self._after_end = after_end
        self.spec = policy.spec
        self.shape = shape_of(policy, policy.config.drawn_by)
        self.asked: list[int] = []

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        frames = obs["frame"][:, -1, 0].round().astype(int)
        self.asked += frames.tolist()
        ahead = frames[:, None] + np.arange(self.shape.horizon)
        end = self._ends[np.searchsorted(self._ends, frames, side="right")]
        chunks = self._actions[np.minimum(ahead, len(self._actions) - 1)] + self._offset
        chunks[ahead >= end[:, None]] += self._after_end
        return chunks.astype(np.float32)
