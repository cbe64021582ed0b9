"""Engines: numpy in, chunks out, and the same chunks as the policy gives."""

import numpy as np
import pytest
import torch

from fewstep.envs import CheckpointError, ConfigError, Field, Spec
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec(
    {"pose": Field((3,), "m"), "turn": Field((1,), "rad", kind="angle")},
    {"pose": Field((3,), "m"), "turn": Field((1,), "rad", kind="angle")},
    policy_hz=10,
)
NET = UnetConfig(channels=(16, 32), kernel=3, groups=4, time_size=16, condition=16, prefix=True)


@pytest.fixture(scope="module")
def policy() -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(SPEC, PolicyConfig(horizon=8, action_steps=4, net=NET))
    return policy.eval().requires_grad_(False)


def observe(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    pose = rng.normal(size=(rows, 2, 3)).astype(np.float32)
    return {"pose": pose, "turn": pose[..., :1]}


def draw_noise(engine, rows: int) -> np.ndarray:
    arrays, horizon, size = engine.shape.noise
    shape = (arrays, rows, horizon, size)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("sampler", [None, Sampler("ddpm", 3), Sampler(network_evaluations=3)])
@pytest.mark.parametrize("promised", [False, True])
def test_an_engine_says_what_its_policy_says_to_the_last_bit(policy, sampler, promised) -> None:
    engine = EagerEngine(policy, sampler)
    prefix = {}
    if promised:
        actions = np.random.default_rng(2).normal(size=(3, 8, 4)).astype(np.float32)
        prefix = {"prefix": actions, "prefix_length": np.array([0, 2, 4])}
    for _ in range(2):  # the second call finds what the first one kept
        found = engine.predict(observe(3), draw_noise(engine, 3), **prefix)
        tensors = {key: torch.as_tensor(value) for key, value in observe(3).items()}
        promises = {key: torch.as_tensor(value) for key, value in prefix.items()}
        noise = torch.as_tensor(draw_noise(engine, 3))
        wanted = policy.act(tensors, noise, sampler=sampler, **promises)
        assert np.array_equal(found, wanted.numpy())


def test_an_engine_tells_the_shape_of_its_noise(policy) -> None:
    assert EagerEngine(policy).shape.noise == (1, 8, 5)  # an angle has two encoded numbers
    assert EagerEngine(policy, Sampler("ddpm", 4)).shape.noise == (4, 8, 5)


def test_engines_are_loaded_by_name(policy, tmp_path) -> None:
    save_policy(policy, tmp_path, {})
    engine = load_engine(tmp_path, sampler=Sampler(network_evaluations=1))
    assert (engine.spec, engine.shape.horizon) == (policy.spec, 8)
    assert load_engine("pusht").shape.horizon == 16
    with pytest.raises(
        ConfigError,
        match="unknown engine 'warp'; valid: compiled, cpp, eager, fastest, onnx, openvino",
    ):
        load_engine(tmp_path, "warp")
    with pytest.raises(CheckpointError, match="holds no policy"):
        load_engine(tmp_path / "nothing")
