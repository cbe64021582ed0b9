"""Killed, interrupted or out of room, an unfinished run ends in the same weights."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.training_utils import EMAModel
from training_runs import (
    CONFIG,
    TINY,
    finished,
    rows,
    saved_step,
    stopped,
    weights,
    write,
)

from fewstep.envs import CheckpointError, ConfigError, FewstepError
from fewstep.envs import atomic_files as files
from fewstep.envs.schema import to_plain
from fewstep.policy.evaluation.held_out_error import HeldOutError
from fewstep.policy.policy_folder import read_meta
from fewstep.policy.training.log import LOG
from fewstep.policy.training.train import RESUME, TrainConfig, train


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
    moments = random.Random(0)
    steps = []
    out = tmp_path / "out"
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


def test_what_is_measured_of_held_out_episodes_is_the_same_after_a_stop(
    data: Path, whole: str, tmp_path: Path
) -> None:
    config = replace(CONFIG, log_every=1)
    train(data, tmp_path / "at once", config, held_out_error=HeldOutError(data))
    stopped(data, tmp_path / "parts", config, at=15, held_out_error=HeldOutError(data))
    train(data, tmp_path / "parts", config, held_out_error=HeldOutError(data))
    measured = []
    for out in (tmp_path / "at once", tmp_path / "parts"):
        assert weights(out) == whole
        found = {row["step"]: row["held_out_error"] for row in rows(out) if "held_out_error" in row}
        measured.append(found)
    assert measured[0] == measured[1] and list(measured[0]) == [10, 20, 24]


def test_killed_at_any_change_of_a_file_it_ends_in_the_same_weights(
    trainer, data, tmp_path
) -> None:
    config = replace(CONFIG, steps=3)
    assert trainer.run(data, tmp_path / "whole", config)["code"] == 0
    boundaries = [1, 3, 8, 12, 14, 17, 22, 26, 29, 32]
    killed = 0
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
    config = replace(CONFIG, steps=2000, batch=4, save_seconds=1e9)
    out = tmp_path / "out"
    moment = 0.2
    steps = [0]
    while len(steps) < 3:
        assert trainer.run(data, out, config, seconds=moment, blow="SIGINT")["code"] == 130
        if (step := saved_step(out)) > steps[-1]:
            steps.append(step)
        else:
            moment *= 1.5  # on a slow machine the signal came before the first step
    assert steps[-1] < config.steps


def interrupt_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: int) -> None:
    """Send this process SIGINT in the middle of the `after`-th call of something."""
    original = getattr(owner, name)
    calls = []

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
    out = tmp_path / "out"
    handler = signal.getsignal(signal.SIGINT)
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
    for other, told in (
        (replace(CONFIG, lr=1e-4), "lr was 0.003, is 0.0001"),
        (replace(CONFIG, steps=25), "steps was 24, is 25"),
        (replace(CONFIG, model=replace(TINY, action_steps=3)), "model.action_steps was 2, is 3"),
    ):
        with pytest.raises(ConfigError, match=rf"other settings \({told}\): choose"):
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
    original = getattr(os, call)
    calls = []

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


def test_going_on_can_be_interrupted_too(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "first", CONFIG)
    start = {"start": tmp_path / "first"}
    train(data, tmp_path / "whole", CONFIG, **start)
    stopped(data, tmp_path / "out", **start)
    with pytest.raises(ConfigError, match="other settings"):
        train(data, tmp_path / "out", CONFIG)
    train(data, tmp_path / "out", CONFIG, **start)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
