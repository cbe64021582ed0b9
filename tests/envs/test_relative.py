"""Actions that are differences.

What they are, how they are followed, and that to hold sends none.
"""

import json
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fakes import DISPLACED, Displaced, FakeClock
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs import Command, Field, Obs, RobotError, Spec, SpecError, incompatibilities
from fewstep.envs.chunk import Chunk
from fewstep.envs.control.replay import Replay
from fewstep.envs.hardware.simulated_arm import SimulatedArm
from fewstep.envs.interpolation import interpolate
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.envs.sim.real_time import Live
from fewstep.envs.sim.registry import make_robot
from fewstep.envs.teleop.drive import Axes, Leader

HZ = DISPLACED.policy_hz
FETCH = "gymnasium_robotics.envs.fetch.fetch_env"
PANDA = "panda_gym.envs.panda_tasks"


def hand(**options: Any) -> GymRobot:
    robot = GymRobot(Displaced(), **{"spec": DISPLACED, "seconds": 100} | options)
    robot.reset(0)
    return robot


def send(robot: Any, action: Any) -> np.ndarray:
    """One tick."""
    sent = robot.command(
        Command(None if action is None else np.array(action, np.float32), "policy")
    )
    robot.clock.wait_until(robot.clock.now() + 1 / robot.spec.command_hz)
    return sent


# What the Spec says


@pytest.mark.parametrize("kind", ["discrete", "quaternion", "image"])
def test_only_numbers_that_can_be_added_are_relative(kind: str) -> None:
    shape = {"image": (2, 2, 3), "quaternion": (4,)}.get(kind, (1,))
    with pytest.raises(SpecError, match=f"'a': what is relative is linear or an angle, not {kind}"):
        Spec({}, {"a": Field(shape, kind=kind, relative=True)}, 10)


def test_no_observation_is_relative() -> None:
    with pytest.raises(SpecError, match="observation 'q' cannot be relative"):
        Spec({"q": Field((1,), relative=True)}, {"a": Field((1,))}, 10)


def test_nothing_measures_a_difference() -> None:
    with pytest.raises(SpecError, match="'a' is relative: 'q' cannot measure a difference"):
        Spec({"q": Field((1,))}, {"a": Field((1,), relative=True, measured_by="q")}, 10)


def test_a_difference_belongs_to_one_period_of_the_policy() -> None:
    with pytest.raises(SpecError, match="command_hz must be 10 like policy_hz, not 100"):
        Spec({}, {"a": Field((1,), relative=True)}, 10, 100)


def test_the_spec_comes_back_and_older_ones_have_targets_only() -> None:
    stored = json.loads(json.dumps(DISPLACED.to_json()))
    assert Spec.from_json(stored) == DISPLACED
    assert DISPLACED.relative_mask().tolist() == [True, True, False]
    for field in stored["actions"].values():
        del field["relative"]
    assert not Spec.from_json(stored).relative_mask().any()


def test_a_difference_is_no_target() -> None:
    target = replace(DISPLACED.actions["move"], relative=False)
    told = incompatibilities(
        DISPLACED, replace(DISPLACED, actions=DISPLACED.actions | {"move": target})
    )
    assert told == ["action 'move': relative is False, expected True"]


# Simulated robots


def test_to_hold_sends_no_difference_and_keeps_the_targets() -> None:
    robot = hand()
    assert send(robot, [1, 0.5, -1]).tolist() == [1, 0.5, -1]
    before = robot.observe().data["hand"]
    for _ in range(25):
        assert send(robot, None).tolist() == [0, 0, -1]
    np.testing.assert_array_equal(robot.observe().data["hand"], before)


def test_one_command_is_one_difference_however_long_nobody_sends_another() -> None:
    robot = hand()
    before = robot.observe().data["hand"]
    robot.command(Command(np.array([1, 0, -1], np.float32), "policy"))
    robot.clock.wait_until(10 / HZ)
    np.testing.assert_allclose(robot.observe().data["hand"] - before, [0.05, 0], atol=1e-6)
    assert [a.tolist() for a in robot.env.unwrapped.actions] == [[1, 0, -1]] + [[0, 0, -1]] * 9  # pyright: ignore


def test_in_real_time_a_late_command_is_not_done_twice() -> None:
    robot = Live(GymRobot(Displaced(), spec=DISPLACED, seconds=100), FakeClock())
    before = robot.observe().data["hand"]
    robot.command(Command(np.array([1, 0, 0], np.float32), "policy"))
    robot.clock.wait_until(5 / HZ)
    np.testing.assert_allclose(robot.observe().data["hand"] - before, [0.05, 0], atol=1e-6)


def test_a_difference_that_may_not_be_zero_is_the_smallest_one() -> None:
    spec = replace(
        DISPLACED,
        actions=DISPLACED.actions
        | {"move": Field((2,), low=(0.1, -1), high=(1, 1), relative=True)},
    )
    robot = hand(spec=spec)
    send(robot, [1, 1, 1])
    np.testing.assert_allclose(send(robot, None), [0.1, 0, 1], atol=1e-6)


def test_whoever_makes_a_robot_can_say_that_its_actions_are_differences() -> None:
    robot = hand(spec=None, relative=("action",))
    assert robot.spec.relative_mask().all()
    send(robot, [1, 1, 1])
    assert not send(robot, None).any()
    with pytest.raises(SpecError, match="relative=joints is no action; valid: action"):
        hand(spec=None, relative=("joints",))
    assert make_robot("fakes:Point-v0", relative=("action",)).spec.relative_mask().all()


def test_an_environment_can_say_it_itself() -> None:
    env = Displaced()
    env.spec_fewstep = DISPLACED  # pyright: ignore[reportAttributeAccessIssue]
    assert GymRobot(env, seconds=1).spec.relative_mask().tolist() == [True, True, False]


class Known(Displaced):
    """An environment whose module and number of actions are given."""

    def __init__(self, elements: int) -> None:
        self.action_space = gym.spaces.Box(-1, 1, (elements,), np.float32)


@pytest.mark.parametrize(
    ("module", "elements", "move"),
    [
        (FETCH, 4, 3),
        (PANDA, 3, 3),
        (PANDA, 4, 3),
        (PANDA, 7, 7),
        (PANDA, 8, 7),
        (FETCH, 20, 0),
        ("mine", 4, 0),
    ],
)
def test_known_environments_displace_hand_or_joints_and_not_the_gripper(
    module: str, elements: int, move: int
) -> None:
    kind = type("Env", (type("Base", (Known,), {"__module__": module}),), {})
    spec = GymRobot(kind(elements), seconds=1).spec
    assert spec.relative_mask().tolist() == [True] * move + [False] * (elements - move)
    assert spec.action_size == elements
    assert spec.bounds()[0].tolist() == [-1] * elements


@pytest.mark.parametrize("task", ["gymnasium_robotics:FetchReach-v4", "panda_gym:PandaReach-v3"])
def test_fetch_and_panda_stand_still_while_held(task: str) -> None:
    pytest.importorskip(task.partition(":")[0])
    robot: Any = make_robot(task, hz=25, seconds=100)
    robot.reset(0)
    push = np.where(robot.spec.relative_mask(), 0.2, 1.0)
    for _ in range(20):
        send(robot, push)
    before = robot.observe().data["observation"][:3]
    for _ in range(25):
        send(robot, None)
    assert np.linalg.norm(robot.observe().data["observation"][:3] - before) < 0.01
    robot.close()


# Chunks


def test_differences_are_not_interpolated_and_targets_are() -> None:
    a, b = np.array([1.0, 0.0, 0.0]), np.array([-1.0, 0.5, 1.0])
    assert interpolate(DISPLACED, a, b, 0.25).tolist() == [1, 0, 0.25]
    assert interpolate(DISPLACED, a, b, 0.75).tolist() == [-1, 0.5, 0.75]


@given(st.lists(st.floats(-0.4, 0.4), min_size=8, max_size=8))
def test_on_a_clock_with_jitter_each_difference_is_sent_once(jitter: list[float]) -> None:
    actions = np.stack([np.arange(1.0, 9.0), np.zeros(8), np.zeros(8)], 1)
    chunk = Chunk(0, 100.0 + jitter[0] / HZ, 1 / HZ, actions)
    due = [100.0 + (k + late / 2 + jitter[0] / 2) / HZ for k, late in enumerate(jitter)]
    sent = [chunk.at(now, DISPLACED) for now in due]
    assert [a[0] for a in sent if a is not None] == actions[:, 0].tolist()


def test_a_late_tick_does_not_repeat_the_last_difference() -> None:
    chunk = Chunk(0, 0.0, 1 / HZ, np.ones((2, 3)))
    after = chunk.at(1.9 / HZ, DISPLACED)
    assert after is not None
    assert after.tolist() == [0, 0, 1], "the targets stay"


# Recorded actions


def follow(replay: Replay, ticks: int, change: Any = lambda action: action) -> list[np.ndarray]:
    """What a robot is sent that does what `change` makes of each command."""
    replay.reset()
    out = []
    for k in range(ticks):
        wanted = replay.act(Obs(k / HZ, {}, {})).action
        if wanted is None:
            break
        out.append(change(wanted))
        replay.sent(out[-1])
    return out


def test_recorded_differences_begin_at_once_and_end() -> None:
    spec = Spec({}, {"move": Field((2,), relative=True)}, HZ)
    actions = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(follow(Replay(actions, spec), 9), actions)


def test_recorded_differences_wait_until_the_targets_beside_them_are_reached() -> None:
    actions = np.stack([np.arange(1.0, 6.0), np.ones(5), np.linspace(0.5, 1, 5)], 1)
    place = [0.0]

    def slowly(action: np.ndarray) -> np.ndarray:
        place[0] += np.clip(action[2] - place[0], -0.2, 0.2)
        return np.array([action[0], action[1], place[0]])

    sent = np.stack(follow(Replay(actions, DISPLACED), 99, slowly))
    going = 3  # from 0 to 0.5 in steps of 0.2
    assert not sent[:going, :2].any(), "a difference on the way to the first pose"
    np.testing.assert_allclose(sent[going:, :2], actions[:, :2])


# Hands


def test_a_hand_at_rest_moves_nothing_and_full_deflection_is_the_bound() -> None:
    low, high = (-0.5, -1.0), (1.0, 1.0)
    move = Field((2,), low=low, high=high, relative=True)
    axes = Axes(Spec({}, {"move": move, "gripper": Field((1,), low=(-1.0,), high=(1.0,))}, HZ))
    unknown, last = np.full(3, np.nan), np.array([0.7, 0.7, 0.2])
    for deflected, expected in ((0.0, 0.0), (1.0, 1.0), (-1.0, -0.5), (0.5, 0.5), (-0.5, -0.25)):
        action = axes.follow(last, unknown, np.array([deflected, 0, 0, 0, 0, 0, 0]), 1 / HZ)
        np.testing.assert_allclose(action, [expected, 0, 0.2])


def test_the_pose_of_a_leader_is_no_difference() -> None:
    leader = SimulatedArm(3, clock=FakeClock())
    with pytest.raises(RobotError, match="actions move are differences"):
        Leader(leader, DISPLACED)
