"""GymRobot: any gymnasium environment as a Robot whose clock is the simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ..errors import RobotError, SpecError
from ..robot import Command, Obs, Outcome
from ..spec import Spec
from .gym_spec import observed, spec_of, with_relative

SUCCESS_KEYS = ("is_success", "success")  # entries of `info` that say whether the task is done


class SimClock:
    """Time of a simulation: waiting advances it, one step of the environment per period."""

    def __init__(self, robot: GymRobot) -> None:
        self._robot = robot
        self._ticks = 0

    def now(self) -> float:
        """Return simulated seconds since the robot was made."""
        return self._ticks / self._robot.spec.command_hz

    def wait_until(self, deadline: float) -> None:
        """Step the environment until `deadline`."""
        while self.now() < deadline - 1e-9:
            self._robot.advance()
            self._ticks += 1


class Measured(Mapping[str, np.ndarray]):
    """What one tick measures; pictures on demand are drawn when they are first read."""

    def __init__(self, robot: GymRobot, data: dict[str, np.ndarray]) -> None:
        self._robot = robot
        self._change = robot.changes
        self._data = data

    def __getitem__(self, key: str) -> np.ndarray:
        if key in self._robot.spec.images and key not in self._data:
            if self._robot.changes != self._change:
                raise RobotError(f"the picture {key!r} of an earlier tick was never read")
            self._data[key] = self._robot.draw_camera(key)
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._robot.spec.observations)

    def __len__(self) -> int:
        return len(self._robot.spec.observations)


class GymRobot:
    """A gymnasium environment with Box or Dict observations and Box actions.

    spec: by default what the environment's spaces say, or its own `spec_fewstep` attribute. hz:
    steps per second, by default metadata["render_fps"]. seconds: time limit, by default the
    environment's. relative: actions that are differences, where neither `spec` nor the environment
    says so. Success is info["is_success"] or info["success"] of the last step. An environment that
    has `pictures_on_demand` is told so: it leaves pictures out of its observations, and its
    `draw_camera(name)` is asked for those that are read, because most ticks look at none.
    """

    def __init__(
        self,
        env: gym.Env,
        *,
        spec: Spec | None = None,
        hz: float | None = None,
        seconds: float | None = None,
        relative: Sequence[str] = (),
    ) -> None:
        self.env = env
        self.name = env.spec.id if env.spec else type(env).__name__
        known = spec or getattr(env.unwrapped, "spec_fewstep", None) or spec_of(env, hz)
        self.spec = with_relative(known, relative)
        self._relative = self.spec.relative_mask()
        self._check(hz)
        self.seconds = seconds or self._own_time_limit()
        self.clock = SimClock(self)
        self.info: dict[str, Any] = {}
        self.changes = 0  # resets and steps since it was made
        inner: Any = env.unwrapped
        self._on_demand = hasattr(inner, "pictures_on_demand")
        if self._on_demand:
            inner.pictures_on_demand = True

    def reset(self, seed: int | None = None) -> None:
        """Begin at a state drawn by `seed`."""
        self.changes += 1
        self._raw, self.info = self.env.reset(seed=seed)
        self._outcome: Outcome | None = None
        self._steps = 0
        self._best_reward = float("-inf")
        self._latched: np.ndarray | None = None

    def observe(self) -> Obs:
        """Return the state of the environment after its last step.

        It is copied: many environments fill one array again and again.
        """
        raw = self._raw if isinstance(self._raw, dict) else {"state": self._raw}
        data = {}
        for key, field in self.spec.observations.items():
            if not (self._on_demand and field.is_image):
                data[key] = np.array(raw[key], field.dtype).reshape(field.shape)
        now = self.clock.now()
        measured = Measured(self, data)
        return Obs(now, measured, dict.fromkeys(measured, now))

    def draw_camera(self, camera: str) -> np.ndarray:
        """Return what a camera of the environment sees now."""
        return cast(Any, self.env.unwrapped).draw_camera(camera)

    def command(self, command: Command) -> np.ndarray:
        """Latch an action, clipped to the action space; None holds.

        To hold, a target is the last one, or what is measured where there is none; a difference is
        zero. Returns what is sent, (A,).
        """
        action = command.action
        if action is None:
            action = self._holding_action()
        sent = np.clip(np.asarray(action, np.float32), *self._bounds())
        self._latched = sent.copy()
        return sent

    def outcome(self) -> Outcome | None:
        """Return None until the environment terminates or its time is over."""
        return self._outcome

    @property
    def elapsed(self) -> float:
        """Return the simulated seconds of this episode."""
        return self._steps / self.spec.command_hz

    def render(self) -> np.ndarray:
        """Return a picture (height, width, 3); RobotError where the environment draws none."""
        frame = self.env.render()
        if not isinstance(frame, np.ndarray):
            raise RobotError(f"{self.name} draws no pictures: make it with render_mode='rgb_array'")
        return frame

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def advance(self) -> None:
        """Step the environment with the latched action; do nothing once the episode is over."""
        if self._outcome is not None:
            return
        self.changes += 1
        action = self._measured_action() if self._latched is None else self._latched
        space = cast(spaces.Box, self.env.action_space)
        exact = np.clip(action.reshape(space.shape).astype(space.dtype), space.low, space.high)
        self._raw, reward, terminated, truncated, self.info = self.env.step(exact)
        if self._latched is not None:
            # A difference belongs to one step.
            self._latched = self._without_differences(self._latched)
        self._steps += 1
        self._best_reward = max(self._best_reward, float(reward))
        time_is_over = truncated or self._steps >= self.seconds * self.spec.command_hz - 1e-6
        if terminated or time_is_over:
            reason = "done" if terminated else "time is over"
            self._outcome = Outcome(self._success(), self._best_reward, reason)

    def _success(self) -> bool | None:
        """Return what the environment says of success; None where it says nothing."""
        for key in SUCCESS_KEYS:
            if key in self.info:
                return bool(self.info[key])
        return None

    def _holding_action(self) -> np.ndarray:
        """Return what holds: the last targets, or what is measured where there are none."""
        if self._latched is None:
            return self._measured_action()
        return self._without_differences(self._latched)

    def _measured_action(self) -> np.ndarray:
        """Return the action that keeps what is measured, where the Spec says what measures it."""
        action = self._zero_action()
        data = self.observe().data
        for key, part in self.spec.slices().items():
            measured_by = self.spec.actions[key].measured_by
            if measured_by:
                action[part] = data[measured_by].ravel()
        return action

    def _without_differences(self, action: np.ndarray) -> np.ndarray:
        """Return the same targets, and no difference."""
        if not self._relative.any():
            return action
        return np.where(self._relative, self._zero_action(), action)

    def _zero_action(self) -> np.ndarray:
        """Return what is nearest to zero within the bounds, (A,)."""
        return np.clip(np.zeros(self.spec.action_size, np.float32), *self._bounds())

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest action (A,) that both Spec and action space allow."""
        low, high = self.spec.bounds()
        space = cast(spaces.Box, self.env.action_space)
        lowest = np.fmax(low, space.low.ravel(), dtype=np.float32)
        highest = np.fmin(high, space.high.ravel(), dtype=np.float32)
        return lowest, highest

    def _check(self, hz: float | None) -> None:
        """Raise RobotError or SpecError where the environment is not what the Spec says."""
        name = f"environment {self.name!r}"
        if hz and hz != self.spec.command_hz:
            raise RobotError(f"{name} runs at {self.spec.command_hz:g} Hz: hz={hz:g} cannot be had")
        observation_spaces = observed(self.env)
        for key, field in self.spec.observations.items():
            space = observation_spaces.get(key)
            if space is None or np.prod(space.shape or ()) != field.size:
                raise SpecError(
                    f"{name} has no observation {key!r} of {field.shape};"
                    f" it has {observation_spaces}"
                )
        size = int(np.prod(self.env.action_space.shape or ()))
        if size != self.spec.action_size:
            raise SpecError(f"actions of {name} have {size} elements, not {self.spec.action_size}")

    def _own_time_limit(self) -> float:
        """Return the environment's limit [s]; RobotError where it has none."""
        steps = self.env.spec.max_episode_steps if self.env.spec else None
        if not steps:
            raise RobotError(f"environment {self.name!r} has no time limit: give one with seconds=")
        return steps / self.spec.command_hz
