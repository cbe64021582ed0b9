"""Cameras in their processes: pictures with true stamps, and what is told when one goes."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from fewstep.envs import RobotError
from fewstep.envs.cameras import video_device
from fewstep.envs.cameras.camera import open_camera
from fewstep.envs.cameras.camera_config import CameraConfig
from fewstep.envs.cameras.camera_processes import CameraProcesses
from fewstep.envs.cameras.pictured_frames import Frame, PictureFinder
from fewstep.envs.cameras.rings import PictureRing
from fewstep.envs.cameras.simulated_camera import taken_at
from fewstep.envs.cameras.video_device import VideoDevice
from fewstep.envs.cameras.watch import CameraWatch
from fewstep.envs.clock import WallClock
from fewstep.envs.robot import Command, Obs, Step

SECONDS = 0.5  # without a picture, after which a camera counts as gone
TESTS = Path(__file__).parents[2]


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch) -> Path:
    """The file in which a bad camera reads what is wrong with it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *sys.path]))
    return tmp_path / "trouble"


@pytest.fixture
def started() -> Iterator[Callable[[CameraConfig], CameraProcesses]]:
    all_started = []

    def start(config: CameraConfig) -> CameraProcesses:
        cameras = CameraProcesses({"front": config})
        all_started.append(cameras)
        return cameras

    yield start
    for cameras in all_started:
        cameras.close()


def bad(trouble: Path) -> CameraConfig:
    return CameraConfig("bad_camera:BadCamera", 64, 48, 30.0, options={"trouble": str(trouble)})


def until(found: Callable[[], bool], cameras: CameraProcesses, seconds: float = 60.0) -> list[str]:
    """Look after the cameras until something is found; return what was said meanwhile."""
    said: list[str] = []
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, said
        said += cameras.look()
        time.sleep(0.02)
    return said + cameras.look()


def make_watch(cameras: CameraProcesses) -> Callable[[], str]:
    """What the process that controls the robot sees."""
    watch = CameraWatch(cameras.ports, SECONDS, WallClock())

    def look() -> str:
        watch.look()
        return watch.trouble(time.monotonic())

    return look


def test_the_picture_nearest_to_a_moment_was_taken_then(started) -> None:
    cameras = started(CameraConfig("simulated", 640, 48, 30.0))
    time.sleep(0.7)
    moment = time.monotonic() - 0.3
    found = cameras.rings["front"].nearest(moment)
    assert found is not None
    stamp, picture = found
    assert abs(stamp - moment) < 0.5  # a machine under load leaves pictures out
    assert abs(taken_at(picture, stamp) - stamp) < 0.02


def test_a_ring_gives_the_nearest_and_forgets_the_oldest() -> None:
    ring = PictureRing((4, 6), hz=3.0)
    assert ring.nearest(0.0) is None
    for k in range(10):
        ring.write(float(k), np.full((4, 6, 3), k, np.uint8))
    assert ring.newest() == 9.0
    for moment, expected in ((8.4, 8), (8.6, 9), (99.0, 9), (0.0, 6)):
        found = ring.nearest(moment)
        assert found is not None
        assert found[0] == expected
        assert (found[1] == expected).all()


def test_a_frame_waits_for_the_picture_after_it_and_takes_the_nearest() -> None:
    ring = PictureRing((4, 6), hz=30.0)
    finder = PictureFinder({"front": ring})
    now = time.monotonic()
    ring.write(now - 0.02, np.full((4, 6, 3), 1, np.uint8))
    obs = Obs(now, {}, {})
    frames = [(0, True, Step(obs, Command(None, "operator"), np.zeros(1), 0.0))]

    def read() -> Frame | None:
        return frames.pop() if frames else None

    assert not list(finder.take(read)) and finder.waits
    ring.write(now + 0.01, np.full((4, 6, 3), 2, np.uint8))
    (frame,) = finder.take(read)
    assert (frame[2].obs.data["front"] == 2).all()
    assert frame[2].obs.stamps["front"] == now + 0.01
    assert finder.take_skews() == "pictures lie beside their frames by: front 10 ms, at most 10 ms"


def test_a_video_file_is_a_camera_that_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(6):
            picture = np.full((48, 64, 3), 30 * k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture)):
                container.mux(packet)
        container.mux(stream.encode())
    camera = open_camera(CameraConfig(str(path), 64, 48, 20.0))
    read = [camera.read() for _ in range(8)]
    camera.close()
    shades = [round(float(picture.mean()) / 30) for _, picture in read]
    assert shades == [0, 1, 2, 3, 4, 5, 0, 1]
    stamps = [stamp for stamp, _ in read]
    assert stamps[5] - stamps[0] > 0.24


def test_a_device_is_read_through_its_demuxer() -> None:
    camera = VideoDevice(CameraConfig("testsrc=size=64x48:rate=30", 64, 48), demuxer="lavfi")
    stamp, picture = camera.read()
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    assert abs(stamp - time.monotonic()) < 1  # this demuxer has no kernel stamps
    camera.close()


def test_kernel_stamps_are_taken_where_they_are_of_the_monotonic_clock(monkeypatch) -> None:
    camera = VideoDevice(CameraConfig("testsrc=size=64x48:rate=30", 64, 48), demuxer="lavfi")
    monkeypatch.setattr(video_device.time, "monotonic", lambda: 0.2)
    stamps = [camera.read()[0] for _ in range(4)]
    assert np.allclose(np.diff(stamps)[1:], 1 / 30)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/dev/video99", "/dev/video99"),
        ("nothing", "there is no camera 'nothing'; valid: a device"),
        (__file__, "no video file"),
        ("no_such_module:Camera", "no_such_module"),
        ("bad_camera:NoCamera", "no callable 'NoCamera'"),
    ],
)
def test_a_camera_that_is_not_there_is_told(source: str, said: str) -> None:
    with pytest.raises(RobotError, match=said):
        open_camera(CameraConfig(source))


def test_a_camera_of_another_size_is_refused_at_the_start(started, trouble: Path) -> None:
    trouble.write_text("small")
    with pytest.raises(RobotError, match="camera front gives pictures of 32x24 px, not 64x48"):
        started(bad(trouble))


def test_a_camera_that_is_gone_at_the_start_is_refused(started, trouble: Path) -> None:
    trouble.write_text("gone")
    with pytest.raises(RobotError, match=r"camera front: .*no such device"):
        started(bad(trouble))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("black", "camera front is black"),
        ("frozen", "camera front is frozen"),
        ("slow", "camera front gives"),
        ("small", "camera front gives pictures of 32x24 px"),
        ("gone", "camera front has gone: the device was unplugged"),
        ("raises", "camera front has gone: KeyError: 'the reason why'"),
        ("none", "camera front has gone: read() has to return (seconds, uint8 array (48, 64, 3))"),
        (
            "floats",
            "camera front has gone: read() has to return (seconds, uint8 array (48, 64, 3))",
        ),
        ("future", "camera front stamps its pictures"),
    ],
)
def test_what_goes_wrong_is_seen_and_so_is_its_end(
    started, trouble: Path, kind: str, said: str
) -> None:
    cameras = started(bad(trouble))
    look = make_watch(cameras)
    until(lambda: not look(), cameras)
    trouble.write_text(kind)
    until(lambda: look().startswith(said), cameras)
    trouble.write_text("")
    told = until(lambda: not look(), cameras)
    assert any("well again" in text for text in told), told


def test_what_a_driver_prints_and_starts_disturbs_nothing(started, trouble: Path) -> None:
    for prints in ("30\n", "loading... ", "[" * 100_000 + "\n", '{"event": "camera failed"}\n'):
        options = {"trouble": str(trouble), "prints": prints, "starts": True}
        cameras = started(CameraConfig("bad_camera:BadCamera", 64, 48, 30.0, options=options))
        process = cameras._processes[0]._process
        left = f"/proc/{process.pid}/task/{process.pid}/children"
        (child,) = Path(left).read_text().split()
        cameras.close()
        end = time.monotonic() + 10
        while state_of(child) != "Z":
            assert time.monotonic() < end
            time.sleep(0.02)


def state_of(process: str) -> str:
    """The state of a process, or "Z" where there is none any more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_a_camera_that_is_faster_than_asked_for_keeps_its_second(started, trouble: Path) -> None:
    trouble.write_text("fast")
    cameras = started(bad(trouble))
    time.sleep(1.5)
    now = time.monotonic()
    found = cameras.rings["front"].nearest(now - 0.7)
    assert found is not None
    assert abs(found[0] - (now - 0.7)) < 0.3


def test_why_a_process_has_ended_is_told_once(started, trouble: Path) -> None:
    cameras = started(bad(trouble))
    trouble.write_text("dies")
    said: list[str] = []
    end = time.monotonic() + 4
    while time.monotonic() < end:
        said += cameras.look()
        time.sleep(0.02)
    assert said.count("the process of camera front has ended: (3); it is started again") == 1


def test_a_process_that_is_killed_is_missed_and_started_again(started, trouble: Path) -> None:
    cameras = started(bad(trouble))
    look = make_watch(cameras)
    os.kill(cameras._processes[0]._process.pid, signal.SIGKILL)
    time.sleep(SECONDS + 0.2)
    assert "its newest picture is" in look()
    said = until(lambda: not look(), cameras)
    assert any("it is started again" in text for text in said), said


@pytest.mark.parametrize("stop", [True, False])
def test_a_process_that_stands_still_is_missed_and_replaced(
    started, trouble: Path, stop: bool
) -> None:
    cameras = started(bad(trouble))
    look = make_watch(cameras)
    first = cameras._processes[0]._process.pid
    if stop:
        os.kill(first, signal.SIGSTOP)
    else:
        trouble.write_text("hangs")
    until(lambda: "its newest picture is" in look(), cameras)
    trouble.write_text("")
    until(lambda: not look(), cameras)
    assert cameras._processes[0]._process.pid != first


def test_a_process_ends_with_the_one_that_started_it(started, trouble: Path) -> None:
    cameras = started(bad(trouble))
    process = cameras._processes[0]._process
    process.stdin.close()
    assert process.wait(20) == -signal.SIGKILL, "with all that its driver has started"
