"""Distillation: labels are the teacher's own chunks, and a student comes to agree with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.cli.main import main
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.policy import Policy
from fewstep.policy.policy_folder import read_meta
from fewstep.policy.training.dataset import Dataset, read_dataset
from fewstep.policy.training.distill import LabelConfig, distill, label_windows
from fewstep.policy.training.train import TrainConfig

TINY = (
    "model.net.channels=[16,32]",
    "model.net.groups=4",
    "model.net.condition=16",
    "batch=32",
    "steps=600",
)
FAST = ("lr=0.01", "warmup=20", "ema=0.95", "held_out=0", "export=false")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Demonstrations and a teacher."""
    folder = tmp_path_factory.mktemp("distill")
    assert main(["record", f"data={folder}/demos", "episodes=3"]) == 0
    assert main(["train", f"data={folder}/demos", f"out={folder}/teacher", *TINY, *FAST]) == 0
    return folder


def labels(teacher: Policy, folder: Path, seed: int = 0, **how) -> Dataset:
    data = read_dataset(folder / "demos", teacher.config, torch.device("cpu"))
    return label_windows(teacher, data, LabelConfig(**how), Generator().manual_seed(seed))


def test_a_student_comes_to_say_in_one_evaluation_what_its_teacher_says_in_ten(folder, tmp_path):
    teacher = load_policy(folder / "teacher")
    others = labels(teacher, folder, seed=9, copies=1, perturb=0.0)
    batch = others.train.batch(torch.arange(len(others.train)))

    def error(policy: Policy) -> float:
        return policy.loss(batch, Generator().manual_seed(0)).mean().item()

    ignorant = Policy(
        teacher.spec, replace(teacher.config, objective="one_step"), teacher.normaliser
    )
    ignorant.load_state_dict(teacher.state_dict())
    config = TrainConfig(steps=300, batch=64, lr=1e-2, warmup=10, ema=0.9, threads=1)
    places = (folder / "teacher", folder / "demos", tmp_path / "out")
    done = distill(*places, LabelConfig(copies=4), config)
    assert error(done) < 0.85 * error(ignorant)
    assert (done.config.drawn_by.cost, done.config.drawn_by.start) == (1, 1.0)
    assert read_meta(tmp_path / "out")["provenance"]["teacher"] == f"{folder}/teacher"


@pytest.mark.parametrize("objective", ["flow_atoms", "v"])
def test_labels_are_what_the_teacher_does_with_one_answer_for_a_noise(folder, objective):
    teacher = load_policy(folder / "teacher")
    teacher = Policy(
        teacher.spec, replace(teacher.config, objective=objective), teacher.normaliser
    ).eval()
    data = read_dataset(folder / "demos", teacher.config, torch.device("cpu"))
    labelled = labels(teacher, folder, copies=2, network_evaluations=3)
    assert len(labelled.train) == 2 * len(data.train)
    rows = torch.tensor([0, 5, len(labelled.train) - 1])  # the last is a perturbed one
    batch = labelled.train.batch(rows)
    again = Sampler(network_evaluations=3, clip=teacher.config.drawn_by.clip)
    torch.testing.assert_close(
        batch["action"], teacher.act(batch, batch["noise"][None], sampler=again)
    )
    assert torch.equal(batch["joints"][0], data.train.batch(rows[:1])["joints"][0])
    assert not torch.equal(batch["joints"][2], data.train.batch(torch.tensor([-1]))["joints"][0])


def test_a_student_is_evaluated_and_neither_overwritten_nor_distilled_again(folder, capsys):
    out = folder / "student"
    command = [
        "distill",
        f"policy={folder}/teacher",
        f"data={folder}/demos",
        f"out={out}",
        "steps=10",
        "copies=1",
        "batch=16",
        "export=false",
    ]
    assert main(command) == 0
    assert (
        main(
            [
                "evaluate",
                f"policy={out}",
                "task=pickplace",
                "episodes=2",
                "seconds=0.5",
                f"out={out}/e",
            ]
        )
        == 0
    )
    assert main(command) == 2
    assert "holds a finished policy" in capsys.readouterr().err
    assert main(["distill", f"policy={out}", *command[2:3], f"out={out}/again"]) == 2
    assert "asked once" in capsys.readouterr().err
    assert main([*command[:3], f"out={out}/none", "copies=0"]) == 2
    assert "copies must be at least 1" in capsys.readouterr().err


def test_demonstrations_of_another_robot_are_refused(folder, tmp_path):
    spec = DemoStore.open(folder / "demos").spec
    other = replace(
        spec, observations={k: f for k, f in spec.observations.items() if k != "target"}
    )
    with DemoStore.create(tmp_path / "demos", other) as store:
        episode = DemoStore.open(folder / "demos").episode(0)
        store.append(Episode({k: v for k, v in episode.data.items() if k != "target"}, other))
    places = (folder / "teacher", tmp_path / "demos", tmp_path / "out")
    with pytest.raises(
        CheckpointError, match=r"does not fit the demonstrations at .*'target' is missing"
    ):
        distill(*places, LabelConfig(), TrainConfig(steps=1))
