"""What a training leaves, and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import (
    CAMERA,
    CONFIG,
    SPEC,
    TINY,
    rows,
    weights,
    write,
)

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError, ConfigError, DataError, Field, Spec
from fewstep.envs.schema import to_plain
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.evaluation.held_out_error import HeldOutError
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy
from fewstep.policy.policy_folder import META, MODEL, read_meta
from fewstep.policy.training.log import LOG
from fewstep.policy.training.train import RESUME, TrainConfig, train


def test_loss_falls(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=250, batch=16, lr=1e-2, save_seconds=60, ema=0.99)
    policy = train(data, tmp_path / "out", config)
    losses = [row["loss"] for row in rows(tmp_path / "out")]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])
    held_out = [row["held_out_loss"] for row in rows(tmp_path / "out") if "held_out_loss" in row]
    assert held_out[-1] < held_out[0]
    assert not any(p.requires_grad for p in policy.parameters())


def test_a_finished_run_holds_policy_log_and_no_leftovers(data: Path, tmp_path: Path) -> None:
    heard = []
    policy = train(data, tmp_path / "out", CONFIG, report=heard.append)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {MODEL, META, LOG} <= names and RESUME not in names
    assert not [n for n in names if n.endswith(".partial")]
    assert [row["step"] for row in rows(tmp_path / "out")] == [5, 10, 15, 20, 24]
    assert heard == rows(tmp_path / "out")
    assert heard[-1]["lr"] == pytest.approx(0, abs=1e-9)
    loaded = load_policy(tmp_path / "out")
    assert all(torch.equal(v, policy.state_dict()[k]) for k, v in loaded.state_dict().items())
    origin = read_meta(tmp_path / "out")["provenance"]
    assert origin["data"] == str(data) and origin["windows"] == 3 * 12
    assert origin["train"] == json.loads(json.dumps(to_plain(CONFIG)))


def test_runs_repeat_bit_by_bit_whatever_the_global_stream(
    data: Path, whole: str, tmp_path: Path
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        before = torch.random.get_rng_state()
        train(data, tmp_path / "again", CONFIG)
        assert torch.equal(torch.random.get_rng_state(), before)
    assert weights(tmp_path / "again") == whole
    train(data, tmp_path / "other", replace(CONFIG, seed=1))
    assert weights(tmp_path / "other") != whole


def test_the_error_on_held_out_episodes_is_logged_and_changes_nothing(
    data: Path, whole: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = replace(CONFIG, log_every=1)
    with torch.random.fork_rng(devices=[]):
        before = torch.random.get_rng_state()
        train(data, out, config, held_out_error=HeldOutError(data))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert weights(out) == whole
    logged = {row["step"]: row["held_out_error"] for row in rows(out) if "held_out_error" in row}
    assert list(logged) == [row["step"] for row in rows(out) if "held_out_loss" in row]
    assert all(0 < error < 3 for error in logged.values())


def test_without_held_out_episodes_no_error_is_logged(data: Path, tmp_path: Path) -> None:
    def never(policy: Policy, samples: object) -> float:
        raise AssertionError

    train(data, tmp_path, replace(CONFIG, steps=2, held_out=0.0), held_out_error=never)
    assert not any("held_out_error" in row for row in rows(tmp_path))


def test_statistics_are_those_of_the_demonstrations(data: Path, tmp_path: Path) -> None:
    store = DemoStore.open(data)
    fitted = Normaliser.fit(
        SPEC, {k: store.array(k) for k in ("pose", "heading", "action")}, store.ends
    )
    train(data, tmp_path / "out", replace(CONFIG, steps=1))
    loaded = load_policy(tmp_path / "out").normaliser
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in fitted.state_dict().items())


def test_images_are_left_out_and_training_says_so(whole: str, tmp_path: Path) -> None:
    spec = replace(SPEC, observations=CAMERA | dict(SPEC.observations))
    said: list[str] = []
    config = replace(CONFIG, cameras=())
    policy = train(write(tmp_path / "demos", spec=spec), tmp_path / "out", config, log=said.append)
    assert policy.spec == SPEC
    assert said == ["trains on heading, pose; leaves out camera"]
    assert weights(tmp_path / "out") == whole


@pytest.mark.parametrize(
    "setting, least", [("steps", 1), ("batch", 1), ("log_every", 1), ("threads", 0)]
)
def test_settings_that_cannot_be_are_refused(setting: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be at least {least}, not {least - 1}"):
        replace(CONFIG, **{setting: least - 1})


def test_a_policy_goes_on_with_more_demonstrations(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", CONFIG)
    more = write(tmp_path / "more", 6)
    other = replace(CONFIG, steps=40, model=replace(TINY, horizon=8, observation_steps=3))
    second = train(more, tmp_path / "second", other, start=tmp_path / "first")
    assert second.config == first.config
    for k, v in first.normaliser.state_dict().items():
        assert torch.equal(second.normaliser.state_dict()[k], v)
    assert weights(tmp_path / "second") != weights(tmp_path / "first")
    assert read_meta(tmp_path / "second")["provenance"]["windows"] == 4 * 12
    assert all(
        torch.equal(v, load_policy(tmp_path / "first").state_dict()[k])
        for k, v in first.state_dict().items()
    )


def test_going_on_starts_from_the_weights_of_the_policy(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", CONFIG)
    still = replace(CONFIG, steps=1, lr=0.0)
    second = train(data, tmp_path / "second", still, start=tmp_path / "first")
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())


def test_going_on_with_promises_begins_as_the_same_policy(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", CONFIG)
    model = replace(CONFIG.model, net=replace(TINY.net, prefix=True))
    second = train(
        data,
        tmp_path / "second",
        replace(CONFIG, steps=1, lr=0.0, model=model),
        start=tmp_path / "first",
    )
    assert second.config == replace(first.config, net=replace(first.config.net, prefix=True))
    obs = {
        key: torch.randn(3, TINY.observation_steps, *f.shape)
        for key, f in SPEC.observations.items()
    }
    noise = torch.randn(first.config.drawn_by.noises, 3, TINY.horizon, first.noise_size)
    np.testing.assert_allclose(first.act(obs, noise), second.act(obs, noise), atol=1e-6)
    train(data, tmp_path / "third", replace(CONFIG, model=model), start=tmp_path / "second")


def test_a_policy_of_another_robot_cannot_go_on(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "first", replace(CONFIG, steps=1))
    spec = replace(SPEC, policy_hz=20)
    with pytest.raises(
        CheckpointError, match=r"does not fit the demonstrations at .*policy_hz is 20"
    ):
        train(
            write(tmp_path / "other", spec=spec), tmp_path / "out", CONFIG, start=tmp_path / "first"
        )


@pytest.mark.parametrize(
    "store, says",
    [
        (lambda path: write(path, 0), "holds no episodes"),
        (lambda path: path, "there are no demonstrations"),
    ],
)
def test_demonstrations_that_teach_nothing_are_refused(
    store: Callable, says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        train(store(tmp_path / "demos"), tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_holding_out_everything_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no episode is left to train on with held_out=1"):
        train(data, tmp_path / "out", replace(CONFIG, held_out=1.0))


def test_episodes_shorter_than_a_chunk_are_learnt_from(tmp_path: Path) -> None:
    short = write(tmp_path / "demos", 3, frames=2)
    policy = train(short, tmp_path / "out", replace(CONFIG, steps=2))
    assert policy.config.horizon > 2


def test_two_trainings_never_share_a_folder(data: Path, tmp_path: Path) -> None:
    refused = []

    def begin_another(row: dict[str, float]) -> None:
        with pytest.raises(DataError, match="out is being written already"):
            train(data, tmp_path / "out", CONFIG)
        refused.append(row)

    train(data, tmp_path / "out", CONFIG, report=begin_another)
    assert refused == rows(tmp_path / "out")


def test_a_training_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train(tmp_path / "none", tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_numbers_that_are_none_stop_the_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loss is no number any more at step"):
        train(data, tmp_path / "out", replace(CONFIG, lr=1e38, warmup=0, clip=1e30))
    assert not (tmp_path / "out" / MODEL).exists()


def test_a_network_with_a_prefix_goes_on_from_promised_actions(tmp_path: Path) -> None:
    """Nothing that is seen tells up from down; the first action does."""
    spec = Spec({"pose": Field((1,), "m")}, {"reach": Field((1,), "m")}, policy_hz=10)
    with DemoStore.create(tmp_path / "demos", spec) as store:
        for sign in (-1.0, 1.0) * 4:
            data = {
                "pose": np.zeros((12, 1)),
                "action": np.full((12, 1), sign),
                "time": np.arange(12) / 10,
            }
            store.append(Episode(data, spec))
    model = replace(TINY, net=replace(TINY.net, channels=(8, 16), condition=8, prefix=True))
    config = TrainConfig(steps=300, batch=64, lr=1e-2, warmup=20, ema=0.95, held_out=0, model=model)
    policy = train(tmp_path / "demos", tmp_path / "run", config)
    obs = {"pose": torch.zeros(2, 2, 1)}
    noise = torch.randn(1, 2, 4, 1, generator=torch.Generator().manual_seed(0))
    prefix = torch.tensor([-1.0, 1.0])[:, None, None].expand(2, 4, 1)
    chunks = policy.act(obs, noise, prefix, torch.tensor([1, 2]))[..., 0]
    torch.testing.assert_close(chunks, prefix[..., 0], atol=0.3, rtol=0)


def test_half_of_the_chunks_are_trained_without_a_prefix_the_rest_with_any_that_may_be() -> None:
    policy = Policy(
        SPEC, replace(TINY, horizon=8, action_steps=5, net=replace(TINY.net, prefix=True))
    )
    prefix_length = policy.draw_prefix_length(10_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(prefix_length.long(), minlength=4) / len(prefix_length)
    torch.testing.assert_close(
        shares, torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6]), atol=0.02, rtol=0
    )
