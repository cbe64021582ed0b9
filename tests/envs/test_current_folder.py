"""The current folder is no library: what lies there runs only where it is named."""

import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from fewstep.demos.episode import Episode
from fewstep.demos.formats import export_demonstrations
from fewstep.demos.store import DemoStore
from fewstep.envs import Field, Spec
from fewstep.envs.hardware.registry import make_live
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli import main as cli
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

FEWSTEP = Path(sysconfig.get_path("scripts"), "fewstep")
HOSTILE = (
    *("numpy", "random", "json", "torch", "typing", "socket", "tempfile", "threading"),
    *("subprocess", "gymnasium", "hydra", "rich", "zarr", "multiprocessing", "fewstep", "cv2"),
    "sitecustomize",
)
HOSTILE_CODE = """
import os
os.open("ran {name}", os.O_CREAT)
raise ImportError("the {name} of the current folder")
"""
STATE, ACTION = (Field((n,), low=(-1.0,) * n, high=(1.0,) * n) for n in (4, 2))
TASK = Spec({"state": STATE}, {"action": ACTION}, 10)
MY_ENV = """
import random
import gymnasium as gym
import numpy as np

class Env(gym.Env):
    metadata = {"render_fps": 10}
    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 0.0, False, False, {"success": True}

gym.register("Env-v0", Env, max_episode_steps=3)
"""
MY_ROBOT = """
import random
from fewstep.envs.hardware.simulated_arm import SimulatedArm

def Robot():
    open("robot was made", "w")
    return SimulatedArm(joints=1, hz=50.0)

def Leader():
    from my_parts import name  # found as long as the program runs
    open(name, "w")
    return SimulatedArm(joints=1, hz=50.0)
"""
VERBS = {
    "demo": "demo --help",  # what it does the others do, at length
    "cameras": "cameras cameras={front:simulated} names=[front] out=cameras.yaml",
    "record": "record task=my_env:Env-v0 policy=run data=recorded episodes=1",
    "export": "export data=demos out=exported format=diffusion_policy",
    "import": "import source=buffer data=imported hz=10",
    "spec": "spec data=demos",
    "check": "check data=demos",
    "view": "view data=demos port=0",
    "train": "train data=demos out=trained steps=2 batch=4 model.horizon=8 model.action_steps=4",
    "distill": "distill policy=run data=demos out=distilled copies=1 steps=2 batch=4 export=false",
    "evaluate": "evaluate policy=run task=my_env:Env-v0 workers=2 episodes=26",
    "ensemble": "ensemble policies=[run,other] out=both",
    "tune": "tune policy=run task=my_env:Env-v0 episodes=2 workers=1",
    "monitor": "monitor policy=run data=demos task=my_env:Env-v0 episodes=12 alarms=0.5",
    "run": "run robot=my_robot:Robot actions=arm unattended=true seconds=0.2 priority=0 out=log",
    "serve": "serve policy=run port=0",
    "bench": "bench policy=run calls=1 network_evaluations=[1]",
}
SERVES = {"view": "look at", "serve": "ws://"}  # until a signal ends it; and what it says then
ALONE = {"run", *SERVES}  # the first keeps time
Done = subprocess.CompletedProcess[bytes]
Started = dict[str, tuple[Path, Future[Done]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody has downloaded: a policy, demonstrations, modules to name, and others."""
    folder = tmp_path_factory.mktemp("downloaded")
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(HOSTILE_CODE.format(name=name))
    (folder / "my_env.py").write_text(MY_ENV)
    (folder / "my_robot.py").write_text(MY_ROBOT)
    (folder / "my_parts.py").write_text("name = 'leader was made'\n")
    torch.manual_seed(0)
    net = UnetConfig(channels=(8, 16), groups=4, condition=8, time_size=8)
    for name in ("run", "other"):
        policy = Policy(TASK, PolicyConfig(horizon=8, action_steps=4, net=net))
        save_policy(policy, folder / name, {})
    store(folder / "demos", TASK, {"state": 4, "action": 2})
    arm = make_live("simulated", {"joints": 1, "hz": 50.0})
    store(folder / "arm", arm.spec, {"joints": 1, "action": 1})
    with DemoStore.open(folder / "demos") as demos:
        export_demonstrations(demos, folder / "buffer", "diffusion_policy")
    return folder


@pytest.fixture(scope="module")
def at_once(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Verbs, each in a copy of the folder, two at a time: what takes long is to import torch."""
    with ThreadPoolExecutor(2) as pool:
        started: Started = {}
        for verb in (verb for verb in VERBS if verb not in ALONE):
            copy = shutil.copytree(folder, tmp_path_factory.mktemp(verb) / "downloaded")
            started[verb] = copy, pool.submit(fewstep, copy, *VERBS[verb].split())
        yield started
        pool.shutdown(cancel_futures=True)


def store(path: Path, spec: Spec, sizes: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    with DemoStore.create(path, spec) as demos:
        for _ in range(4):
            walks = {key: 0.01 * rng.normal(size=(30, n)).cumsum(0) for key, n in sizes.items()}
            demos.append(Episode(walks | {"time": np.arange(30) / spec.policy_hz}, spec, True))


def fewstep(folder: Path, *arguments: str, typed: bytes = b"") -> Done:
    """The console script in a folder."""
    command = [FEWSTEP, *arguments]
    streams = {"input": typed, "capture_output": True}
    return subprocess.run(command, cwd=folder, timeout=120, check=False, **streams)


def ran(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("ran *")]


@pytest.fixture(autouse=True)
def nothing_ran(folder: Path) -> Iterator[None]:
    """What one test finds to have run is not found by the next."""
    yield
    for path in folder.glob("ran *"):
        path.unlink()


def test_every_verb_is_tried() -> None:
    assert VERBS.keys() == cli.VERBS.keys()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ALONE])
def test_no_verb_runs_what_only_lies_in_the_current_folder(at_once: Started, verb: str) -> None:
    copy, started = at_once[verb]
    done = started.result()
    assert not ran(copy)
    assert done.returncode == 0, done.stderr.decode()


def test_a_robot_beside_the_user_runs_without_what_lies_beside_it(folder: Path) -> None:
    done = fewstep(folder, *VERBS["run"].split())
    assert not ran(folder)
    assert done.returncode == 0, done.stderr.decode()
    assert (folder / "robot was made").exists()


@pytest.mark.parametrize("verb", SERVES)
def test_what_serves_until_it_is_ended_runs_nothing_either(folder: Path, verb: str) -> None:
    command = [FEWSTEP, *VERBS[verb].split()]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert any(SERVES[verb] in line for line in server.stdout)
        server.send_signal(signal.SIGINT)
        assert server.wait(30) in (0, 130)
    assert not ran(folder)


def test_a_robot_and_a_leader_beside_the_user_are_found(folder: Path) -> None:
    command = "record teleop=my_robot:Leader robot=my_robot:Robot data=by_hand episodes=1"
    done = fewstep(folder, *command.split(), typed=b"\x03")
    said = (done.stdout + done.stderr).decode()
    for name in ("robot was made", "leader was made"):
        assert (folder / name).exists(), said
    assert not ran(folder)


def test_whoever_starts_a_python_process_keeps_the_current_folder_off_its_path() -> None:
    root = Path(__file__).parents[2]
    for path in (p for room in ("envs", "demos", "policy") for p in (root / room).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "sys.executable" not in text or '"-P"' in text or "PYTHONSAFEPATH" in text, path
        pools = ("multiprocessing", "ProcessPoolExecutor", "DataLoader")
        assert "safe_children" in text or not any(word in text for word in pools), path
