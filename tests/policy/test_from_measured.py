"""Chunks that are learnt as differences from what is measured when they begin."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError, ConfigError, Field, Spec
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.evaluation.held_out_error import HeldOutError
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.policy_folder import write_spec
from fewstep.policy.training.config import TrainConfig
from fewstep.policy.training.train import train

HORIZON = 4
ENDS = np.array([7, 20])
SPEC = Spec(
    {
        "joints": Field((2,), "rad"),
        "yaw": Field((1,), "rad", "angle"),
        "tilt": Field((4,), kind="quaternion"),
        "grip": Field((1,)),
    },
    {
        "joints": Field((2,), "rad", measured_by="joints"),
        "yaw": Field((1,), "rad", "angle", measured_by="yaw"),
        "tilt": Field((4,), kind="quaternion", measured_by="tilt"),
        "grip": Field((1,), kind="discrete", measured_by="grip"),
        "force": Field((1,), "N"),
    },
    policy_hz=10,
)
CONFIG = PolicyConfig(
    horizon=HORIZON,
    action_steps=2,
    from_measured=True,
    net=UnetConfig(channels=(8,), kernel=3, groups=2, time_size=4, condition=4, prefix=True),
)
LINEAR = Spec(
    {"joints": Field((3,), "rad")}, {"joints": Field((3,), "rad", measured_by="joints")}, 10
)


def draw_data(count: int = 20) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def draw_rotations() -> np.ndarray:
        rotations = rng.normal(size=(count, 4))
        rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
        return rotations * np.where(rotations[:, :1] < 0, -1, 1)

    data = {
        "joints": rng.normal(size=(count, 2)),
        "yaw": rng.uniform(-3, 3, (count, 1)),
        "tilt": draw_rotations(),
        "grip": rng.integers(0, 2, (count, 1)),
    }
    near = data["joints"] + 0.1 * rng.normal(size=(count, 2))
    yaw = rng.uniform(-3, 3, (count, 1))
    force = rng.normal(size=(count, 1))
    data["action"] = np.concatenate([near, yaw, draw_rotations(), data["grip"], force], 1)
    return {key: values.astype(np.float32) for key, values in data.items()}


def history(data: dict[str, np.ndarray], frames: list[int]) -> dict[str, Tensor]:
    """Return two observations up to each frame; the earlier one is nonsense on purpose."""
    obs = {}
    for key in SPEC.states:
        latest = torch.from_numpy(data[key][frames])
        obs[key] = torch.stack([latest + 5, latest], 1)
    return obs


def fit(data: dict[str, np.ndarray], horizon: int = HORIZON) -> Normaliser:
    return Normaliser.fit(SPEC, data, ENDS, horizon)


def test_chunks_come_back_whatever_their_kind() -> None:
    data = draw_data()
    normaliser = fit(data)
    frames = [0, 3, 8, 16]
    chunks = torch.from_numpy(np.stack([data["action"][f : f + HORIZON] for f in frames]))
    obs = history(data, frames)
    back = normaliser.decode_chunks(normaliser.encode_chunks(chunks, obs), obs)
    torch.testing.assert_close(back, chunks, rtol=0, atol=2e-5)


def test_zero_is_to_hold_what_is_measured() -> None:
    data = draw_data()
    normaliser = fit(data)
    obs = history(data, [2, 9])
    actions = normaliser.decode_chunks(torch.zeros(2, HORIZON, normaliser.action_size), obs)
    inside = actions[..., :2]  # what is measured may lie outside of what was ever commanded
    low = torch.from_numpy(data["action"][:, :2].min(0))
    high = torch.from_numpy(data["action"][:, :2].max(0))
    held = obs["joints"][:, -1:].expand(-1, HORIZON, -1).clamp(low, high)
    assert ((inside - held).abs() <= 0.05 * (high - low)).all()
    for key, place in (("yaw", slice(2, 3)), ("tilt", slice(3, 7))):
        expected = obs[key][:, -1:].expand(-1, HORIZON, -1)
        torch.testing.assert_close(actions[..., place], expected, rtol=0, atol=1e-5)


def test_what_nothing_measures_and_what_is_discrete_is_learnt_as_it_is() -> None:
    data = draw_data()
    chunks = torch.from_numpy(data["action"][:HORIZON])[None]
    obs = history(data, [0])
    plain = fit(data, 0).encode_chunks(chunks, obs)
    differences = fit(data).encode_chunks(chunks, obs)
    torch.testing.assert_close(differences[..., -2:], plain[..., -2:])
    assert not torch.allclose(differences[..., :-2], plain[..., :-2])


def test_each_step_ahead_has_the_scale_of_its_differences() -> None:
    data = draw_data()
    normaliser = fit(data)
    low, high = data["action"][:, :2].min(0), data["action"][:, :2].max(0)
    for ahead in range(HORIZON):
        differences = []
        for frame in range(len(data["action"])):
            last = ENDS[frame < ENDS][0] - 1
            action = data["action"][min(frame + ahead, last), :2]
            differences.append(2 * (action - data["joints"][frame]) / (high - low))
        expected = 2 * np.sqrt(np.mean(np.square(differences), 0))
        found = normaliser.get_buffer("difference_scale")[ahead, :2].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_acting_keeps_the_prefix_and_travels_in_a_checkpoint(tmp_path: Path) -> None:
    data = draw_data()
    policy = Policy(SPEC, CONFIG, fit(data))
    save_policy(policy, tmp_path, {})
    loaded = load_policy(tmp_path)
    obs = history(data, [1, 10])
    noise = torch.randn(1, 2, HORIZON, policy.noise_size, generator=Generator().manual_seed(0))
    prefix = torch.from_numpy(np.stack([data["action"][1:5], data["action"][10:14]]))
    lengths = torch.tensor([2.0, 1.0])
    actions = policy.eval().act(obs, noise, prefix, lengths)
    assert torch.equal(actions[0, :2], prefix[0, :2]) and torch.equal(actions[1, 0], prefix[1, 0])
    assert torch.equal(loaded.act(obs, noise, prefix, lengths), actions)
    again = loaded.with_sampler(loaded.config.drawn_by)
    assert torch.equal(again.act(obs, noise, prefix, lengths), actions)


def test_what_measures_an_action_cannot_change_once_it_is_learnt(tmp_path: Path) -> None:
    save_policy(Policy(SPEC, CONFIG, fit(draw_data())), tmp_path, {})
    before = (tmp_path / "policy.json").read_bytes()
    joints = replace(SPEC.actions["joints"], measured_by="")
    other = replace(SPEC, actions={**SPEC.actions, "joints": joints})
    with pytest.raises(CheckpointError, match=r"policy.json.*'joints' as a difference"):
        write_spec(tmp_path, other)
    assert (tmp_path / "policy.json").read_bytes() == before
    meta = json.loads(before)
    assert meta["config"]["from_measured"] is True


def test_it_needs_an_action_that_is_measured() -> None:
    joints = replace(LINEAR.actions["joints"], measured_by="")
    with pytest.raises(ConfigError, match=r"from_measured.*fewstep spec"):
        Policy(replace(LINEAR, actions={"joints": joints}), CONFIG)


def test_statistics_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="differences"):
        Policy(SPEC, CONFIG, fit(draw_data(), 0))


@pytest.mark.parametrize("objective", ["eps", "v", "x0", "flow"])
def test_no_default_sampler_clips_differences(objective: str) -> None:
    if objective == "eps":
        with pytest.raises(ConfigError, match="no range to clip to"):
            replace(CONFIG, objective=objective)
    else:
        assert not replace(CONFIG, objective=objective).drawn_by.clip


def record_postures(path: Path) -> Path:
    """Write episodes of joints that move a little, each about a posture of its own."""
    rng = np.random.default_rng(0)
    with DemoStore.create(path, LINEAR) as store:
        for _ in range(40):
            phase = rng.uniform(0, 6) + np.arange(21)[:, None] / 3
            joints = (rng.uniform(-1, 1, 3) + 0.02 * np.sin(phase)).astype(np.float32)
            data = {"joints": joints[:-1], "action": joints[1:], "time": np.arange(20) / 10}
            store.append(Episode(data, LINEAR))
    return path


def test_small_movements_about_many_postures_are_learnt_sooner(tmp_path: Path) -> None:
    data = record_postures(tmp_path / "demos")
    errors = {}
    for from_measured in (False, True):
        net = UnetConfig(channels=(16,), kernel=3, groups=4, time_size=8, condition=16)
        model = replace(CONFIG, from_measured=from_measured, net=net)
        config = TrainConfig(steps=300, batch=64, warmup=20, held_out=0.2, threads=1, model=model)
        out = tmp_path / str(from_measured)
        train(data, out, config, held_out_error=HeldOutError(data))
        last = (out / "log.jsonl").read_text().splitlines()[-1]
        errors[from_measured] = json.loads(last)["held_out_error"]
    assert errors[True] < errors[False] / 3
