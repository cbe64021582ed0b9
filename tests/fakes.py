"""A clock, a robot and a gymnasium task for tests.

Worker processes import the task by `fakes:Point-v0`.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from fewstep.envs import Clock, Command, Field, Obs, Outcome, Spec

RAIL = Spec(
    {"position": Field((1,), "m")},
    {"position": Field((1,), "m", low=(-1.0,), high=(1.0,), measured_by="position")},
    policy_hz=10,
)


class FakeClock:
    """Time passes only for those who wait, and they wake up `oversleep` [s] late."""

    def __init__(self, start: float = 0.0, oversleep: float = 0.0) -> None:
        self.time, self.oversleep = start, oversleep

    def now(self) -> float:
        return self.time

    def wait_until(self, deadline: float) -> None:
        if deadline > self.time:
            self.time = deadline + self.oversleep


class Rail:
    """A Robot without mass on a rail: once time has passed it is where it was told to be.

    Nobody judges it.
    """

    spec = RAIL

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.log: list[Any] = []

    def reset(self, seed: int | None = None) -> None:
        self.log.append(("robot", seed))
        self.place = np.random.default_rng(seed).uniform(-1, 1, 1).astype(np.float32)
        self.target, self.since = self.place, self.clock.now()

    def observe(self) -> Obs:
        now = self.clock.now()
        if now > self.since:
            self.place = self.target
        return Obs(now, {"position": self.place.copy()}, {"position": now})

    def command(self, command: Command) -> np.ndarray:
        if command.action is not None:
            self.target, self.since = (
                np.clip(command.action, -1, 1, dtype=np.float32),
                self.clock.now(),
            )
        return self.target.copy()

    def outcome(self) -> Outcome | None:
        return None

    def close(self) -> None:
        pass


class Point(gym.Env[np.ndarray, np.ndarray]):
    """A point in the plane is pushed towards a goal.

    It hands out one and the same array, as many environments do.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (gymnasium's own way)
    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    judged = True

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.state = render_mode, np.zeros(4, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state[:] = self.np_random.uniform(-1, 1, 4)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.state[:2] += 0.1 * action
        away = float(np.linalg.norm(self.state[:2] - self.state[2:]))
        info = {"success": away < 0.3, "away": away} if self.judged else {}
        return self.state, -away, away < 0.3, False, info

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.full((64, 64, 3), 127 + int(100 * np.tanh(self.state[0])), np.uint8)


class UnjudgedPoint(Point):
    """A Point that does not say whether it has succeeded."""

    judged = False


class SeedlessPoint(Point):
    """A Point that ignores the seed of a reset."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state[:] = np.random.default_rng().uniform(-1, 1, 4)
        return self.state, {}


class StrayPoint(Point):
    """A Point that draws from numpy's global stream."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state[:] = np.random.uniform(-1, 1, 4)
        return self.state, {}


class BlankPoint(UnjudgedPoint):
    """A Point that neither judges nor rewards."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        state, _, terminated, truncated, info = super().step(action)
        return state, float("nan"), terminated, truncated, info


class SlowPoint(Point):
    """A Point with options: how far it goes, which must be above 0."""

    def __init__(self, render_mode: str | None = None, reach: float = 1.0) -> None:
        super().__init__(render_mode)
        if reach <= 0:
            raise ValueError(f"reach must be above 0,\n  not {reach}")
        self.reach = reach

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        state, reward, terminated, truncated, info = super().step(self.reach * action)
        return state, reward, terminated, truncated, info | {"reach": self.reach}


class Displaced(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A hand in the plane that goes on from where it is by each action.

    The last element is the gripper's effort.
    """

    metadata = {"render_fps": 25}  # noqa: RUF012  (gymnasium's own way)
    observation_space = gym.spaces.Dict({"hand": gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)})
    action_space = gym.spaces.Box(-1, 1, (3,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.hand, self.actions = self.np_random.uniform(-1, 1, 2), []
        return {"hand": self.hand}, {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.actions.append(action.copy())
        self.hand = self.hand + 0.05 * action[:2]
        return {"hand": self.hand}, 0.0, False, False, {"success": False}


DISPLACED = Spec(
    {"hand": Field((2,), "m")},
    {
        "move": Field((2,), low=(-1.0,) * 2, high=(1.0,) * 2, relative=True),
        "gripper": Field((1,), low=(-1.0,), high=(1.0,)),
    },
    policy_hz=25,
)


# gymnasium's checker would warn of the shared array: robots have to cope with it.
gym.register("Point-v0", Point, max_episode_steps=20, disable_env_checker=True)
gym.register("SeedlessPoint-v0", SeedlessPoint, max_episode_steps=20, disable_env_checker=True)
gym.register("BlankPoint-v0", BlankPoint, max_episode_steps=20, disable_env_checker=True)
gym.register("StrayPoint-v0", StrayPoint, max_episode_steps=20, disable_env_checker=True)
gym.register("SlowPoint-v0", SlowPoint, max_episode_steps=20, disable_env_checker=True)
gym.register("UnjudgedPoint-v0", UnjudgedPoint, max_episode_steps=20, disable_env_checker=True)
