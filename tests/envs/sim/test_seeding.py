"""Environments that ignore their seed are noticed."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fakes import Point, SeedlessPoint, StrayPoint

from fewstep.envs import Robot
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.envs.sim.registry import TASKS, make_robot
from fewstep.envs.sim.seeding import ignores_seed


class FrozenPoint(Point):
    """A Point that draws its start once, in its constructor, as robosuite's Lift does."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.start = np.random.default_rng().uniform(-1, 1, 4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state[:] = self.start
        return self.state, {}


class LostPoint(Point):
    """A Point that measures nothing in the beginning."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state[0] = np.nan
        return self.state, {}


def maker(environment: Callable[[], gym.Env]) -> Callable[[], Robot]:
    return lambda: GymRobot(environment(), seconds=1.0)


@pytest.mark.parametrize("environment", [SeedlessPoint, StrayPoint, FrozenPoint])
def test_starts_that_a_seed_does_not_decide_are_noticed(environment: type[gym.Env]) -> None:
    assert ignores_seed(maker(environment))


@pytest.mark.parametrize("environment", [Point, LostPoint])
def test_starts_that_a_seed_decides_are_not(environment: type[gym.Env]) -> None:
    assert not ignores_seed(maker(environment))


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.extra == "sim"])
def test_the_built_in_tasks_go_by_their_seed(task: str) -> None:
    assert not ignores_seed(lambda: make_robot(task), seed=3)
