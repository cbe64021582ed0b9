"""Teleoperation: devices, what a hand moves, and a sitting with a robot on a clock of its own."""

import gc
import io
import math
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from opengl import needs_opengl
from rich.console import Console

from fewstep.demos import DemoStore
from fewstep.demos.recording.recorder import Recorder
from fewstep.demos.recording.session import Cadence, Session
from fewstep.demos.recording.start_seeds import next_seed
from fewstep.envs import Command, DataError, Field, Obs, Outcome, RobotError, Spec, Step
from fewstep.envs.hardware.simulated_arm import SimulatedArm
from fewstep.envs.sim.pick_place_expert import SPEED, FingertipTool
from fewstep.envs.teleop.devices import PRESSED, Gamepad, Keyboard, SpaceMouse
from fewstep.envs.teleop.drive import LEASH, RANGE_SECONDS, Axes, Drive, Hand, Leader
from fewstep.policy.cli.main import main
from fewstep.policy.cli.printing import print_raw

HZ = 10.0
TOOL = Field((3,), "m", low=(-1, -1, 0), high=(1, 1, 1), measured_by="tool")
SPEC = Spec(
    {"tool": Field((3,), "m")},
    {"tool": TOOL, "gripper": Field((1,), "", "discrete", low=(0,), high=(1,))},
    HZ,
)


class Table:
    """A robot that is at once where it is sent, on a clock that only waits."""

    def __init__(self) -> None:
        self.spec, self.clock, self.at, self.resets = SPEC, FakeClock(), np.zeros(4), 0
        self.wins_after = math.inf  # commands since its reset
        self.commands = 0

    def reset(self, seed: int | None = None) -> None:
        self.at, self.resets = np.zeros(4), self.resets + 1
        self.commands = 0

    def observe(self) -> Obs:
        now = self.clock.now()
        return Obs(now, {"tool": self.at[:3].astype(np.float32)}, {"tool": now})

    def command(self, command: Command) -> np.ndarray:
        self.commands += 1
        self.at = self.at if command.action is None else np.asarray(command.action, float)
        return self.at.astype(np.float32)

    def outcome(self) -> Outcome | None:
        return Outcome(True, why="done") if self.commands >= self.wins_after else None

    def close(self) -> None:
        pass


class Script:
    """A device that does the same every tick, and says words at some of them."""

    def __init__(
        self,
        words: dict[int, str],
        move: tuple[float, ...] = (1, 0, 0, 0, 0, 0, 0),
        over: str = "quit",
    ) -> None:
        self.words, self.move, self.over, self.tick = words, np.array(move, float), over, -1

    def read(self) -> Hand:
        self.tick += 1
        word = self.words.get(self.tick) or (self.over if self.tick > max(self.words) else "")
        return Hand(self.move, (word,) if word else ())

    def close(self) -> None:
        pass


def sit(
    folder: Path, words: dict[int, str], episodes: int = 99, robot: Any = None
) -> tuple[DemoStore, list[str], Any]:
    robot, said = robot or Table(), list[str]()
    store = DemoStore.create(folder / "demos", SPEC)
    drive = Drive(Script(words), Axes(SPEC), SPEC)
    session = Session(robot, drive, store, said.append)
    drive.on_event = session.on_event
    session.run(episodes)
    store.close()
    return DemoStore.open(folder / "demos"), said, robot


# Devices


def test_keys_move_turn_and_grip_as_long_as_they_are_held() -> None:
    out, into = os.pipe()
    now = [0.0]
    keyboard = Keyboard(out, lambda: now[0])
    os.write(into, b"w" + b"E" + b"l")
    assert keyboard.read().move.tolist() == [1, 0, 0, 0, 0, -1, 1]
    now[0] += 0.9 * PRESSED
    assert keyboard.read().move[0] == 1
    now[0] += 0.2 * PRESSED
    assert not keyboard.read().move.any()
    os.write(into, b"ws\r \x03")
    assert keyboard.read().events == ("start", "success", "quit")
    os.close(into)
    assert keyboard.read().events == (), "a keyboard that is gone says nothing"
    keyboard.close()


def test_a_terminal_is_given_back_as_it_was() -> None:
    import pty
    import termios

    _, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    keyboard = Keyboard(terminal)
    assert termios.tcgetattr(terminal)[3] != before[3]
    keyboard.close()
    keyboard.close()
    assert termios.tcgetattr(terminal)[:4] == before[:4]


class Stick:
    def __init__(self) -> None:
        self.axes, self.buttons = [0.0, 0.0, -1.0, 0.0, 0.0, -1.0], set[int]()

    def get_numaxes(self) -> int:
        return 6

    def get_axis(self, i: int) -> float:
        return self.axes[i]

    def get_button(self, i: int) -> bool:
        return i in self.buttons


def test_a_gamepad_at_rest_moves_nothing_and_its_sticks_and_triggers_do() -> None:
    stick = Stick()
    pad = Gamepad(stick)
    assert not pad.read().move.any()
    stick.axes = [0.05, -1.0, -1.0, 0.0, 0.5, 1.0]
    move = pad.read().move
    assert move[0] == 1 and move[1] == 0 and -0.5 < move[2] < -0.4 and move[6] == -1
    stick.buttons = {7}
    assert [pad.read().events for _ in range(2)] == [("start",), ()], (
        "a button that stays down is pressed once"
    )


class Mouse:
    def __init__(self, *reports: bytes) -> None:
        self.reports = list(reports)

    def read(self, size: int) -> list[int]:
        return list(self.reports.pop(0)) if self.reports else []

    def close(self) -> None:
        pass


def report(kind: int, *numbers: int) -> bytes:
    return bytes([kind]) + np.array(numbers, "<i2").tobytes()


REPORTS = [(report(1, 350, 0, -175), report(2, 0, 70, 0)), (report(1, 350, 0, -175, 0, 70, 0),)]


@pytest.mark.parametrize("reports", REPORTS, ids=["two", "one"])
def test_both_kinds_of_spacemouse_reports_are_read(reports: tuple[bytes, ...]) -> None:
    mouse = SpaceMouse(Mouse(*reports), Script({99: ""}))
    np.testing.assert_allclose(mouse.read().move, [0, -1, 0.5, -0.2, 0, 0, 0], atol=1e-9)


def test_spacemouse_buttons_grip_and_both_together_begin_and_end() -> None:
    mouse = SpaceMouse(Mouse(), Script({99: ""}))
    heard = []
    for buttons in (1, 2, 3, 3, 0):
        mouse._device.reports = [bytes([3, buttons])]
        hand = mouse.read()
        heard.append((hand.move[6], hand.events))
    assert heard == [(-1, ()), (1, ()), (0, ("toggle",)), (0, ()), (0, ())]


# What a hand moves


@given(
    st.lists(st.lists(st.floats(-1, 1), min_size=7, max_size=7), min_size=1, max_size=30),
    st.floats(0.01, 0.5),
)
def test_axes_keep_bounds_and_leash(moves: list[list[float]], dt: float) -> None:
    low, high = SPEC.bounds()
    action, measured, axes = np.array([0, 0, 0.5, 0.0]), np.array([0.2, 0, 0.5, np.nan]), Axes(SPEC)
    for move in moves:
        action = axes.follow(action, measured, np.array(move), dt)
        assert (action >= low).all()
        assert (action <= high).all()
        assert (abs(action - measured)[:3] <= LEASH * (high - low)[:3] + 1e-9).all()
        assert action[3] in (0, 1)


def test_full_deflection_crosses_the_range_in_the_time_it_says() -> None:
    action = Axes(SPEC).follow(
        np.zeros(4), np.full(4, np.nan), np.array([0.5, 0, 0, 0, 0, 0, 1]), 0.1
    )
    np.testing.assert_allclose(action, [0.5 * 2 * 0.1 / RANGE_SECONDS, 0, 0, 1])


def test_robots_without_bounds_or_with_too_many_joints_need_a_leader() -> None:
    with pytest.raises(RobotError, match="no bounds"):
        Axes(Spec({}, {"a": Field((2,))}, 10))
    with pytest.raises(RobotError, match="use a leader arm"):
        Axes(SimulatedArm(joints=7).spec)


def test_the_fingertips_of_the_built_in_arm_go_where_the_hand_leads() -> None:
    tool = FingertipTool()
    start = np.array([0.0, -0.10, 0.64, 0.0, -0.54, 0.0, 0.05])
    action = start
    for _ in range(5):
        action = tool.follow(action, start, np.array([0, 1, -1, 0, 0, 0, -1.0]), 0.05)
    went = tool.arm.forward(action[:6]) - tool.arm.forward(start[:6])
    np.testing.assert_allclose(went[:3], [0, 0.25 * SPEED, -0.25 * SPEED], atol=1e-6)
    assert 0 <= action[6] < 0.05


def test_a_leader_is_followed_and_one_that_does_not_fit_is_refused() -> None:
    follower, leader = SimulatedArm(3, clock=FakeClock()), SimulatedArm(3, clock=FakeClock())
    command = Leader(leader, follower.spec).act(follower.observe())
    np.testing.assert_allclose(command.action, leader.observe().data["joints"])
    with pytest.raises(RobotError, match="'tool', which is not observed"):
        Leader(leader, SPEC)


# Sittings


def test_episodes_are_what_lies_between_start_and_judgement(tmp_path: Path) -> None:
    words = {
        5: "start",
        9: "success",
        12: "start",
        14: "failure",
        20: "start",
        22: "discard",
        25: "toggle",
        26: "toggle",
    }
    store, said, robot = sit(tmp_path, words)
    assert (store.success, np.diff(store.ends, prepend=0).tolist()) == (
        [True, False, True],
        [4, 2, 1],
    )
    begun = [f"recording episode {k}" for k in (0, 1, 2, 2)]
    ends = ["kept: success", "kept: failure", "discarded", "kept: success"]
    assert [text.split(",")[0] for text in said] == [
        x for pair in zip(begun, ends, strict=True) for x in pair
    ]
    assert robot.resets == 5, "at the beginning, and after each episode"
    assert (np.diff(store.episode(0).data["action"][:, 0]) > 0).all(), "the hand moved it"


def test_words_out_of_place_do_nothing_and_quitting_drops_what_runs(tmp_path: Path) -> None:
    store, said, _ = sit(tmp_path, {1: "success", 2: "discard", 3: "start", 4: "start", 6: "quit"})
    assert len(store) == 0
    assert said == ["recording episode 0", "discarded"]


def test_a_robot_that_knows_the_outcome_ends_the_episode(tmp_path: Path) -> None:
    robot = Table()
    robot.wins_after = 3
    store, said, _ = sit(tmp_path, {0: "start", 4: "start", 8: "start", 9: ""}, robot=robot)
    assert store.success == [True, True]
    assert np.diff(store.ends, prepend=0).tolist() == [2, 1]
    assert said[-1] == "discarded: nothing was recorded yet", "it began on the last tick"


def test_a_robot_whose_episodes_are_over_at_once_ends_the_session(tmp_path: Path) -> None:
    robot = Table()
    robot.wins_after = 0
    with pytest.raises(RobotError, match="over as soon as they begin"):
        sit(tmp_path, {0: "start"}, robot=robot)


def test_so_many_episodes_are_enough(tmp_path: Path) -> None:
    store, _, _ = sit(tmp_path, dict.fromkeys(range(100), "toggle"), episodes=3)
    assert len(store) == 3


def test_two_hundred_episodes_leave_nothing_in_memory(tmp_path: Path) -> None:
    robot, store = Table(), DemoStore.create(tmp_path / "demos", SPEC)
    drive = Drive(Script(dict.fromkeys(range(100000), "toggle")), Axes(SPEC), SPEC)
    session = Session(robot, drive, store, lambda text: None)
    drive.on_event = session.on_event
    session.run(200)
    tracemalloc.start()
    session.run(400)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert (len(store), grown < 300_000) == (400, True), f"{grown} bytes more after 200 episodes"
    store.close()


def fill_disk(monkeypatch: pytest.MonkeyPatch, refusals: float) -> None:
    """The disk is full from the third episode on, so many times."""
    append, calls = DemoStore._append, []

    def full(self: DemoStore, episodes: Any) -> None:
        calls.append(1)
        if 2 < len(calls) <= 2 + refusals:
            raise OSError(28, "No space left on device")
        append(self, episodes)

    monkeypatch.setattr(DemoStore, "_append", full)


@pytest.mark.parametrize(("episodes", "refusals"), [(6, 2), (3, 1)], ids=["next", "at the end"])
def test_an_episode_that_finds_a_full_disk_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, episodes: int, refusals: int
) -> None:
    fill_disk(monkeypatch, refusals)
    store, said, _ = sit(tmp_path, dict.fromkeys(range(100), "toggle"), episodes=episodes)
    assert len(store) == episodes
    waits = [text for text in said if "No space left on device" in text]
    assert len(waits) == refusals and "waits in memory" in waits[0]
    assert said[-1] == waits[-1] or said[-1].endswith(f"{episodes} episodes in all")


def test_what_there_is_room_for_is_stored_of_episodes_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, full = DemoStore._append, [True]

    def refuse(self: DemoStore, episodes: Any) -> None:
        if full or len(self) == 1:
            raise OSError(28, "No space left on device")
        append(self, episodes)

    monkeypatch.setattr(DemoStore, "_append", refuse)
    with DemoStore.create(tmp_path / "demos", SPEC) as store:
        recorder = Recorder(store)
        seeds = next_seed(store, first=-1)
        nowhere = np.zeros(4)
        tried = []
        for _ in range(3):
            tried.append(recorder.free(seeds()))
            recorder.step(Step(Table().observe(), Command(nowhere, "operator"), nowhere, 0.0))
            recorder.keep(Outcome(True), lambda text: None, tried[-1])
        assert tried == [tried[0], tried[0] + 1, tried[0] + 2], "no start is shown twice"
        full.clear()
        with pytest.raises(DataError, match="new episodes that are lost: 2"):
            recorder.close()
        assert len(store) == 1


def test_a_disk_that_stays_full_ends_the_sitting_and_tells_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, refusals=np.inf)
    wrong = "No space left on device; nothing was added, all 2 from before are safe; .*lost: 4"
    with pytest.raises(DataError, match=wrong):
        sit(tmp_path, dict.fromkeys(range(100), "toggle"))
    assert len(DemoStore.open(tmp_path / "demos")) == 2


def test_a_cadence_that_drifts_is_told_but_not_all_the_time() -> None:
    steady, slow = Cadence(HZ), Cadence(HZ)
    assert not any(steady.off(k / HZ) for k in range(200))
    told = [text for k in range(200) if (text := slow.off(k / (0.8 * HZ)))]
    assert 3 <= len(told) <= 6
    assert told[0].startswith("frames come at 8.0 Hz instead of 10")


@pytest.mark.parametrize("cameras", [[], pytest.param(["front"], marks=needs_opengl)])
def test_a_terminal_records_the_built_in_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, cameras: list[str]
) -> None:
    typed, keys = os.pipe()
    os.write(keys, b"\nw")
    ended = iter([*[""] * 12, " ", *[""] * 3, "\x03"])
    read = Keyboard.read
    monkeypatch.setattr(
        Keyboard, "read", lambda self: (os.write(keys, next(ended).encode()), read(self))[1]
    )
    with os.fdopen(typed) as stdin, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        seen = f"cameras=[{','.join(cameras)}]"
        assert main(["record", "teleop=keyboard", seen, f"data={tmp_path}/demos"]) == 0
    os.close(keys)
    store = DemoStore.open(tmp_path / "demos")
    assert (store.success, store.provenance["actor"]) == ([True], "keyboard")
    assert 5 < store.frames < 14
    assert list(store.spec.images) == cameras
    assert "Enter starts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["teleop=telepathy"], "no robot 'telepathy'"),
        (["teleop=keyboard", "robot=simulated"], "use a leader arm"),
        (["teleop=keyboard", "robot=simulated", "cameras=[front]"], "cameras are a YAML file"),
        (["teleop=keyboard", "repeats=2", "expert=a:B"], "leave out expert, repeats"),
        (["teleop=page", "robot=simulated", "hz=5"], "is no simulated task: leave out hz"),
        (["robot=simulated"], "robot= is for recordings by hand"),
    ],
)
def test_a_sitting_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(Keyboard, "__init__", lambda self: None)
    monkeypatch.setattr(Keyboard, "close", lambda self: None)
    assert main(["record", *arguments, f"data={tmp_path}/demos"]) in (1, 2)
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_raw_terminal_gets_every_line_from_its_left_edge() -> None:
    screen = io.StringIO()
    print_raw(Console(file=screen), "one [of] two\ntwo")
    assert screen.getvalue() == "one [of] two\r\ntwo\r\n"
