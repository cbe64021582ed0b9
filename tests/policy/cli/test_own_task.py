"""An own environment and its expert beside the user.

Recorded, trained and evaluated by the command line.
"""

from pathlib import Path

import pytest

from fewstep.demos.store import DemoStore
from fewstep.policy.cli.main import main

MODULE = """
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from fewstep.envs import Command

class Walk(gym.Env):
    metadata = {"render_modes": [], "render_fps": 10}
    observation_space = spaces.Box(-9, 9, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    def __init__(self, size=1):
        self.size = size
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(0.5, 1) * self.size
        return np.array([self.x], np.float32), {}
    def step(self, action):
        self.x -= 0.2 * np.sign(self.x)
        return np.array([self.x], np.float32), -abs(self.x), False, False, {"is_success": True}

class Expert:
    def reset(self, seed=None): pass
    def act(self, obs): return Command(np.clip(-obs.data["state"], -1, 1), "expert")
    def sent(self, action): pass

if "Walk-v0" in gym.registry:
    del gym.registry["Walk-v0"]
gym.register("Walk-v0", Walk, max_episode_steps=10)
"""
TINY = ("model.net.channels=[8,16]", "model.net.groups=4", "model.net.condition=16", "batch=8")


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, of a name that no other test uses."""
    monkeypatch.chdir(tmp_path)
    name = f"env_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def test_the_way_from_an_own_environment_to_its_evaluation(beside: str, capsys) -> None:
    task, options = f"task={beside}:Walk-v0", "task.options={size: 3}"
    expert = f"expert={beside}:Expert"
    assert main(["record", task, options, expert, "episodes=3", "data=demos"]) == 0
    store = DemoStore.open("demos")
    first = [store.episode(index).data["state"][0].item() for index in range(3)]
    assert min(first) > 1.0, "the option size has not reached the environment"
    assert store.provenance["task_options"] == {"size": 3}
    short = ["steps=5", "held_out=0.34", "export=false", *TINY]
    assert main(["train", "data=demos", "out=run", *short]) == 0
    assert main(["evaluate", "policy=run", task, "task.options.size=2", "episodes=2"]) == 0
    assert "1.000 [" in capsys.readouterr().out


def test_a_wrong_option_is_one_line(beside: str, capsys) -> None:
    expert = f"expert={beside}:Expert"
    command = ["record", f"task={beside}:Walk-v0", expert, "data=demos", "task.options={sizes: 3}"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "cannot be made with options={'sizes': 3}" in said and len(said.splitlines()) == 1
    assert not Path("demos").exists()
