import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fakes import Point
from gymnasium import spaces

from fewstep.envs import Command, FewstepError, Field, RobotError, Spec, SpecError
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.envs.sim.registry import TASKS, make_expert, make_robot


class Scripted(gym.Env):
    """Plays a list of (reward, terminated, truncated, info) and keeps the actions.

    Then goes on for ever.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, script: Any = (), observation: Any = None, action: Any = None) -> None:
        self.script, self.actions = list(script), []
        self.observation_space = observation or spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = action or spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        reward, *ends, info = self.script.pop(0) if self.script else (0.0, False, False, {})
        return self.observation_space.sample(), reward, *ends, info


class Silent(Scripted):
    def render(self) -> None:
        return None


def box(low: list[float], high: list[float]) -> spaces.Box:
    return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


def robot_for(env: gym.Env, **options: Any) -> GymRobot:
    robot = GymRobot(env, **{"seconds": 1.0} | options)
    robot.reset(0)
    return robot


def run(robot: GymRobot, ticks: int, action: Any = (0.0, 0.0)) -> None:
    for _ in range(ticks):
        robot.command(Command(np.asarray(action), "policy"))
        robot.clock.wait_until(robot.clock.now() + 1 / robot.spec.command_hz)


# What an environment has to say


def test_an_environment_without_a_time_limit_needs_seconds() -> None:
    with pytest.raises(RobotError, match="'Scripted' has no time limit: give one with seconds="):
        GymRobot(Scripted())


@pytest.mark.parametrize("ticks", [1, 5, 7, 11])
def test_seconds_are_counted_in_exact_steps(ticks: int) -> None:
    robot = robot_for(Scripted(), seconds=ticks * 0.1)  # 0.7000000000000001, for one
    run(robot, ticks - 1)
    assert robot.outcome() is None
    run(robot, 1)
    assert robot.outcome()
    assert robot.elapsed == ticks / 10


def test_an_environment_without_a_rate_needs_hz() -> None:
    env = Scripted()
    env.metadata = {}
    with pytest.raises(RobotError, match=r"does not say its rate.*give hz="):
        robot_for(env)
    assert robot_for(env, hz=5).spec.command_hz == 5


def test_a_rate_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(RobotError, match="20 Hz: hz=10"):
        make_robot("pickplace", hz=10)
    assert make_robot("pickplace", hz=20).spec.command_hz == 20


@pytest.mark.parametrize(
    "action", [spaces.Discrete(3), spaces.MultiBinary(2), spaces.Dict({"a": spaces.Box(0, 1)})]
)
def test_actions_that_are_no_box_are_refused(action: spaces.Space) -> None:
    with pytest.raises(RobotError, match="drives Box actions"):
        robot_for(Scripted(action=action))


def test_observations_that_are_no_box_are_named() -> None:
    flat = box([-1, -1], [1, 1])
    table = spaces.Dict(
        {"flat": flat, "nested": spaces.Dict({"a": flat}), "mode": spaces.Discrete(2)}
    )
    with pytest.raises(RobotError, match="observations mode, nested are no Box"):
        robot_for(Scripted(observation=table))
    with pytest.raises(RobotError, match="observations state are no Box"):
        robot_for(Scripted(observation=spaces.Discrete(2)))


def test_the_spec_says_what_the_spaces_say() -> None:
    table = {
        "camera": spaces.Box(0, 255, (8, 6, 3), np.uint8),
        "joints": spaces.Box(-2, 2, (2, 2), np.float64),
    }
    robot = robot_for(Scripted(observation=spaces.Dict(table), action=box([0, -1], [1, 2])))
    assert robot.spec.observations == {
        "camera": Field((8, 6, 3), kind="image"),
        "joints": Field((2, 2), low=(-2.0,) * 4, high=(2.0,) * 4),
    }
    assert robot.spec.actions == {"action": Field((2,), low=(0.0, -1.0), high=(1.0, 2.0))}
    assert robot.observe().data["joints"].dtype == np.float32


def test_a_spec_that_does_not_fit_is_refused() -> None:
    state, action = Field((2,)), Field((2,))
    for spec, message in (
        (Spec({"position": state}, {"action": action}, 10), "position.*state"),
        (Spec({"state": Field((3,))}, {"action": action}, 10), "state"),
        (Spec({"state": state}, {"action": Field((3,))}, 10), "have 2 elements, not 3"),
    ):
        with pytest.raises(SpecError, match=message):
            robot_for(Scripted(), spec=spec)


def test_a_spec_may_flatten_what_the_environment_shapes() -> None:
    env = Scripted(observation=spaces.Box(-1, 1, (2, 2)))
    robot = robot_for(env, spec=Spec({"state": Field((4,))}, {"action": Field((2,))}, 10))
    assert robot.observe().data["state"].shape == (4,)


# Actions


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2,), (2, 3)])
def test_the_environment_gets_actions_of_its_space(dtype: Any, shape: tuple[int, ...]) -> None:
    env = Scripted(action=spaces.Box(-0.1, 0.1, shape, dtype))
    robot = robot_for(env)
    run(robot, 1, np.full(np.prod(shape), 7.0))
    run(robot, 1, np.full(np.prod(shape), -7.0))
    robot.command(Command(None, "policy"))
    robot.clock.wait_until(0.3)
    assert len(env.actions) == 3
    assert all(env.action_space.contains(action) for action in env.actions)


def test_actions_are_clipped_where_only_some_are_bounded() -> None:
    robot = robot_for(Scripted(action=box([0, -np.inf], [1, np.inf])))
    assert robot.command(Command(np.array([5.0, 5.0]), "policy")).tolist() == [1, 5]


def test_what_is_clipped_is_what_is_sent() -> None:
    env = Scripted()
    robot = robot_for(env)
    assert robot.command(Command(np.array([3.0, 0.5]), "policy")).tolist() == [1, 0.5]
    robot.clock.wait_until(0.1)
    assert env.actions[0].tolist() == [1, 0.5]


def test_holding_keeps_what_is_measured_until_something_is_sent() -> None:
    robot = make_robot("pickplace")
    robot.reset(3)
    measured = robot.observe().data
    held = robot.command(Command(None, "policy"))
    np.testing.assert_array_equal(held, [*measured["joints"], *measured["gripper"]])
    wanted = held + np.float32(0.01)
    robot.command(Command(wanted, "policy"))
    robot.clock.wait_until(robot.clock.now() + 0.05)
    low, high = robot.spec.bounds()
    np.testing.assert_array_equal(
        robot.command(Command(None, "policy")), np.clip(wanted, low, high)
    )


def test_a_new_episode_forgets_the_last_command() -> None:
    robot = robot_for(Scripted())
    robot.command(Command(np.ones(2), "policy"))
    robot.reset(0)
    assert robot.command(Command(None, "policy")).tolist() == [0, 0]


# Time


def test_only_waiting_advances_the_simulation() -> None:
    env = Scripted()
    robot = robot_for(env)
    for _ in range(5):
        robot.command(Command(np.ones(2), "policy"))
        robot.observe()
    assert (env.actions, robot.clock.now()) == ([], 0)
    robot.clock.wait_until(0.3)
    assert (len(env.actions), robot.clock.now()) == (3, pytest.approx(0.3))


def test_the_clock_goes_on_from_episode_to_episode() -> None:
    robot = robot_for(Scripted())
    run(robot, 3)
    robot.reset(0)
    assert robot.clock.now() == pytest.approx(0.3)
    assert robot.elapsed == 0
    run(robot, 2)
    assert robot.elapsed == pytest.approx(0.2)


# Outcome


@pytest.mark.parametrize(
    ("info", "success"),
    [
        ({"success": True}, True),
        ({"is_success": np.False_}, False),
        ({"is_success": np.array(True)}, True),
        ({"success": 0.0}, False),
        ({}, None),
    ],
)
@pytest.mark.parametrize("terminated", [True, False])
def test_success_is_what_the_last_info_says(
    info: dict, success: bool | None, terminated: bool
) -> None:
    first = (0.0, False, False, {"success": not success})
    robot = robot_for(Scripted([first, (0.0, terminated, not terminated, info)]))
    run(robot, 1)
    assert robot.outcome() is None
    run(robot, 1)
    outcome = robot.outcome()
    assert outcome
    assert outcome.success is success
    assert outcome.why == ("done" if terminated else "time is over")


def test_the_score_is_the_largest_reward() -> None:
    rewards = [-3.0, -1.0, np.float32(-2.0)]
    robot = robot_for(Scripted([(r, False, False, {}) for r in rewards]), seconds=0.3)
    run(robot, 3)
    assert robot.outcome().score == -1
    robot.reset(0)
    run(robot, 3)
    assert robot.outcome().score == 0


def test_nothing_happens_after_the_end() -> None:
    env = Scripted([(1.0, True, False, {"success": True})])
    robot = robot_for(env)
    run(robot, 4)
    assert len(env.actions) == 1
    assert robot.outcome().success is True
    assert robot.elapsed == pytest.approx(0.1)


# Renderer


def test_an_environment_that_draws_nothing_says_so() -> None:
    with pytest.raises(RobotError, match="draws no pictures"):
        robot_for(Silent()).render()
    assert robot_for(Point("rgb_array")).render().shape == (64, 64, 3)


def test_a_task_that_cannot_draw_says_so_when_pictures_are_wanted() -> None:
    gym.register("Blind-v0", Scripted, max_episode_steps=5, disable_env_checker=True)
    try:
        assert make_robot("Blind-v0")
        with pytest.raises(RobotError, match="'Blind-v0' draws no pictures"):
            make_robot("Blind-v0", pictures=True)
    finally:
        gym.registry.pop("Blind-v0")


# Tasks by name


def test_an_own_expert_is_named_by_module_and_class(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_expert_module.py").write_text(
        "class Expert:\n"
        "    def reset(self, seed=None): pass\n"
        "    def act(self, obs): pass\n"
        "    def sent(self, action): pass\n"
        "class Half: pass\n"
        "class Failing:\n"
        "    def __init__(self): raise ValueError('no arm')\n"
    )
    assert make_expert("pusht", expert="my_expert_module:Expert")
    for expert, says in {
        "my_expert_module:Half": "is no Actor: it lacks act, reset, sent",
        "my_expert_module:Failing": "could not be made: ValueError: no arm",
        "my_expert_module:Other": "has no class 'Other'",
        "my_expert_module": "must be module:class",
        "no_such_module_here:Expert": "there is no module",
    }.items():
        with pytest.raises(RobotError, match=says):
            make_expert("pusht", expert=expert)


@pytest.mark.parametrize(
    "task", ["pick_place", "NoSuch-v0", "not an id", "no_such_module:Env-v0", "no/such-v0"]
)
def test_an_unknown_task_lists_the_built_in_ones(task: str) -> None:
    with pytest.raises(RobotError, match="pickplace, pusht"):
        make_robot(task)


def test_only_built_in_tasks_have_experts() -> None:
    assert make_expert("pickplace")
    with pytest.raises(
        RobotError, match="'pusht' has no scripted expert; these have: metaworld/<name>, pickplace"
    ):
        make_expert("pusht")


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(
        FewstepError, match=r"gymnasium is not installed: pip install 'fewstep\[sim\]'"
    ):
        make_robot(task)


# Pictures


class Drawing(Scripted):
    """Has a camera, which shows how many steps were made, and counts its pictures."""

    def __init__(self) -> None:
        position, picture = spaces.Box(-1, 1, (2,)), spaces.Box(0, 255, (4, 4, 3), np.uint8)
        super().__init__(observation=spaces.Dict(position=position, camera=picture))
        self.pictures_on_demand, self.drawn = False, 0

    def step(self, action: Any) -> Any:
        raw, *rest = super().step(action)
        del raw["camera"]
        return raw, *rest

    def draw_camera(self, camera: str) -> np.ndarray:
        self.drawn += 1
        return np.full((4, 4, 3), len(self.actions), np.uint8)


def test_pictures_are_drawn_once_and_only_where_they_are_read() -> None:
    env = Drawing()
    robot = robot_for(env)
    run(robot, 3)
    data = robot.observe().data
    assert env.drawn == 0
    assert list(data) == ["position", "camera"]
    assert data["camera"].max() == 3 and data["camera"] is data["camera"]
    assert env.drawn == 1


def test_a_picture_of_an_earlier_tick_is_never_drawn_later() -> None:
    robot = robot_for(Drawing())
    seen, unseen = robot.observe().data, robot.observe().data
    assert seen["camera"].max() == 0
    run(robot, 1)
    assert seen["camera"].max() == 0
    with pytest.raises(RobotError, match="'camera' of an earlier tick was never read"):
        unseen["camera"]
    robot.reset(0)
    assert robot.observe().data["camera"].max() == 1


@pytest.mark.parametrize("task", ["pickplace", "pusht-pixels"])
def test_pictures_on_demand_are_those_that_the_environment_observes(task: str) -> None:
    pytest.importorskip("gym_pusht")
    known = TASKS[task]
    robot = make_robot(task, cameras=known.cameras)
    options = {known.camera_option: known.cameras} if known.camera_option else {}
    env = gym.make(known.id, disable_env_checker=True, **options)
    action = env.action_space.sample()
    try:
        robot.reset(3)
        env.reset(seed=3)
        run(robot, 5, action)
        for _ in range(5):
            observed, *_ = env.step(action)
        data = robot.observe().data
        for camera in known.cameras:
            np.testing.assert_array_equal(data[camera], observed[camera])
    except RobotError as error:
        pytest.skip(str(error))
    finally:
        robot.close()
        env.close()
