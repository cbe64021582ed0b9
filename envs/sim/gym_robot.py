"""GymRobot: any gymnasium environment as a Robot whose clock is the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ..errors import RobotError, SpecError
from ..robot import Command, Obs, Outcome
from ..spec import Spec
from .gym_spec import observed, spec_of, with_relative

SUCCESS = ("is_success", "success")  # entries of `info` that say whether the task is done


class SimClock:
    """Time of a simulation: waiting advances it, one step of the environment per period."""

    def __init__(self, robot: GymRobot) -> None:
        self._robot, self._ticks = robot, 0

    def now(self) -> float:
        """Simulated seconds since the robot was made."""
        return self._ticks / self._robot.spec.command_hz

    def wait_until(self, deadline: float) -> None:
        """Step the environment until `deadline`."""
        while self.now() < deadline - 1e-9:
            self._robot.advance()
            self._ticks += 1


class GymRobot:
    """A gymnasium environment with Box or Dict observations and Box actions.

    spec: by default what the environment's spaces say, or its own `spec_fewstep` attribute. hz: steps per second, by
    default metadata["render_fps"]. seconds: time limit, by default the environment's. relative: actions that are
    differences, where neither `spec` nor the environment says so. Success is info["is_success"] or info["success"] of
    the last step.
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
        self.env, self.name = env, env.spec.id if env.spec else type(env).__name__
        known = spec or getattr(env.unwrapped, "spec_fewstep", None) or spec_of(env, hz)
        self.spec = with_relative(known, relative)
        self._relative = self.spec.relative_mask()
        self._check(hz)
        self.seconds = seconds or self._limit()
        self.clock = SimClock(self)
        self.info: dict[str, Any] = {}

    def reset(self, seed: int | None = None) -> None:
        """Start state drawn by `seed`."""
        self._raw, self.info = self.env.reset(seed=seed)
        self._outcome: Outcome | None = None
        self._steps, self._best = 0, float("-inf")
        self._latched: np.ndarray | None = None

    def observe(self) -> Obs:
        """State of the environment after its last step, copied: many environments fill one array again and again."""
        raw = self._raw if isinstance(self._raw, dict) else {"state": self._raw}
        data = {
            k: np.array(raw[k], f.dtype).reshape(f.shape) for k, f in self.spec.observations.items()
        }
        now = self.clock.now()
        return Obs(now, data, dict.fromkeys(data, now))

    def command(self, command: Command) -> np.ndarray:
        """Latch an action, clipped to the action space; None holds.

        To hold, a target is the last one, or what is measured where there is none; a difference is zero.
        """
        action = command.action
        if action is None:
            action = (
                self._held() if self._latched is None else self._without_differences(self._latched)
            )
        sent = np.clip(np.asarray(action, np.float32), *self._bounds())
        self._latched = sent.copy()
        return sent

    def outcome(self) -> Outcome | None:
        """None until the environment terminates or its time is over."""
        return self._outcome

    @property
    def elapsed(self) -> float:
        """Simulated seconds of this episode."""
        return self._steps / self.spec.command_hz

    def render(self) -> np.ndarray:
        """A picture (height, width, 3) of the scene; RobotError where the environment draws none."""
        frame = self.env.render()
        if not isinstance(frame, np.ndarray):
            raise RobotError(f"{self.name} draws no pictures: make it with render_mode='rgb_array'")
        return frame

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def advance(self) -> None:
        """One step of the environment with the latched action; nothing once the episode is over."""
        if self._outcome is not None:
            return
        action = self._held() if self._latched is None else self._latched
        space = cast(spaces.Box, self.env.action_space)
        exact = np.clip(action.reshape(space.shape).astype(space.dtype), space.low, space.high)
        self._raw, reward, terminated, truncated, self.info = self.env.step(exact)
        if self._latched is not None:
            self._latched = self._without_differences(
                self._latched
            )  # a difference belongs to one step
        self._steps += 1
        self._best = max(self._best, float(reward))
        out_of_time = truncated or self._steps >= self.seconds * self.spec.command_hz - 1e-6
        if terminated or out_of_time:
            flag = next((bool(self.info[k]) for k in SUCCESS if k in self.info), None)
            self._outcome = Outcome(flag, self._best, "done" if terminated else "time is over")

    def _held(self) -> np.ndarray:
        """The action that keeps what is measured, where the Spec says what measures it."""
        out, data = self._rest(), self.observe().data
        for part, f in zip(self.spec.slices().values(), self.spec.actions.values(), strict=True):
            if f.measured_by:
                out[part] = data[f.measured_by].ravel()
        return out

    def _without_differences(self, action: np.ndarray) -> np.ndarray:
        """The same targets, and no difference."""
        if not self._relative.any():
            return action
        return np.where(self._relative, self._rest(), action)

    def _rest(self) -> np.ndarray:
        return np.clip(np.zeros(self.spec.action_size, np.float32), *self._bounds())

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest action (A,) that both the Spec and the action space allow."""
        (low, high), space = self.spec.bounds(), cast(spaces.Box, self.env.action_space)
        return np.fmax(low, space.low.ravel(), dtype=np.float32), np.fmin(
            high, space.high.ravel(), dtype=np.float32
        )

    def _check(self, hz: float | None) -> None:
        if hz and hz != self.spec.command_hz:
            raise RobotError(
                f"environment {self.name!r} runs at {self.spec.command_hz:g} Hz: hz={hz:g} cannot be had"
            )
        table, size = observed(self.env), int(np.prod(self.env.action_space.shape or ()))
        for key, f in self.spec.observations.items():
            if key not in table or np.prod(table[key].shape or ()) != f.size:
                raise SpecError(
                    f"environment {self.name!r} has no observation {key!r} of {f.shape}; it has {table}"
                )
        if size != self.spec.action_size:
            raise SpecError(
                f"actions of environment {self.name!r} have {size} elements, not {self.spec.action_size}"
            )

    def _limit(self) -> float:
        steps = self.env.spec.max_episode_steps if self.env.spec else None
        if not steps:
            raise RobotError(f"environment {self.name!r} has no time limit: give one with seconds=")
        return steps / self.spec.command_hz
