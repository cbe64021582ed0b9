"""Comparing and replaying are refused where the starts are not the same, before anything is rolled
out.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fewstep.envs.sim.registry import make_robot
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.evaluation import evaluate as evaluation_module
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

NET = UnetConfig(channels=(16, 32), kernel=3, groups=4, time_size=16, condition=16)
SLOW, SEEDLESS, STRAY = (f"fakes:{name}Point-v0" for name in ("Slow", "Seedless", "Stray"))


@pytest.fixture(scope="module", autouse=True)
def importable() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2])
        yield


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random policy that fits all Points."""
    torch.manual_seed(0)
    spec = make_robot("fakes:Point-v0").spec
    folder = tmp_path_factory.mktemp("policy") / "run"
    save_policy(Policy(spec, PolicyConfig(horizon=8, action_steps=4, net=NET)), folder, {})
    return folder


def evaluate(policy: Path, out: Path, *settings: str) -> int:
    return main(["evaluate", f"policy={policy}", f"out={out}", "episodes=2", *settings])


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "evaluation.json").read_text())


@pytest.fixture
def no_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    def roll_out(*arguments: Any) -> None:
        pytest.fail("something was rolled out")

    monkeypatch.setattr(evaluation_module, "roll_out_all", roll_out)


@pytest.mark.parametrize(("task", "seeded"), [(SLOW, True), (SEEDLESS, False), (STRAY, False)])
def test_an_evaluation_says_whether_seeds_decide_the_starts(
    policy: Path, tmp_path: Path, task: str, seeded: bool
) -> None:
    assert evaluate(policy, tmp_path, f"task={task}") == 0
    assert read(tmp_path)["seeded"] is seeded


@pytest.mark.parametrize("key", ["compare", "replay"])
@pytest.mark.parametrize("task", [SEEDLESS, STRAY])
def test_starts_without_seeds_are_neither_compared_nor_replayed(
    policy: Path, tmp_path: Path, task: str, key: str, request: Any, capsys: Any
) -> None:
    assert evaluate(policy, tmp_path / "first", f"task={task}") == 0
    request.getfixturevalue("no_rollouts")
    file = tmp_path / "first/evaluation.json"
    assert evaluate(policy, tmp_path / "second", f"task={task}", f"{key}={file}") == 2
    assert "starts that its seeds did not decide" in capsys.readouterr().err
    facts = json.loads(file.read_text())
    del facts["seeded"]  # as older files do
    file.write_text(json.dumps(facts))
    assert evaluate(policy, tmp_path / "second", f"task={task}", f"{key}={file}") == 2
    assert f"task '{task}' ignores its seed" in capsys.readouterr().err


def test_tuning_needs_starts_that_seeds_decide(policy: Path, capsys: Any) -> None:
    assert main(["tune", f"policy={policy}", f"task={SEEDLESS}", "episodes=2"]) == 2
    assert "tune needs the same starts again" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["compare", "replay"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["task.options={reach:0.25}"],
            "options={'reach': 0.5}, this one with options={'reach': 0.25}",
        ),
        ([], "options={'reach': 0.5}, this one with options={}"),
        (["task.options={reach:0.5}", "seconds=1"], "seconds=None, this one with seconds=1"),
    ],
)
def test_other_episodes_are_neither_compared_nor_replayed(
    policy: Path, tmp_path: Path, settings: list[str], message: str, key: str, capsys: Any
) -> None:
    first = tmp_path / "first"
    assert evaluate(policy, first, f"task={SLOW}", "task.options={reach:0.5}") == 0
    assert read(first)["options"] == {"reach": 0.5}
    assert read(first)["results"][0]["rollouts"][0]["info"]["reach"] == 0.5
    file = first / "evaluation.json"
    assert evaluate(policy, tmp_path / "x", f"task={SLOW}", f"{key}={file}", *settings) == 2
    assert message in capsys.readouterr().err


def test_another_task_is_not_compared(policy: Path, tmp_path: Path, capsys: Any) -> None:
    assert evaluate(policy, tmp_path, f"task={SLOW}") == 0
    file = tmp_path / "evaluation.json"
    assert evaluate(policy, tmp_path / "x", "task=fakes:Point-v0", f"compare={file}") == 2
    assert f"compare ran with task={SLOW}, this one with task=fakes" in capsys.readouterr().err


def test_failures_that_nothing_tells_are_not_filmed(
    policy: Path, tmp_path: Path, capsys: Any
) -> None:
    task = "task=fakes:UnjudgedPoint-v0"
    assert evaluate(policy, tmp_path, task) == 0
    shown = capsys.readouterr().out
    assert "–" in shown
    assert evaluate(policy, tmp_path, task, f"replay={tmp_path}/evaluation.json") == 2
    assert "did not say which episodes failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task.options=5"], "task.options: expected dict, not 5"),
        (["out=/proc/nothing"], "could not write /proc/nothing"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_rolled_out(
    policy: Path, tmp_path: Path, settings: list[str], message: str, no_rollouts: None, capsys: Any
) -> None:
    assert evaluate(policy, tmp_path, f"task={SLOW}", *settings) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_constructor_that_fails_is_one_line(policy: Path, tmp_path: Path, capsys: Any) -> None:
    assert evaluate(policy, tmp_path, f"task={SLOW}", "task.options={reach:-1}") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be made with options={'reach': -1}: ValueError: reach must be above 0" in said
