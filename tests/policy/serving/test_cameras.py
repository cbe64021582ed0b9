"""Cameras beside a robot: a policy acts from their pictures, a person records them, and the arm
holds where one of them goes.
"""

import threading
import time
from pathlib import Path

import bad_robot
import motion
import numpy as np
import pytest
import torch
from cells import HZ, Booth, Cell, Keys, until, write_demos

from fewstep.demos.store import DemoStore
from fewstep.envs import ProtocolError
from fewstep.envs.agent import Request
from fewstep.envs.cameras.camera_config import with_cameras
from fewstep.envs.cameras.rings import PictureRing
from fewstep.envs.cameras.simulated_camera import taken_at
from fewstep.envs.control.log_reading import latencies, read_ticks
from fewstep.envs.pictures import as_seen
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.serving.inference import with_pictures

TESTS = str(Path(__file__).parents[2])
SIZE = (48, 64)
PATIENT = ("watchdog.camera_seconds=10", "watchdog.action_seconds=30")
SIMULATED = "cameras={front: {source: simulated, width: 64, height: 48}}"


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    return write_demos(tmp_path_factory.mktemp("cameras"), 12.0)


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)
    spec = with_cameras(bad_robot.spec(HZ), {"front": SIZE})
    path = tmp_path_factory.mktemp("cameras") / "policy"
    save_policy(Policy(spec, PolicyConfig(horizon=16, action_steps=4, net=net)), path, {})
    return path


@pytest.fixture
def cell(tmp_path: Path, demos: Path, monkeypatch) -> Cell:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    return Cell(tmp_path, demos)


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """The file in which a bad camera reads what is wrong with it."""
    return tmp_path / "camera"


def bad(camera: Path, size: tuple[int, int] = SIZE) -> str:
    made = f"source: 'bad_camera:BadCamera', options: {{trouble: '{camera}'}}"
    return f"cameras={{front: {{{made}, height: {size[0]}, width: {size[1]}}}}}"


def test_a_policy_acts_from_the_pictures_of_a_camera(cell: Cell, policy: Path) -> None:
    assert cell.run(f"policy={policy}", SIMULATED, "seconds=3", *PATIENT) == 0
    ticks = read_ticks(cell.out)
    ages = ticks["ages"][:, 1]
    assert ages.min() > -1 / HZ, "the newest may be taken right after the state, within a tick"
    assert ages.max() < 10
    assert np.ptp(ages) > 0, "pictures are taken one after the other"
    assert len(latencies(cell.out)) >= 3
    assert np.isfinite(ticks["wanted"]).all(1).any()
    assert motion.judged(cell.log, HZ).keeps_limits()


def test_a_policy_without_its_camera_is_told_how_to_get_it(
    cell: Cell, policy: Path, capsys
) -> None:
    assert cell.run(f"policy={policy}", "seconds=1") == 1
    assert "observation 'front' is missing; cameras={front: ...}" in said(capsys)


def test_a_camera_of_another_size_than_the_policys_is_refused(
    cell: Cell, policy: Path, capsys
) -> None:
    other = "cameras={front: {source: simulated, width: 320, height: 240}}"
    assert cell.run(f"policy={policy}", other, "seconds=1") == 1
    assert "shape is (240, 320, 3), expected (48, 64, 3)" in said(capsys)


def said(capsys) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_a_camera_that_is_not_there_is_told_before_anything_moves(cell: Cell, capsys) -> None:
    assert cell.run("cameras={front: /dev/video97}", "seconds=1") == 1
    assert "camera front: there is no device /dev/video97" in said(capsys)
    assert not cell.log.exists()


def test_a_simulated_task_has_cameras_of_its_own(capsys, tmp_path: Path) -> None:
    from fewstep.policy.cli.main import main

    assert main(["run", "robot=pickplace", "policy=pickplace", SIMULATED]) != 0
    assert "a simulated task" in said(capsys)


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("black", "camera front is black"),
        ("frozen", "camera front is frozen"),
        ("slow", "camera front gives"),
        ("small", "camera front gives pictures of 32x24 px, not 64x48"),
        ("gone", "camera front has gone"),
        ("hangs", "camera front: its newest picture is"),
        ("dies", "camera front: its newest picture is"),
    ],
)
def test_a_camera_that_goes_holds_the_arm(
    cell: Cell, camera: Path, capsys, trouble: str, told: str
) -> None:
    def spoil() -> None:
        until(lambda: cell.commands() and np.ptp(cell.commands()[-20:], axis=0).max() > 1e-3)
        time.sleep(1.0)
        camera.write_text(trouble)

    threading.Thread(target=spoil, daemon=True).start()
    assert cell.run(bad(camera), "seconds=30") == 1
    assert f"active -> fault: {told}" in cell.said()
    assert motion.judged(cell.log, HZ).keeps_limits()
    assert motion.at_rest(cell.log)


@pytest.fixture
def booth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Booth:
    keys = Keys()
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("BAD_LEADER", str(tmp_path / "leader"))
    monkeypatch.setattr("fewstep.policy.serving.teleop_session.Keyboard", lambda: keys)
    return Booth(tmp_path, keys)


def test_a_person_records_what_the_cameras_saw(booth: Booth, capsys) -> None:
    def script() -> None:
        booth.ready()
        booth.keep(range(8))

    wide = "cameras={front: {source: simulated, width: 640, height: 16}}"
    assert booth.record(script, "episodes=1", wide, "images=lossless") == 0
    store = DemoStore.open(booth.store)
    assert store.spec.images["front"].shape == (16, 640, 3)
    episode = store.episode(0)
    time_ = episode.data["time"]
    pictures = episode.data["front"]
    taken = [taken_at(np.asarray(pictures[0]), 0.0)]
    for k in range(1, len(time_)):
        taken.append(taken_at(np.asarray(pictures[k]), taken[0] + time_[k] - time_[0]))
    apart = np.array(taken) - taken[0] - (time_ - time_[0])
    assert np.median(np.abs(apart)) < 0.06, "pictures are of the moments of their frames"
    assert "pictures lie beside their frames by: front" in said(capsys)


def test_a_camera_that_goes_ends_the_episode_and_the_next_begins_when_it_is_back(
    booth: Booth, camera: Path
) -> None:
    def script() -> None:
        booth.ready()
        booth.says("start")
        until(lambda: "recording episode" in booth.said() or booth.events("begins"))
        time.sleep(2.0)
        camera.write_text("gone")
        until(lambda: booth.events("ended") == 1)
        booth.says("start")  # refused: the camera is not back
        until(lambda: booth.events("refused") >= 1 and booth.events("ended") == 2)
        camera.write_text("")
        until(lambda: "well again" in booth.said())
        booth.keep(range(2, 9))

    assert booth.record(script, "episodes=1", bad(camera)) == 0
    assert "fault: camera front has gone" in booth.said()
    assert len(DemoStore.open(booth.store)) == 1
    assert motion.judged(booth.log, HZ).keeps_limits()


def test_a_request_is_answered_from_the_pictures_of_its_moment() -> None:
    spec = as_seen(with_cameras(bad_robot.spec(HZ), {"front": SIZE}), 24)
    ring = PictureRing(SIZE, hz=30.0)
    for k in range(20):
        ring.write(100 + k / 30, np.full((*SIZE, 3), k, np.uint8))
    request = Request(0, {"joints": np.zeros((2, 3))}, 0, 100 + 12.4 / 30)
    pictured = with_pictures(request, {"front": ring}, spec, 2)
    assert pictured.obs["front"].shape == (2, 24, 32, 3)
    assert pictured.obs["front"][:, 0, 0, 0].tolist() == [11, 12], "a period of 1/20 s apart"
    with pytest.raises(ProtocolError, match="camera front has no picture"):
        with_pictures(request, {"front": PictureRing(SIZE, hz=30.0)}, spec, 1)
