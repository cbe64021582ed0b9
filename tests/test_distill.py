"""Distillation: labels are the teacher's own chunks, and a student comes to agree with its teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError
from fewstep.policy.checkpoint import load_policy, read_meta, save_policy
from fewstep.policy.cli import main
from fewstep.policy.data import read_data
from fewstep.policy.distill import Distill, label, train_student
from fewstep.policy.policy import Policy
from fewstep.policy.train import TrainConfig

TINY = ("model.net.channels=[8,16]", "model.net.groups=4", "model.net.condition=16", "batch=32", "steps=200")
FAST = ("lr=0.003", "warmup=20", "ema=0.95", "held_out=0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Demonstrations and a teacher."""
    folder = tmp_path_factory.mktemp("distill")
    assert main(["record", f"data={folder}/demos", "episodes=3"]) == 0
    assert main(["train", f"data={folder}/demos", f"out={folder}/teacher", *TINY, *FAST]) == 0
    return folder


def error(teacher: Policy, student: Policy, folder: Path) -> float:
    """Mean square between the student's one evaluation and the teacher's ten, both from no noise."""
    data = read_data(folder / "demos", teacher.config, torch.device("cpu"))
    sampler = replace(teacher.config.drawn_by.at(10), start=0.0)
    sample = label(teacher, [data], sampler, 1, 0.0, Generator().manual_seed(9))
    batch = sample.batch(torch.arange(64), sample.train)
    once = replace(sampler, evaluations=1, start=1.0)
    return (student.act(batch, batch["noise"][None], sampler=once) - batch["action"]).square().mean().item()


def student(folder: Path, out: Path, start: float) -> tuple[Policy, list[float]]:
    """A student that begins with random weights, and its losses."""
    teacher, c = load_policy(folder / "teacher"), Distill(f"{folder}/teacher", f"{folder}/demos", copies=4, start=start)
    torch.manual_seed(0)
    save_policy(Policy(teacher.spec, teacher.config, teacher.normaliser), out / "begin", {})
    config = TrainConfig(steps=200, batch=64, lr=2e-3, warmup=10, ema=0.9, log_every=20)
    losses = []
    done = train_student(c, f"{out}/begin", [c.data], f"{out}/out", config, lambda row: losses.append(row["loss"]))
    return done, losses


@pytest.mark.parametrize("start", [1.0, 0.0])
def test_a_student_learns_and_says_where_it_comes_from(folder, tmp_path, start):
    done, losses = student(folder, tmp_path, start)
    assert min(losses[-3:]) < 0.8 * losses[0]
    assert (done.config.drawn_by.network_evaluations, done.config.drawn_by.start) == (1, start)
    assert read_meta(tmp_path / "out")["provenance"]["teacher"] == f"{folder}/teacher"


def test_without_noise_a_student_comes_to_say_what_its_teacher_says(folder, tmp_path):
    teacher, ignorant = load_policy(folder / "teacher"), tmp_path / "begin"
    done, _ = student(folder, tmp_path, 0.0)
    assert error(teacher, done, folder) < 0.2 * error(teacher, load_policy(ignorant), folder)


def test_labels_are_what_the_teacher_does(folder):
    teacher = load_policy(folder / "teacher")
    data = read_data(folder / "demos", teacher.config, torch.device("cpu"))
    sampler = replace(teacher.config.drawn_by.at(3), start=0.5)
    labelled = label(teacher, [data], sampler, 2, 0.1, Generator().manual_seed(0))
    assert len(labelled.train[0]) == 2 * len(data.train[0])
    rows = torch.tensor([0, 5, len(labelled.train[0]) - 1])  # the last is a perturbed one
    batch = labelled.batch(rows, labelled.train)
    again = teacher.act(batch, batch["noise"][None], sampler=replace(sampler, start=1.0))
    torch.testing.assert_close(batch["action"], again)
    assert torch.equal(batch["joints"][0], data.batch(rows[:1], data.train)["joints"][0])
    assert not torch.equal(batch["joints"][2], data.batch(torch.tensor([-1]), data.train)["joints"][0])


def test_rounds_label_what_the_student_visits(folder, capsys):
    out = folder / "student"
    command = [
        "distill", f"policy={folder}/teacher", f"data={folder}/demos", f"out={out}", "task=pickplace", "rounds=1",
        "episodes=2", "steps=10", "copies=1", "batch=16",
    ]  # fmt: skip
    assert main(command) == 0
    assert len(DemoStore.open(out / "visited")) == 2
    assert read_meta(out)["provenance"]["data"] == [f"{folder}/demos", f"{out}/visited"]
    assert main(["evaluate", f"policy={out}", "task=pickplace", "episodes=2", "seconds=0.5", f"out={out}/e"]) == 0
    assert main([*command[:3], "out=x", "rounds=1"]) == 2
    assert "task=" in capsys.readouterr().err


def test_demonstrations_of_another_robot_are_refused(folder, tmp_path):
    spec = DemoStore.open(folder / "demos").spec
    other = replace(spec, observations={k: f for k, f in spec.observations.items() if k != "target"})
    with DemoStore.create(tmp_path / "demos", other) as store:
        episode = DemoStore.open(folder / "demos").episode(0)
        store.append(Episode({k: v for k, v in episode.data.items() if k != "target"}, other))
    with pytest.raises(CheckpointError, match="'target' is missing"):
        train_student(
            Distill(f"{folder}/teacher", f"{tmp_path}/demos"),
            f"{folder}/teacher",
            [f"{tmp_path}/demos"],
            f"{tmp_path}/out",
            TrainConfig(steps=1),
        )
