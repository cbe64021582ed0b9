from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeClock, Rail
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs import Command, Obs, Outcome, Step, run_episode
from fewstep.envs.sim.registry import make_robot


class Puppet:
    """An actor that does as it is told, and writes down what happens to it."""

    def __init__(
        self, log: list[Any], act: Callable[[Obs], Command | None] = lambda obs: wish(0.0)
    ) -> None:
        self.log, self.act_ = log, act

    def reset(self, seed: int | None = None) -> None:
        self.log.append(("actor", seed))

    def act(self, obs: Obs) -> Command | None:
        self.log.append("act")
        return self.act_(obs)

    def sent(self, action: np.ndarray) -> None:
        self.log.append(("sent", float(action[0])))


def wish(position: float) -> Command:
    return Command(np.array([position], np.float32), "expert")


def run(robot: Any, actor: Puppet, seconds: float = 1.0, seed: int | None = 0) -> list[Step]:
    steps = list(run_episode(robot, actor, seed=seed, max_seconds=seconds))
    assert all(step is not None for step in steps)
    return steps  # pyright: ignore[reportReturnType]


def test_the_robot_is_reset_then_the_actor_then_time_begins() -> None:
    class Slow(Puppet):
        def reset(self, seed: int | None = None) -> None:
            super().reset(seed)
            robot.clock.time += 3.0  # as when a network is compiled

    robot = Rail()
    steps = run(robot, Slow(robot.log), 0.1, seed=42)
    assert robot.log == [("robot", 42), ("actor", 42), "act", ("sent", 0.0)]
    assert (steps[0].obs.time, steps[0].lateness) == (3.0, 0.0)


def test_what_is_recorded_as_sent_is_what_the_robot_returned() -> None:
    robot = Rail()
    steps = run(robot, Puppet(robot.log, lambda obs: wish(5.0)), 0.3)
    assert [step.intended.action for step in steps] == [5.0] * 3
    assert [step.sent for step in steps] == [1.0] * 3
    assert robot.log[2:] == ["act", ("sent", 1.0)] * 3
    assert [float(step.obs.data["position"][0]) for step in steps[1:]] == [1.0, 1.0], (
        "seen one tick after it was sent"
    )


def test_time_stands_still_while_the_actor_waits() -> None:
    answers = iter([None, None, wish(0.5), None, wish(0.25)])
    robot = Rail()
    run = run_episode(robot, Puppet(robot.log, lambda obs: next(answers)), seed=0, max_seconds=0.2)
    seen = []
    for step in run:
        seen.append((step and float(step.sent[0]), robot.clock.now()))
    assert seen == [(None, 0.0), (None, 0.0), (0.5, 0.0), (None, 0.1), (0.25, 0.1)]


def test_the_actor_waits_on_one_and_the_same_observation() -> None:
    answers, seen = iter([None, None, wish(0.5)]), []
    robot = Rail()
    list(
        run_episode(
            robot, Puppet([], lambda obs: (seen.append(obs), next(answers))[1]), max_seconds=0.1
        )
    )
    assert len(seen) == 3
    assert all(obs is seen[0] for obs in seen)


@given(st.integers(1, 60), st.sampled_from([7.0, 10.0, 20.0, 50.0]))
def test_max_seconds_counts_exact_ticks_and_the_last_is_lived_to_its_end(n: int, hz: float) -> None:
    robot = Rail()
    robot.spec = replace(robot.spec, command_hz=hz)
    steps = run(robot, Puppet(robot.log), n / hz)
    assert len(steps) == n
    assert robot.clock.now() == pytest.approx(n / hz)


def test_ten_commands_are_ten_steps_of_a_simulation() -> None:
    robot: Any = make_robot("fakes:UnjudgedPoint-v0")
    actor = Puppet([], lambda obs: Command(np.zeros(2, np.float32), "expert"))
    assert len(run(robot, actor, 1.0)) == 10
    assert (robot.elapsed, robot.clock.now()) == (1.0, 1.0)


def test_an_outcome_ends_the_episode_without_another_command() -> None:
    robot: Any = make_robot("fakes:Point-v0", seconds=0.5)
    steps = run(
        robot,
        Puppet([], lambda obs: Command(np.zeros(2, np.float32), "expert")),
        float("inf"),
        seed=3,
    )
    assert isinstance(robot.outcome(), Outcome)
    assert len(steps) == 5 == round(robot.elapsed * 10)


def test_an_outcome_that_is_known_before_the_first_tick_leaves_no_step() -> None:
    robot = Rail()
    robot.outcome = lambda: Outcome(None, why="emergency stop")
    assert run(robot, Puppet(robot.log)) == []
    assert "act" not in robot.log


def test_lateness_is_reported_and_never_accumulates() -> None:
    robot = Rail(FakeClock(oversleep=0.02))
    steps = run(robot, Puppet(robot.log), 2.0)
    assert [step.lateness for step in steps] == pytest.approx([0.0] + [0.02] * 19)
    assert [step.obs.time for step in steps] == pytest.approx(
        [0.0] + [k / 10 + 0.02 for k in range(1, 20)]
    )


def test_a_slow_actor_skips_ticks() -> None:
    def think(obs: Obs) -> Command:
        clock.time += 0.25
        return wish(0.0)

    clock = FakeClock()
    steps = run(Rail(clock), Puppet([], think), 1.0)
    assert [step.obs.time for step in steps] == pytest.approx([0, 0.25, 0.5, 0.75])
    assert [step.lateness for step in steps] == pytest.approx([0, 0.05, 0, 0.05])


def test_abandoning_an_episode_leaves_time_alone() -> None:
    robot = Rail()
    running = run_episode(robot, Puppet(robot.log), max_seconds=10)
    next(running), next(running)
    running.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert robot.clock.now() == pytest.approx(0.1)
