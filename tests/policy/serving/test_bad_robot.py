"""Whatever a bad robot does, and whoever drives it.

Its motors are sent nothing beyond their limits, and it is told.
"""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bad_robot
import motion
import numpy as np
import pytest
from cells import Booth, Cell, Keys, until, write_demos

from fewstep.demos.store import DemoStore
from fewstep.envs.teleop.devices import DEVICES

HZ = 100.0
TESTS = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    return write_demos(tmp_path_factory.mktemp("bad"), 6.0)


@pytest.fixture
def cell(tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    yield Cell(tmp_path, demos)


def test_a_good_day(cell: Cell) -> None:
    assert cell.run("seconds=4") == 0
    assert motion.judged(cell.log, HZ).keeps_limits()
    assert {r["dtype"] for r in motion.records(cell.log) if r.get("action")} == {"float64"}
    assert np.ptp(cell.commands(), axis=0).max() > 0.5, "it has moved"


TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "an encoder that is off by a radian": (
        {"offset": 1.0},
        "jumped by|away from where it was sent",
    ),
    "an encoder that is off by a million": ({"offset": 1e6}, "outside its limits"),
    "a joint that gives way": ({"sink": 0.5}, "away from where it was sent"),
    "joints that are held fast and pushed": (
        {"sink": -0.8, "stuck": True},
        "away from where it was sent",
    ),
    "observations that stay the same": ({"freeze": True}, r"observation is 0\.\d+ s old"),
    "observations that fail": ({"blind": True}, r"observation is 0\.\d+ s old"),
    "a bus that takes no commands": ({"deaf": True}, "takes no command: no answer on the bus"),
    "a clock that goes back": ({"clock_back": 100.0}, r"clock went back by (99.9\d|100.00) s"),
    "a clock that stands still": ({"clock_stops": True}, r"clock went on by 0\.\d+ s in 1\.\d+ s"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_fault_in_motion_ends_at_rest_within_limits(cell: Cell, trouble: str) -> None:
    causes, why = TROUBLES[trouble]
    cell.later(0.3, causes)
    assert cell.run("seconds=5") == 1
    assert motion.judged(cell.log, HZ).keeps_limits()
    assert motion.at_rest(cell.log) or "deaf" in causes, (
        "what takes no commands stays where it was sent last"
    )
    assert re.search(rf"active -> fault: .*({why})", cell.said())


@pytest.mark.parametrize("hz", [50.0, 100.0, 500.0])
def test_episodes_that_follow_each_other_are_one_smooth_motion(cell: Cell, hz: float) -> None:
    assert cell.run("seconds=1.2", "episodes=3", hz=hz) == 0
    assert cell.resets() == 3
    assert motion.judged(cell.log, hz).keeps_limits()


def test_a_robot_that_homes_is_braked_before_and_met_where_it_stands(
    cell: Cell, monkeypatch, tmp_path: Path
) -> None:
    cell.cause(home=[-0.6, 0.4, 0.2], home_seconds=1.5)
    alive: list[float] = []

    def listen() -> None:
        while systemd.recv(100) != b"":
            alive.append(time.monotonic())

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        listener = threading.Thread(target=listen)
        listener.start()
        assert cell.run("seconds=1.5", "episodes=2") == 0
        systemd.sendto(b"", str(tmp_path / "notify"))
        listener.join()
    assert cell.resets() == 2
    assert motion.judged(cell.log, HZ).keeps_limits()
    found = motion.records(cell.log)
    second = [k for k, r in enumerate(found) if r["kind"] == "reset"][1]
    assert found[second - 1]["action"] == found[second - 2]["action"], (
        "it is at rest before it homes"
    )
    assert "has stopped" not in cell.said() and not cell.events("stuck")
    assert np.diff(alive).max() < 1.0, "systemd hears of it all the time"


def test_a_homing_that_fails_half_way_is_a_fault_and_no_way_back(cell: Cell) -> None:
    cell.cause(home=[-1.0, -1.0, -1.0], home_seconds=0.3, reset_raises=True)
    assert cell.run("seconds=2") == 1
    assert "could not be reset: homing switch not found" in cell.said()
    found = motion.records(cell.log)
    after = next(k for k, r in enumerate(found) if r["kind"] == "reset ends")
    assert all(r["action"] is None for r in found[after:] if r["kind"] == "command"), (
        "the old pose is a radian away"
    )


def test_a_homing_is_broken_off_when_the_run_is_told_to_end(cell: Cell) -> None:
    cell.cause(home=[1.0, 1.0, 1.0], home_seconds=30.0)

    def press() -> None:
        until(cell.resets)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    begun = time.monotonic()
    assert cell.run("seconds=2") == 1
    assert time.monotonic() - begun < 10
    assert "could not be reset: it was broken off" in cell.said()
    assert motion.records(cell.log)[-1]["kind"] == "close"


def test_from_outside_its_limits_a_robot_comes_in_slowly_or_not_at_all(cell: Cell) -> None:
    cell.cause(begin=2.2)
    assert cell.run("seconds=4") == 0
    found = motion.judged(cell.log, HZ)
    assert max(found.velocity, found.acceleration) <= 1 + motion.EXACT
    assert found.position == pytest.approx(1.1, abs=1e-3), "it begins outside, and goes no farther"
    assert np.abs(cell.commands()[-1]).max() < 2
    cell.log.unlink()
    cell.cause(begin=2.6)
    assert cell.run("seconds=1") == 1
    assert cell.commands() == []


def test_a_driver_that_hangs_for_a_moment_goes_on_from_rest(cell: Cell, capsys) -> None:
    cell.later(0.3, {"hang": 0.3})
    assert cell.run("seconds=4") == 0
    assert motion.judged(cell.log, HZ).keeps_limits()
    assert re.search(r"nothing was sent for 0\.3\d s", capsys.readouterr().out)


def test_a_driver_that_hangs_for_good_ends_a_run_that_nobody_attends(
    cell: Cell, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("fewstep.policy.serving.run.HANG_SECONDS", 2.0)
    cell.later(0.3, {"hang": 1e6})
    assert cell.run("seconds=60") == 1
    said = capsys.readouterr()
    assert "use the emergency stop" in said.out and "has not answered for 2 s" in said.err
    assert motion.judged(cell.log, HZ).keeps_limits()


def test_a_driver_that_complains_all_the_time_is_told_at_a_bounded_rate(cell: Cell) -> None:
    cell.later(0.3, {"chatty": True})
    assert cell.run("seconds=3") == 1
    assert 1 <= cell.said().count("bus error") <= 4


def test_a_constructor_that_fails_is_an_error_in_one_line(cell: Cell, capsys) -> None:
    cell.cause(constructor_raises=True)
    assert cell.run() == 1
    assert "could not be made: OSError: no arm is connected" in capsys.readouterr().err


def test_a_log_on_a_full_disk_is_told_and_stops_nothing(cell: Cell, monkeypatch, capsys) -> None:
    monkeypatch.setattr("fewstep.envs.control.telemetry.TICKS", "/dev/full")
    assert cell.run("seconds=2") == 1
    said = capsys.readouterr().out
    assert (
        "No space left on device; the run goes on without its log" in said
        and "has stopped" not in said
    )
    assert motion.judged(cell.log, HZ).keeps_limits() and len(cell.commands()) > 150


def test_options_are_in_no_process_list_and_no_log(cell: Cell) -> None:
    seen: list[str] = []

    def look() -> None:
        until(cell.commands)
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                seen.append(place.read_text())

    watcher = threading.Thread(target=look)
    watcher.start()
    assert cell.run("seconds=2", "+options.password=hunter2") == 0
    watcher.join()
    assert any("envs.control.process" in text for text in seen) and not any(
        "hunter2" in text for text in seen
    )
    assert not any("hunter2" in file.read_text(errors="replace") for file in cell.out.iterdir())


def test_calibration_is_not_misled_by_a_late_camera(cell: Cell) -> None:
    cell.cause(camera_late=0.2)
    assert cell.run("calibrate=true", "+options.camera=true", "+options.joints=1") == 0
    found = json.loads((cell.out / "latency.json").read_text())
    assert found["observation"]["camera"] == pytest.approx(0.2, abs=0.01)
    assert found["observation"]["joints"] < 0.02
    assert all(
        seconds == pytest.approx(bad_robot.LAG, abs=0.02) for seconds in found["actuation"].values()
    )
    assert motion.judged(cell.log, HZ).keeps_limits()
    begin = cell.commands()[0]
    assert np.abs(np.array(cell.commands()) - begin).max() < np.radians(2) + 1e-6


# While a person is asked


@pytest.fixture
def typing(monkeypatch) -> Iterator[Callable[[str], None]]:
    """What types for a person."""
    stdin, keys = os.pipe()
    with os.fdopen(stdin) as file:
        monkeypatch.setattr("sys.stdin", file)
        yield lambda text: os.write(keys, text.encode())  # type: ignore[misc]


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGKILL, "was killed"), (signal.SIGSTOP, "has stopped")]
)
def test_a_control_process_that_goes_while_a_person_is_asked_is_told_at_once(
    cell: Cell, typing: Callable[[str], None], capsys, number: signal.Signals, told: str
) -> None:
    moments: dict[str, float] = {}

    def interfere() -> None:
        until(lambda: cell.events("ready"))
        time.sleep(0.5)
        pid = next(
            json.loads(line)["pid"] for line in cell.said().splitlines() if '"ready"' in line
        )
        moments["gone"] = time.monotonic()
        os.kill(pid, number)
        if number == signal.SIGSTOP:
            until(lambda: cell.events("stuck"))
            moments["told"] = time.monotonic()
            os.kill(pid, signal.SIGCONT)
            typing("q\n")

    threading.Thread(target=interfere, daemon=True).start()
    code = cell.run("unattended=false", "seconds=2")
    seconds = moments.get("told", time.monotonic()) - moments["gone"]
    said = capsys.readouterr()
    assert told in said.out + said.err and code == (1 if number == signal.SIGKILL else 0)
    assert seconds < 1.5


def test_a_fault_while_a_person_is_asked_is_told_and_armed_anew_by_the_next_enter(
    cell: Cell, typing: Callable[[str], None], capsys
) -> None:
    def interfere() -> None:
        typing("\n")
        until(cell.resets)
        until(lambda: cell.events("ended"))
        cell.cause(offset=1.0)
        until(lambda: "hold -> fault" in cell.said())
        cell.cause()
        time.sleep(0.5)
        typing("y\n\ny\n")

    threading.Thread(target=interfere, daemon=True).start()
    assert cell.run("unattended=false", "seconds=1", "episodes=2") == 0
    assert "fault -> hold: asked to" in cell.said() and cell.resets() == 2
    assert motion.judged(cell.log, HZ).keeps_limits()


# Recording by hand


@pytest.fixture
def booth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Booth:
    keys = Keys()
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("BAD_LEADER", str(tmp_path / "leader"))
    monkeypatch.setattr("fewstep.policy.serving.teleop_session.Keyboard", lambda: keys)
    return Booth(tmp_path, keys)


def test_a_follower_comes_to_its_leader_slowly_once_a_person_begins(booth: Booth) -> None:
    before: list[Any] = []

    def script() -> None:
        booth.ready()
        time.sleep(0.5)
        before.extend(booth.commands())
        for k, seconds in enumerate([8.0, *[4.0] * 9]):
            booth.says("start")
            until(lambda k=k: booth.over or booth.events("begins") > k)
            if booth.over:
                return
            time.sleep(seconds)
            booth.says("success")
            until(lambda k=k: booth.over or booth.events("ended") > k)

    assert booth.record(script, "episodes=2") == 0
    assert before == [], "nothing is sent before somebody begins"
    assert motion.judged(booth.log, HZ).keeps_limits()
    sent = np.array(booth.commands())
    away = np.flatnonzero(np.abs(sent - sent[0]).max(1) > 1e-6)[0]
    coming = sent[away : away + 200]
    assert np.abs(np.diff(coming, axis=0)).max() * HZ <= 0.2 * bad_robot.VELOCITY + 1e-6
    store = DemoStore.open(booth.store)
    assert store.success == [True, True] and store.spec.policy_hz == 20
    first = store.episode(0)
    assert np.abs(first.data["action"] - 1.0).max() < 0.4, "what is recorded follows the leader"
    assert len(store.episode(1)) > 20


def test_a_fault_ends_the_episode_and_waits_for_a_person(booth: Booth) -> None:
    def script() -> None:
        booth.ready()
        booth.says("start")
        until(lambda: booth.events("begins") == 1)
        time.sleep(1.0)
        booth.cause(offset=1.0)
        until(lambda: booth.events("ended") == 1)
        time.sleep(1.0)
        booth.cause()
        time.sleep(0.5)
        recording(booth)
        booth.says("success")

    assert booth.record(script, "episodes=1") == 0
    assert booth.resets() == 2, "once for each time that a person began"
    assert motion.judged(booth.log, HZ).keeps_limits()
    assert DemoStore.open(booth.store).success == [True], (
        "the episode that a fault has ended is dropped"
    )


def recording(booth: Booth) -> None:
    """Follow a leader that swings near to where the follower begins."""
    booth.leader.write_text(json.dumps({"centre": 0.1}))
    booth.ready()
    booth.says("start")
    time.sleep(3.0)


def lose(booth: Booth) -> None:
    booth.leader.write_text(json.dumps({"lost": True}))


WAYS_OUT: dict[str, tuple[Callable[[Booth], None], int]] = {
    "the leader is unplugged": (lose, 1),
    "Ctrl-C": (lambda booth: os.kill(os.getpid(), signal.SIGINT), 130),
    "SIGTERM": (lambda booth: os.kill(os.getpid(), signal.SIGTERM), 130),
    "a terminal that is closed": (lambda booth: os.kill(os.getpid(), signal.SIGHUP), 130),
    "a full disk": (lambda booth: booth.says("success"), 1),
    "quit": (lambda booth: booth.says("quit"), 1),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_every_way_out_of_a_recording_brakes_first(booth: Booth, monkeypatch, way: str) -> None:
    end, code = WAYS_OUT[way]
    refused: list[int] = []
    if way == "a full disk":

        def full(*_: object) -> None:
            refused.append(1)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(DemoStore, "_append", full)

    def script() -> None:
        recording(booth)
        end(booth)
        if way == "a full disk":
            until(lambda: refused)
            booth.says("quit")

    assert booth.record(script, "episodes=3") == code
    assert motion.judged(booth.log, HZ).keeps_limits()
    assert motion.at_rest(booth.log) and motion.records(booth.log)[-1]["kind"] == "close"
    assert len(DemoStore.open(booth.store)) == 0


def test_a_leader_that_hangs_for_a_moment_is_waited_for(booth: Booth) -> None:
    def script() -> None:
        recording(booth)
        booth.leader.write_text(json.dumps({"centre": 0.1, "hang": 0.6}))
        time.sleep(2.5)
        booth.says("success")

    assert booth.record(script, "episodes=1") == 0
    assert motion.judged(booth.log, HZ).keeps_limits()
    assert np.diff(DemoStore.open(booth.store).episode(0).data["time"]).max() < 0.2, (
        "holding is recorded too"
    )


def test_a_device_moves_a_robot_from_where_it_is(booth: Booth, monkeypatch) -> None:
    def script() -> None:
        booth.ready()
        booth.says("start")
        until(lambda: booth.events("begins") == 1)
        time.sleep(0.5)
        booth.keys.move = np.array([1.0, 0, 0, 0, 0, 0, 0])
        time.sleep(1.5)
        booth.keys.move = np.zeros(7)
        time.sleep(0.5)
        booth.says("success")

    monkeypatch.setitem(DEVICES, "keyboard", lambda: booth.keys)
    assert booth.record(script, "episodes=1", teleop="keyboard") == 0
    assert motion.judged(booth.log, HZ).keeps_limits()
    moved = np.ptp(DemoStore.open(booth.store).episode(0).data["action"], axis=0)
    assert moved[0] > 0.3 and moved[1:].max() < 0.01
