"""The README's recipes run as they are written."""

import re
import subprocess
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


def block(first_words: str) -> str:
    """The recipe that begins so."""
    (found,) = [recipe for recipe in RECIPES if recipe.startswith(first_words)]
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user, with what the README puts into files."""
    for name in ("my_spec", "my_robot"):
        (tmp_path / f"{name}.py").write_text(block(f"# {name}.py"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_spec", "my_robot", "my_driver"):
        sys.modules.pop(name, None)


def run(recipe: str) -> dict:
    names: dict = {}
    exec(compile(recipe, "README.md", "exec"), names)
    return names


def test_recipes_are_short():
    assert len(RECIPES) == 4
    assert all(len([line for line in r.splitlines() if line.strip()]) <= 20 for r in RECIPES)


def test_demonstrations_become_a_store(folder: Path):
    (folder / "raw").mkdir()
    shapes = {"joints": (30, 6), "gripper": (30, 1), "cup": (30, 3), "action": (30, 7)}
    for name in "ab":
        arrays = {k: np.random.default_rng(0).random(s) / 20 for k, s in shapes.items()}
        np.savez(folder / f"raw/{name}.npz", time=np.arange(30) / 20, **arrays)
    run(block("from pathlib import Path"))
    store = DemoStore.open("demos")
    assert (len(store), store.frames, store.spec.action_size) == (2, 60, 7)
    assert isinstance(store.episode(1), Episode)


def test_an_environment_is_driven(folder: Path, monkeypatch):
    package = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", package)
    gym.register("MyTask-v0", entry_point=MyTask, max_episode_steps=12)
    from fewstep.envs.sim.gym_robot import GymRobot

    save_policy(Policy(GymRobot(gym.make("MyTask-v0")).spec, SMALL), folder / "run", {})
    names = run(block("import gymnasium"))
    assert names["robot"].outcome().success and names["robot"].elapsed == pytest.approx(12 / 20)


DRIVER = '''
import numpy as np

class Arm:
    """Goes where it is sent, a little late."""
    def __init__(self):
        self.at = np.zeros(7)
        self.target = np.zeros(7)
    def home(self):
        pass
    def read(self):
        self.at += 0.3 * (self.target - self.at)
        at = self.at.astype(np.float32)
        return {"joints": at[:6], "gripper": at[6:], "cup": np.zeros(3, np.float32)}
    def send(self, action):
        self.target = np.array(action, float)
        return self.target.copy()
    def hold(self):
        return self.target.copy()
    def stop(self):
        pass
'''


@pytest.mark.parametrize(
    "keys",
    ["calibrate=true", "policy=run shadow=true seconds=1", "policy=run record=runs seconds=1"],
)
def test_a_robot_runs_and_calibrates_within_its_limits(folder: Path, keys: str):
    (folder / "my_driver.py").write_text(DRIVER)
    spec = run(block("# my_spec.py"))["SPEC"]
    save_policy(Policy(spec, SMALL), folder / "run", {})
    command = [sys.executable, "-m", "fewstep.policy.cli.main", "run", "robot=my_robot:MyRobot"]
    command += [*keys.split(), "unattended=true", "out=log"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped; log in log" in done.stdout
