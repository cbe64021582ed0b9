"""The README's recipes run as they are written."""

import re
import sys
import types
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from fewstep.demos import DemoStore, Episode
from fewstep.policy import Policy, PolicyConfig, save_policy
from fewstep.policy.networks.temporal_unet import UnetConfig

README = Path(__file__).parents[3] / "README.md"
RECIPES = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
SMALL = PolicyConfig(net=UnetConfig(channels=(8, 16), groups=4, condition=16))


class MyTask(gym.Env):
    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample() * 0, {}

    def step(self, action):
        return np.zeros(3, np.float32), 0.5, False, False, {"is_success": True}


def run(recipe: str, folder: Path, monkeypatch) -> dict:
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(compile(recipe, "README.md", "exec"), names)
    return names


def test_recipes_are_short():
    assert len(RECIPES) == 4
    assert all(len([line for line in r.splitlines() if line.strip()]) <= 20 for r in RECIPES)


def test_demonstrations_become_a_store(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    shapes = {"joints": (30, 6), "gripper": (30, 1), "cup": (30, 3), "action": (30, 7)}
    for name in "ab":
        arrays = {k: np.random.default_rng(0).random(s) for k, s in shapes.items()}
        np.savez(tmp_path / f"raw/{name}.npz", time=np.arange(30) / 20, **arrays)
    run(RECIPES[0], tmp_path, monkeypatch)
    store = DemoStore.open(tmp_path / "demos")
    assert (len(store), store.frames, store.spec.action_size) == (2, 60, 7)
    assert isinstance(store.episode(1), Episode)


def test_an_environment_is_driven(tmp_path, monkeypatch):
    package = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", package)
    gym.register("MyTask-v0", entry_point=MyTask, max_episode_steps=12)
    from fewstep.envs.sim.gym_robot import GymRobot

    save_policy(Policy(GymRobot(gym.make("MyTask-v0")).spec, SMALL), tmp_path / "run", {})
    names = run(RECIPES[1], tmp_path, monkeypatch)
    assert names["robot"].outcome().success and names["robot"].elapsed == pytest.approx(12 / 20)


def test_a_robot_is_driven(tmp_path, monkeypatch):
    class Arm:
        def __init__(self):
            self.log = []

        def home(self):
            self.log.append("home")

        def read(self):
            shapes = {"joints": 6, "gripper": 1, "cup": 3}
            return {k: np.zeros(n, np.float32) for k, n in shapes.items()}

        def send(self, action):
            self.log.append("send")
            return action

        def hold(self):
            self.log.append("hold")
            return np.zeros(7, np.float32)

        def stop(self):
            self.log.append("stop")

    driver = types.ModuleType("my_driver")
    driver.Arm = Arm  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "my_driver", driver)
    spec = run(RECIPES[0].split("with DemoStore")[0], tmp_path, monkeypatch)["spec"]
    save_policy(Policy(spec, SMALL), tmp_path / "run", {})
    robot = types.ModuleType("my_robot")
    robot.__dict__.update(run(RECIPES[2], tmp_path, monkeypatch))
    monkeypatch.setitem(sys.modules, "my_robot", robot)
    names = run(RECIPES[3].replace("max_seconds=30", "max_seconds=0.5"), tmp_path, monkeypatch)
    log = names["robot"].arm.log
    assert log[0] == "home" and log[-1] == "stop" and log.count("send") == 10
