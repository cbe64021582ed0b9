"""Small trainings, and what they leave."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import Field, Spec
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import PolicyConfig
from fewstep.policy.policy_folder import MODEL
from fewstep.policy.training.log import LOG
from fewstep.policy.training.train import RESUME, TrainConfig, train

SPEC = Spec(
    {"pose": Field((2,), "m"), "heading": Field((1,), "rad", "angle")},
    {"reach": Field((2,), "m")},
    policy_hz=10,
)
CAMERA = {"camera": Field((4, 6, 3), kind="image")}
TINY = PolicyConfig(
    horizon=4,
    action_steps=2,
    net=UnetConfig(channels=(4, 8), kernel=3, groups=2, time_size=4, condition=4),
)
CONFIG = TrainConfig(  # it saves after every step; rounding depends on the threads
    steps=24,
    batch=8,
    lr=3e-3,
    warmup=5,
    held_out=0.25,
    save_seconds=0,
    log_every=5,
    threads=1,
    model=TINY,
)


def make(seed: int, spec: Spec = SPEC, frames: int = 12) -> Episode:
    """The arm reaches for a point that depends on its pose."""
    rng = np.random.default_rng(seed)
    pose = np.cumsum(rng.normal(0, 0.1, (frames, 2)), 0) + rng.normal(size=2)
    data = {"pose": pose, "heading": rng.uniform(-3, 3, (frames, 1)), "action": 2 * pose[:, ::-1]}
    data |= {
        "camera": rng.integers(0, 256, (frames, 4, 6, 3), np.uint8),
        "time": np.arange(frames) / 10,
    }
    return Episode(
        {k: v for k, v in data.items() if k in {*spec.observations, "action", "time"}}, spec
    )


def write(path: Path, episodes: int = 4, spec: Spec = SPEC, **options) -> Path:
    with DemoStore.create(path, spec) as store:
        for seed in range(episodes):
            store.append(make(seed, spec, **options))
    return path


def weights(out: Path) -> str:
    return sha256((out / MODEL).read_bytes()).hexdigest()


def saved_step(out: Path) -> int:
    """The step at which an unfinished run was saved last, -1 where it never was."""
    if not (out / RESUME).exists():
        return -1
    with safe_open(out / RESUME, "pt") as file:
        return int(file.metadata()["step"])


def finished(out: Path) -> bool:
    return (out / MODEL).exists() and not (out / RESUME).exists()


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def stopped(data: Path, out: Path, config: TrainConfig = CONFIG, at: int = 10, **options) -> None:
    """Leave an unfinished run in `out`."""

    def report(row: dict[str, float]) -> None:
        if row["step"] == at:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(data, out, config, report=report, **options)
    assert saved_step(out) == at - 1
