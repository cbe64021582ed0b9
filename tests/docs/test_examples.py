"""The programs of docs/examples run as they stand, each with what the one before it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


def run_example(name: str, *arguments: str) -> str:
    """What an example prints; it must end well."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    """The folder that own_demonstrations.py leaves, and what it said."""
    folder = tmp_path_factory.mktemp("example")
    return folder, run_example("own_demonstrations.py", str(folder))


def test_own_demonstrations_become_a_policy(trained):
    folder, said = trained
    assert (folder / "run" / "policy.json").exists()
    assert "k parameters" in said and "error" not in said


def test_own_robot_keeps_its_limits():
    said = run_example("own_robot.py")
    assert "fastest setpoint 2.00 rad/s, allowed are 2.00" in said


def test_the_policy_moves_the_robot_and_its_log_is_read(trained):
    folder, _ = trained
    command = [sys.executable, "-m", "fewstep.policy.cli.main", "run", f"policy={folder / 'run'}"]
    command += [
        "robot=own_robot:make_robot",
        "unattended=true",
        "seconds=2",
        f"out={folder / 'log'}",
    ]
    subprocess.run(command, cwd=EXAMPLES, check=True, timeout=120, capture_output=True)
    said = run_example("read_a_log.py", str(folder / "log"))
    assert "ticks of 1 episodes" in said and "hold -> active" in said


def test_the_policy_plays_in_the_own_environment(trained):
    folder, _ = trained
    assert "in 20 episodes" in run_example("own_environment.py", str(folder / "run"))


def test_own_sampler_costs_what_it_says():
    said = run_example("own_sampler.py")
    assert "midpoint   2 network evaluations" in said and "midpoint  10" in said
