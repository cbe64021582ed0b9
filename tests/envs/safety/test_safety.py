"""SafeRobot: states, watchdogs and latched faults around a robot.

And an episode goes on as without it.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from fakes import RAIL, FakeClock, Rail
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs import Command, Field, Obs, Outcome, RobotError, Spec, run_episode
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import NEXT, State, WatchdogConfig
from fewstep.envs.sim.registry import make_expert, make_robot

DT = 1 / RAIL.policy_hz
SPEC = replace(
    RAIL,
    actions={"position": replace(RAIL.actions["position"], velocity=(1.0,), acceleration=(5.0,))},
)
GO = Command(np.array([0.8], np.float32), "policy")


class Sick(Rail):
    """A rail whose observations may be old, missing or refused."""

    spec = SPEC

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.age, self.broken, self.deaf, self.sent = 0.0, False, False, []
        self.shown, self.silent, self.judge = None, False, None

    def observe(self) -> Obs:
        if self.broken:
            raise OSError("cable")
        obs = super().observe()
        if self.shown is not None:
            return Obs(obs.time, self.shown, {"position": obs.time})
        return Obs(obs.time, obs.data, {"position": obs.time - self.age})

    def command(self, command: Command) -> np.ndarray:
        if self.deaf:
            raise OSError("bus")
        if command.action is not None:
            self.sent.append(float(command.action[0]))
        return None if self.silent else super().command(command)

    def outcome(self) -> Outcome | None:
        if self.judge == "ill":
            raise OSError("camera")
        return self.judge


class Cell:
    """A robot made safe, with what was said, one tick at a time."""

    def __init__(self, watchdog: WatchdogConfig | None = None) -> None:
        self.said: list[str] = []
        self.robot = Sick()
        self.robot.reset(1)
        self.safe = SafeRobot(
            self.robot,
            Limits.of(SPEC),
            watchdog or WatchdogConfig(ramp_seconds=0.0),
            self.said.append,
        )
        self.safe.reset(1)

    def tick(self, command: Command = GO) -> float:
        self.robot.clock.wait_until(self.robot.clock.now() + DT)
        self.safe.observe()
        return float(self.safe.command(command)[0])

    def start(self) -> "Cell":
        self.safe.go(State.HOLD)
        self.safe.go(State.ACTIVE)
        return self


NONE = Command(None, "policy")


@pytest.mark.parametrize("state", [State.DISARMED, State.SHADOW])
def test_nothing_is_sent_before_it_is_allowed(state: State) -> None:
    cell = Cell()
    if state is State.SHADOW:
        cell.safe.go(state)
    assert cell.tick() == pytest.approx(cell.robot.place[0]) and cell.robot.sent == []


def test_held_it_stays_and_active_it_goes() -> None:
    cell = Cell()
    cell.safe.go(State.HOLD)
    start = float(cell.robot.place[0])
    assert [cell.tick() for _ in range(3)] == pytest.approx([start] * 3)
    cell.safe.go(State.ACTIVE)
    for _ in range(40):
        last = cell.tick()
    assert last == pytest.approx(0.8)
    assert cell.said == ["disarmed -> hold: asked to", "hold -> active: asked to"]


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_only_written_ways_lead_from_state_to_state(before: State, after: State) -> None:
    cell = Cell()
    cell.safe.state = before
    if after in NEXT[before]:
        cell.safe.go(after)
        assert cell.safe.state is after
    else:
        with pytest.raises(RobotError, match=f"no way from {before} to {after}; valid: "):
            cell.safe.go(after)


def test_a_fault_is_latched_brakes_and_is_left_on_purpose_only() -> None:
    cell = Cell().start()
    for _ in range(4):
        cell.tick()
    cell.safe.fault("test")
    path = [cell.tick() for _ in range(20)]
    assert path[-1] == path[-5] and cell.safe.resting, "it has come to rest"
    assert cell.safe.state is State.FAULT and cell.safe.outcome().why == "fault: test"
    with pytest.raises(RobotError):
        cell.safe.go(State.ACTIVE)
    cell.safe.go(State.HOLD)
    cell.safe.go(State.ACTIVE)
    assert abs(cell.tick() - path[-1]) <= 5 * DT * DT + 1e-6, "it begins slowly"


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (lambda r: setattr(r, "age", 0.5), r"observation is 0\.5\d s old"),
        (lambda r: setattr(r, "broken", True), r"observation is 0\.\d+ s old"),
        (lambda r: setattr(r, "age", -100.0), r"observation is 0\.\d+ s old"),
        (lambda r: setattr(r, "age", math.nan), r"observation is 0\.\d+ s old"),
        (lambda r: setattr(r, "shown", {}), r"observation is 0\.\d+ s old"),
        (lambda r: setattr(r, "shown", {"position": np.zeros(2)}), r"observation is 0\.\d+ s old"),
        (
            lambda r: setattr(r, "shown", {"position": np.array([math.nan])}),
            r"observation is 0\.\d+ s old",
        ),
        (lambda r: setattr(r, "deaf", True), "takes no command: bus"),
        (lambda r: setattr(r, "silent", True), "returned None, not the 1 numbers"),
    ],
)
def test_trouble_becomes_a_fault_that_says_why(trouble, why: str) -> None:
    cell = Cell().start()
    cell.tick()
    trouble(cell.robot)
    for _ in range(10):
        cell.tick()
    assert cell.safe.state is State.FAULT
    assert len([t for t in cell.said if re.search(why, t)]) == 1


def test_a_robot_that_took_nothing_for_a_while_is_met_where_it_stands() -> None:
    cell = Cell().start()
    for _ in range(6):
        cell.tick()
    cell.robot.deaf = True
    for _ in range(6):
        cell.tick()
    assert cell.safe.state is State.FAULT
    cell.robot.deaf = False
    cell.robot.place = cell.robot.target = np.array([-0.5], np.float32)  # started anew
    before = len(cell.robot.sent)
    for _ in range(10):
        cell.tick()
    assert len(cell.robot.sent) == before, "nobody has met it yet"
    cell.safe.go(State.HOLD)
    assert cell.tick() == pytest.approx(-0.5)


@pytest.mark.parametrize(
    "action", [None, np.array([math.nan]), np.array([math.inf]), np.zeros(3), np.zeros(0)]
)
def test_without_a_valid_action_it_brakes_at_once_and_faults_in_time(
    action: np.ndarray | None,
) -> None:
    cell = Cell().start()
    for _ in range(4):
        cell.tick()
    path = [cell.tick(Command(action, "policy")) for _ in range(8)]
    assert cell.safe.state is State.ACTIVE and path[-1] == path[-3]
    for _ in range(5):
        cell.tick(Command(action, "policy"))
    assert cell.safe.state is State.FAULT and "no action for" in cell.safe.why
    assert sum("refused an action" in t for t in cell.said) == (action is not None), "said once"


hostile = st.lists(
    st.one_of(st.none(), st.lists(st.floats(), max_size=2).map(np.array)), max_size=40
)


@given(hostile)
def test_whatever_is_commanded_the_robot_hears_nothing_beyond_its_limits(
    actions: list[np.ndarray | None],
) -> None:
    cell = Cell().start()
    start = float(cell.robot.place[0])
    for action in actions:
        cell.tick(Command(action, "policy"))
    x = np.array([start, start, *cell.robot.sent])
    assert np.isfinite(x).all() and (np.abs(x) <= 1).all()
    assert (np.abs(np.diff(x)) <= 1.0 * DT + 1e-6).all()
    assert (np.abs(np.diff(x, 2)) <= 5.0 * DT**2 + 1e-6).all()


def test_an_episode_of_the_expert_goes_on_as_without_it() -> None:
    robot = make_robot("pickplace")
    safe = SafeRobot(robot, Limits.of(robot.spec), WatchdogConfig(ramp_seconds=0.0))
    wins = 0
    for seed in range(5):
        safe.state = State.ACTIVE
        for step in run_episode(safe, make_expert("pickplace"), seed=seed, max_seconds=math.inf):
            assert step is not None and safe.state is State.ACTIVE
        wins += bool(safe.outcome().success)
    assert wins == 5


@pytest.mark.parametrize("judge", ["ill", True])
def test_a_judge_that_fails_is_a_fault(judge) -> None:
    cell = Cell().start()
    cell.robot.judge = judge
    assert re.search("fault: the robot tells no outcome: (camera|.*True)", cell.safe.outcome().why)
    assert cell.safe.state is State.FAULT


def test_only_where_something_may_be_sent_a_robot_is_reset() -> None:
    cell = Cell()
    before = len(cell.robot.log)
    cell.safe.go(State.SHADOW)
    cell.safe.reset(2)
    cell.robot.judge = Outcome(True)
    assert len(cell.robot.log) == before and cell.safe.outcome() is None
    cell.start().safe.reset(2)
    assert len(cell.robot.log) == before + 1 and cell.safe.outcome().success


def test_a_pose_that_was_seen_long_ago_is_not_held() -> None:
    cell = Cell()
    cell.robot.age = 5.0
    with pytest.raises(RobotError, match=r"5\.00 s old: nobody knows where"):
        cell.safe.go(State.HOLD)
    assert cell.tick() == pytest.approx(cell.robot.place[0]) and cell.robot.sent == []


def test_what_a_robot_refuses_at_the_start_is_an_error_of_ours() -> None:
    robot = Sick()
    robot.reset(0)
    safe = SafeRobot(robot, Limits.of(SPEC))
    robot.broken = True
    with pytest.raises(RobotError, match="no observation: cable"):
        safe.reset(1)
    robot.broken, robot.reset = False, lambda seed: 1 / 0  # pyright: ignore
    safe.go(State.HOLD)
    safe.go(State.ACTIVE)
    safe.reset(1)
    assert safe.state is State.FAULT and "could not be reset: division" in safe.why


@pytest.mark.parametrize("way", [0.3, -0.3])
def test_a_robot_that_moves_is_armed_only_once_it_stands_still(way: float) -> None:
    cell = Cell()
    for _ in range(3):
        cell.robot.shown = {"position": np.array([way * cell.robot.clock.now()], np.float32)}
        cell.tick()
    with pytest.raises(
        RobotError, match="the robot moves: it can be armed where it stands still only"
    ):
        cell.safe.go(State.HOLD)
    for _ in range(3):
        cell.tick()
    cell.safe.go(State.HOLD)
    assert cell.tick() == pytest.approx(float(cell.robot.shown["position"][0]))


@pytest.mark.parametrize("reading", [1.0, -0.9, 1e6])
@pytest.mark.parametrize("state", [State.HOLD, State.ACTIVE])
def test_a_reading_that_cannot_be_is_a_fault_and_moves_nothing(
    reading: float, state: State
) -> None:
    cell = Cell()
    cell.safe.go(State.HOLD)
    if state is State.ACTIVE:
        cell.safe.go(State.ACTIVE)
    start = float(cell.robot.place[0])
    away = reading if abs(reading - start) > 0.5 else -reading
    cell.robot.shown = {"position": np.array([away], np.float32)}
    sent = [cell.tick() for _ in range(30)]
    assert cell.safe.state is State.FAULT and "position is measured at" in cell.safe.why
    assert sent == pytest.approx([start] * 30)


def test_a_robot_without_limits_is_refused() -> None:
    spec = Spec({"x": Field((1,), "m")}, {"x": Field((1,), "m", measured_by="x")}, 10)
    with pytest.raises(RobotError, match="no limit on acceleration, high, low, velocity"):
        Limits.of(spec)


def test_what_nothing_measures_is_sent_nowhere_before_a_policy_has_said_where() -> None:
    spec = Spec(
        dict(SPEC.observations),
        {**SPEC.actions, "tool": Field((4,), kind="quaternion")},
        10,
        1 / DT,
    )
    robot = Cell().robot
    robot.spec, robot.sent = spec, []
    robot.command = lambda command: robot.sent.append(command.action) or np.zeros(5)
    safe = SafeRobot(robot, Limits.of(spec, unlimited=["tool"]), WatchdogConfig(ramp_seconds=0.0))

    def tick(action: np.ndarray | None) -> None:
        robot.clock.wait_until(robot.clock.now() + DT)
        safe.observe()
        safe.command(Command(action, "policy"))

    safe.reset(1)
    safe.go(State.HOLD)
    tick(None)
    safe.go(State.ACTIVE)
    tick(None)
    assert robot.sent == [None, None]
    tick(np.array([0.0, 0.6, 0.0, 0.8, 0.0]))
    for way in (State.HOLD, State.DISARMED, State.HOLD):
        safe.go(way)
        tick(None)
    safe.reset(2)
    tick(None)
    placed = [sent for sent in robot.sent if sent is not None]
    assert all(np.array_equal(sent[1:], [0.6, 0, 0.8, 0]) for sent in placed)
    assert len(placed) == 4
