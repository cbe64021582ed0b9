"""Train a policy on demonstrations of your own: arrays in, a policy out.

The arrays here are drawn: an arm of two joints goes to a cup, as somebody would show it. Put yours
in their place. Run `python docs/examples/own_demonstrations.py [folder]`; it takes half a minute.
"""

import sys
from pathlib import Path

import numpy as np

from fewstep.demos import DemoStore, Episode
from fewstep.demos.doctor.check import check
from fewstep.envs import Field, Spec
from fewstep.policy import PolicyConfig
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.training.train import TrainConfig, train

HZ = 20

# What is measured and what is commanded, once: shapes, units, limits. It travels with data and
# policy.
SPEC = Spec(
    observations={
        "joints": Field((2,), "rad", names=("shoulder", "elbow")),
        "cup": Field((2,), "m"),
    },
    actions={
        "joints": Field(
            (2,),
            "rad",
            low=(-2.0, -2.0),
            high=(2.0, 2.0),
            velocity=(2.0, 2.0),
            acceleration=(10.0, 10.0),
            measured_by="joints",
        )
    },
    policy_hz=HZ,
)


def demonstration(seed: int, seconds: float = 2.2) -> dict[str, np.ndarray]:
    """Return one demonstration: per key (T, size), times in seconds."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1, 1, 2)
    cup = rng.uniform(-1, 1, 2)
    time = np.arange(0, seconds, 1 / HZ)
    progress = np.minimum(time / 2, 1)[:, None]
    joints = start + (cup - start) * (3 * progress**2 - 2 * progress**3)
    return {
        "joints": joints.astype(np.float32),
        "cup": np.tile(cup, (len(time), 1)).astype(np.float32),
        "action": np.concatenate([joints[1:], joints[-1:]]).astype(np.float32),  # seen next
        "time": time,
    }


def main(folder: Path) -> None:
    """Record, check, train, and compare one chunk with what was demonstrated."""
    with DemoStore.create(folder / "demos", SPEC, {"source": "drawn"}) as store:
        for seed in range(40):
            store.append(Episode(demonstration(seed), SPEC))

    store = DemoStore.open(folder / "demos")
    for finding in check(store):
        print(f"{finding.level}: {finding.key}: {finding.message}")

    small = UnetConfig(channels=(32, 64), condition=64)  # the default has 2 M parameters
    config = TrainConfig(steps=400, batch=64, threads=1, model=PolicyConfig(net=small))
    policy = train(folder / "demos", folder / "run", config)
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    print(f"{folder / 'run'}: a policy of {parameters / 1e3:.0f} k parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/own_demonstrations"))
