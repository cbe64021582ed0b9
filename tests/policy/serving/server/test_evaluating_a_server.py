"""`fewstep evaluate policy=ws://...` counts what the same policy does here."""

import json
from pathlib import Path

import pytest
import torch
from serving_cases import served

from fewstep.envs import ProtocolError
from fewstep.envs.sim.registry import make_robot
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.rollouts import roll_out_all
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.serving.server.layout import read_layout

TASK = ["task=pickplace", "seconds=1", "episodes=3", "workers=1"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    robot = make_robot("pickplace")
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)
    path = tmp_path_factory.mktemp("evaluated") / "policy"
    save_policy(Policy(robot.spec, PolicyConfig(horizon=16, action_steps=8, net=net)), path, {})
    robot.close()
    return path


def test_a_served_policy_is_counted_like_the_same_one_here(policy: Path, tmp_path: Path) -> None:
    engine = load_engine(policy)
    assert main(["evaluate", f"policy={policy}", *TASK, f"out={tmp_path}/here"]) == 0
    with served(engine, read_layout("", engine.spec)) as address:
        out = f"out={tmp_path}/there"
        assert main(["evaluate", f"policy=ws://{address}", *TASK, out]) == 0
    rows = []
    for place in ("here", "there"):
        content = json.loads((tmp_path / place / "evaluation.json").read_text())
        rows += content["results"]
    here, there = rows
    assert there["engine"] == "remote"
    for key in ("network_evaluations", "sampler", "episodes", "successes"):
        assert here[key] == there[key]
    for ours, theirs in zip(here["rollouts"], there["rollouts"], strict=True):
        assert ours["seed"] == theirs["seed"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)
    assert here["jerk"] > 0
    assert there["jerk"] is None, "a server tells no ranges"


def test_what_needs_the_files_of_a_policy_is_refused(capsys) -> None:
    settings = ["policy=ws://127.0.0.1:1", *TASK, "network_evaluations=3", "report=true"]
    assert main(["evaluate", *settings]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "is a server, which decides: leave out network_evaluations, report" in said


def test_a_server_that_changes_its_policy_is_refused(policy: Path) -> None:
    engine = load_engine(policy)
    with served(engine, read_layout("", engine.spec)) as address:
        asked = {"policy": f"ws://{address}", "task": "pickplace", "sampler": Sampler()}
        job = Job(**asked, seeds=(1,), engine="remote", weights="those of before")
        with pytest.raises(ProtocolError, match="serves another policy now"):
            roll_out_all(job)


def test_a_server_of_another_robot_is_refused(policy: Path, tmp_path: Path, capsys) -> None:
    engine = load_engine(policy)
    with served(engine, read_layout("", engine.spec)) as address:
        settings = [f"policy=ws://{address}", "task=pusht-mujoco", "episodes=1", "workers=1"]
        assert main(["evaluate", *settings, f"out={tmp_path}/out"]) == 1
    assert "this policy does not fit this robot" in " ".join(capsys.readouterr().err.split())
