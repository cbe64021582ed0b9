import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError, ConfigError, DataError, FewstepError, Field, Spec
from fewstep.envs import atomic_files as files
from fewstep.envs.schema import to_plain
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.normaliser import Normaliser
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.policy_folder import META, MODEL, read_meta
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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "demos")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole")
    train(data, out, CONFIG)
    return weights(out)


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
    assert origin["data"] == str(data) and origin["windows"] == 3 * (12 - 4 + 2)
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
    policy = train(write(tmp_path / "demos", spec=spec), tmp_path / "out", CONFIG, log=said.append)
    assert policy.spec == SPEC
    assert said == ["trains on heading, pose; leaves out camera: no encoder here reads images"]
    assert weights(tmp_path / "out") == whole


class Trainer:
    """The process that forks the trainings to be killed."""

    def __init__(self) -> None:
        script = Path(__file__).parents[2] / "crash_trainer.py"
        self._process = subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(
        self, data: Path, out: Path, config: TrainConfig = CONFIG, **blow: Any
    ) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        message = {"data": str(data), "out": str(out), "config": to_plain(config), **blow}
        print(json.dumps(message), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    out = Trainer()
    yield out
    out.close()


def test_killed_at_random_and_started_again_it_ends_in_the_same_weights(
    trainer, data, whole, tmp_path
) -> None:
    took = trainer.run(data, tmp_path / "timed")
    assert took["code"] == 0 and weights(tmp_path / "timed") == whole
    moments, steps, out = random.Random(0), [], tmp_path / "out"
    while len(steps) < 4 or max(steps) <= 0:
        slack = 1 + len(steps) / 8  # where the machine has become slower since
        ended = trainer.run(data, out, seconds=slack * moments.uniform(0.3, 0.8) * took["seconds"])
        assert ended["code"] in (0, -signal.SIGKILL)
        steps.append(saved_step(out))
        if finished(out):  # so near the end
            assert weights(out) == whole
            shutil.rmtree(out)
    assert trainer.run(data, out)["code"] == 0
    assert weights(out) == whole
    assert [row["step"] for row in rows(out) if row["step"] % 5 == 0] == [5, 10, 15, 20]


def test_killed_at_any_change_of_a_file_it_ends_in_the_same_weights(
    trainer, data, tmp_path
) -> None:
    config = replace(CONFIG, steps=3)
    assert trainer.run(data, tmp_path / "whole", config)["code"] == 0
    boundaries, killed = [1, 3, 8, 12, 14, 17, 22, 26, 29, 32], 0
    for boundary in boundaries:
        out = tmp_path / str(boundary)
        code = trainer.run(data, out, config, boundary=boundary)["code"]
        killed += code == -signal.SIGKILL
        if not finished(out):
            assert trainer.run(data, out, config)["code"] == 0
        assert weights(out) == weights(tmp_path / "whole")
        assert not (out / RESUME).exists()
        assert len({row["step"] for row in rows(out)}) == len(rows(out))
    assert killed > len(boundaries) / 2


def test_an_interrupt_saves_and_the_same_command_goes_on(trainer, data, tmp_path) -> None:
    config, out = replace(CONFIG, steps=2000, batch=4, save_seconds=1e9), tmp_path / "out"
    moment, steps = 0.2, [0]
    while len(steps) < 3:
        assert trainer.run(data, out, config, seconds=moment, blow="SIGINT")["code"] == 130
        if (step := saved_step(out)) > steps[-1]:
            steps.append(step)
        else:
            moment *= 1.5  # on a slow machine the signal came before the first step
    assert steps[-1] < config.steps


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: int) -> None:
    """Send this process SIGINT in the middle of something that training does, in its `after`-th call."""
    original, calls = getattr(owner, name), []

    def patched(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == after:
            signal.raise_signal(signal.SIGINT)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, patched)


@pytest.mark.parametrize(
    "owner, name, after, step",
    [
        (EMAModel, "step", 7, 7),
        (torch.optim.AdamW, "step", 7, 7),
        (EMAModel, "restore", 1, 24),
        (EMAModel, "step", 24, 24),
    ],
)
def test_an_interrupt_waits_for_a_whole_step(
    owner, name, after, step, data, whole, tmp_path, monkeypatch
) -> None:
    config = replace(CONFIG, save_seconds=1e9)
    out, handler = tmp_path / "out", signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_once(patch, owner, name, after)
        with pytest.raises(KeyboardInterrupt):
            train(data, out, config)
    assert saved_step(out) == step
    assert signal.getsignal(signal.SIGINT) is handler
    train(data, out, config)
    assert weights(out) == whole


def test_an_ignored_interrupt_stays_ignored(
    data: Path, whole: str, tmp_path: Path, monkeypatch
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupt_once(monkeypatch, EMAModel, "step", 3)
        train(data, tmp_path, CONFIG)
    finally:
        signal.signal(signal.SIGINT, before)
    assert weights(tmp_path) == whole


def stopped(data: Path, out: Path, config: TrainConfig = CONFIG, at: int = 10, **options) -> None:
    """Leave an unfinished run in `out`."""

    def report(row: dict[str, float]) -> None:
        if row["step"] == at:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(data, out, config, report=report, **options)
    assert saved_step(out) == at - 1


@pytest.mark.parametrize(
    "setting, least", [("steps", 1), ("batch", 1), ("log_every", 1), ("threads", 0)]
)
def test_settings_that_cannot_be_are_refused(setting: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be at least {least}, not {least - 1}"):
        replace(CONFIG, **{setting: least - 1})


def test_an_unfinished_run_goes_on_with_as_many_threads(
    data: Path, tmp_path: Path, monkeypatch
) -> None:
    """What is fastest may have changed since, and rounding with it."""
    config = replace(CONFIG, threads=0)
    monkeypatch.setattr("fewstep.policy.training.state.find_fastest", lambda work, most: 2)
    stopped(data, tmp_path / "out", config)
    monkeypatch.setattr("fewstep.policy.training.state.find_fastest", lambda work, most: 1)
    train(data, tmp_path / "out", config)
    train(data, tmp_path / "other", config)
    used = [read_meta(tmp_path / name)["provenance"]["threads"] for name in ("out", "other")]
    assert used == [2, 1]


def test_other_settings_are_refused(data: Path, tmp_path: Path) -> None:
    stopped(data, tmp_path / "out")
    state = (tmp_path / "out" / RESUME).read_bytes()
    for other in (
        replace(CONFIG, lr=1e-4),
        replace(CONFIG, steps=25),
        replace(CONFIG, model=replace(TINY, action_steps=3)),
    ):
        with pytest.raises(ConfigError, match="other settings"):
            train(data, tmp_path / "out", other)
    with pytest.raises(ConfigError, match="other settings"):
        train(write(tmp_path / "more", 5), tmp_path / "out", CONFIG)
    assert (tmp_path / "out" / RESUME).read_bytes() == state


def test_a_finished_folder_is_refused(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, CONFIG)
    before = weights(tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path} holds a finished policy.*policy={tmp_path}"):
        train(data, tmp_path, CONFIG)
    assert weights(tmp_path) == before


def test_an_unfinished_state_that_is_damaged_is_refused(data: Path, tmp_path: Path) -> None:
    stopped(data, tmp_path)
    whole = (tmp_path / RESUME).read_bytes()
    for content in (b"", whole[:100], whole[:-100], b"\0" * 200):
        (tmp_path / RESUME).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{RESUME} is damaged"):
            train(data, tmp_path, CONFIG)


def test_a_log_whose_last_line_is_torn_does_not_stop_the_run(
    data: Path, whole: str, tmp_path: Path
) -> None:
    stopped(data, tmp_path)
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 12, "lo')
    train(data, tmp_path, CONFIG)
    assert weights(tmp_path) == whole
    assert [row["step"] for row in rows(tmp_path) if row["step"] % 5 == 0] == [5, 10, 15, 20]


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_last_state(
    call: str, data: Path, whole: str, tmp_path: Path, monkeypatch
) -> None:
    original, calls = getattr(os, call), []

    def limited(*args):
        if call == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode):
            return original(*args)
        calls.append(1)
        return (original if len(calls) <= 8 else full)(*args)

    monkeypatch.setattr(files.os, call, limited)
    with pytest.raises(FewstepError, match="No space left on device; the last state stays"):
        train(data, tmp_path, CONFIG)
    assert saved_step(tmp_path) == 7  # the first of the 8 was the log
    assert not list(tmp_path.glob("*.partial"))
    monkeypatch.undo()
    train(data, tmp_path, CONFIG)
    assert weights(tmp_path) == whole


def test_a_disk_too_full_for_the_log_is_an_error_of_ours(
    data: Path, tmp_path: Path, monkeypatch
) -> None:
    original = Path.open

    def limited(self: Path, mode: str = "r", *args, **kwargs):
        return full() if self.name == LOG and "a" in mode else original(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(FewstepError, match=f"could not write .*{LOG}: No space left on device"):
        train(data, tmp_path, CONFIG)
    assert saved_step(tmp_path) == 4


def test_a_place_that_is_a_file_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(FewstepError, match="taken"):
        train(data, tmp_path / "taken", CONFIG)


def test_a_policy_goes_on_with_more_demonstrations(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path / "first", CONFIG)
    more = write(tmp_path / "more", 6)
    other = replace(CONFIG, steps=40, model=replace(TINY, horizon=8, observation_steps=3))
    second = train(more, tmp_path / "second", other, start=tmp_path / "first")
    assert second.config == first.config
    for k, v in first.normaliser.state_dict().items():
        assert torch.equal(second.normaliser.state_dict()[k], v)
    assert weights(tmp_path / "second") != weights(tmp_path / "first")
    assert read_meta(tmp_path / "second")["provenance"]["windows"] == 4 * (12 - 4 + 2)
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


def test_going_on_can_be_interrupted_too(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "first", CONFIG)
    start = {"start": tmp_path / "first"}
    train(data, tmp_path / "whole", CONFIG, **start)
    stopped(data, tmp_path / "out", **start)
    with pytest.raises(ConfigError, match="other settings"):
        train(data, tmp_path / "out", CONFIG)
    train(data, tmp_path / "out", CONFIG, **start)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_a_policy_of_another_robot_cannot_go_on(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "first", replace(CONFIG, steps=1))
    spec = replace(SPEC, policy_hz=20)
    with pytest.raises(CheckpointError, match="policy_hz is 20"):
        train(
            write(tmp_path / "other", spec=spec), tmp_path / "out", CONFIG, start=tmp_path / "first"
        )


@pytest.mark.parametrize(
    "store, says",
    [
        (lambda path: write(path, 0), "holds no episodes"),
        (lambda path: write(path, 3, frames=2), "no episode is long enough"),
        (lambda path: path, "there are no demonstrations"),
        (lambda path: write(path, 3, replace(SPEC, observations=CAMERA)), "images only"),
    ],
)
def test_demonstrations_that_teach_nothing_are_refused(
    store: Callable, says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        train(store(tmp_path / "demos"), tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_holding_out_all_that_is_long_enough_is_refused(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "demos", SPEC) as store:
        for frames in (12, 2, 2, 2):
            store.append(make(0, frames=frames))
    outcomes = set()
    for seed in range(8):
        config = replace(CONFIG, steps=1, seed=seed)
        try:
            train(tmp_path / "demos", tmp_path / f"out{seed}", config)
            outcomes.add("trained")
        except DataError as error:
            assert "no episode is left to train on" in str(error)
            outcomes.add("refused")
    assert outcomes == {"trained", "refused"}


def test_numbers_that_are_none_stop_the_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loss is no number any more at step"):
        train(data, tmp_path / "out", replace(CONFIG, lr=1e38, warmup=0, clip=1e30))
    assert not (tmp_path / "out" / MODEL).exists()


@pytest.mark.parametrize("name", ["steps", "batch", "log_every"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(CONFIG, **{name: 0})


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
    obs, noise = (
        {"pose": torch.zeros(2, 2, 1)},
        torch.randn(1, 2, 4, 1, generator=torch.Generator().manual_seed(0)),
    )
    prefix = torch.tensor([-1.0, 1.0])[:, None, None].expand(2, 4, 1)
    chunks = policy.act(obs, noise, prefix, torch.tensor([1, 2]))[..., 0]
    torch.testing.assert_close(chunks, prefix[..., 0], atol=0.3, rtol=0)


def test_half_of_the_chunks_are_trained_without_a_prefix_and_the_rest_with_any_that_may_be_late() -> (
    None
):
    policy = Policy(
        SPEC, replace(TINY, horizon=8, action_steps=5, net=replace(TINY.net, prefix=True))
    )
    prefix_length = policy.draw_prefix_length(10_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(prefix_length.long(), minlength=4) / len(prefix_length)
    torch.testing.assert_close(
        shares, torch.tensor([1 / 2, 1 / 6, 1 / 6, 1 / 6]), atol=0.02, rtol=0
    )
