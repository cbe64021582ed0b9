"""Smoothness: seams and jerk of what was sent, in halves of the demonstrated range."""

import numpy as np
import pytest

from fewstep.envs import Command, Field, Obs, Spec, Step
from fewstep.envs.chunk import Chunk
from fewstep.policy.evaluation.smoothness import Smoothness
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec(
    {"x": Field((1,), "m")},
    {"x": Field((1,), "m"), "grip": Field((1,), kind="discrete")},
    policy_hz=10,
)


def smoothness() -> Smoothness:
    data = {"x": np.array([[-2.0], [2.0]]), "action": np.array([[-2.0, 0.0], [2.0, 1.0]])}
    normaliser = Normaliser.fit(
        SPEC, {k: v.astype(np.float32) for k, v in data.items()}, np.array([2])
    )
    net = UnetConfig(channels=(4, 8), kernel=3, groups=2, time_size=4, condition=4)
    policy = Policy(SPEC, PolicyConfig(horizon=4, action_steps=2, net=net), normaliser)
    return Smoothness(SPEC, policy.normaliser.encode_actions)


def chunk(time: float, *x: float) -> Chunk:
    return Chunk(0, time, 0.1, np.array([[v, 0.0] for v in x]))


def step(time: float, x: float, grip: float = 0.0) -> Step:
    action = np.array([x, grip])
    return Step(Obs(time, {}, {}), Command(action, "policy"), action, 0.0)


def test_a_seam_is_what_the_new_chunk_does_otherwise_than_the_old_one_would() -> None:
    found, old, new = smoothness(), chunk(0.0, 0, 0.1, 0.2, 0.3), chunk(0.1, 0.5, 0.6, 0.7, 0.8)
    found.add(step(0.0, 0.0), old)
    found.add(step(0.1, 0.1), old)
    found.add(step(0.2, 0.6), new)
    assert found.result() == {"seam": pytest.approx(0.4 / 2, abs=1e-6), "jerk": None}


def test_jerk_is_the_third_difference_and_a_gripper_has_none() -> None:
    found, plan = smoothness(), chunk(0.0, 0)
    for k, x in enumerate([0, 0, 0, 2, 0, 0]):
        found.add(step(k / 10, x, grip=k % 2), plan)
    assert found.result() == {
        "seam": None,
        "jerk": pytest.approx(np.sqrt(np.mean(np.square([1, -3, 3]))), abs=1e-5),
    }


def test_nothing_heard_is_nothing_found() -> None:
    assert smoothness().result() == {"seam": None, "jerk": None}
