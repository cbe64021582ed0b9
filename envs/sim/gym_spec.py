"""What a gymnasium environment measures and accepts, as a Spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ..errors import RobotError, SpecError, names
from ..spec import Field, Spec

# Environments whose actions displace the hand or the joints, which their spaces do not say, by the
# module of their class: {number of action elements: how many of them, the first ones, displace}.
# The gripper after them is a target.
DISPLACING: dict[str, dict[int, int]] = {
    "gymnasium_robotics.envs.fetch.fetch_env": {4: 3},
    "panda_gym.envs.panda_tasks": {3: 3, 4: 3, 7: 7, 8: 7},
}


def spec_of(env: gym.Env, hz: float | None = None) -> Spec:
    """Return the Spec that an environment's spaces describe; RobotError where they do not fit.

    Known environments whose actions are displacements get a relative action "move", and "gripper".
    """
    name = env.spec.id if env.spec else type(env).__name__
    hz = hz or env.metadata.get("render_fps")
    if not hz:
        raise RobotError(
            f"environment {name!r} does not say its rate (metadata['render_fps']): give hz="
        )
    space, table = env.action_space, observed(env)
    if not isinstance(space, spaces.Box):
        raise RobotError(f"environment {name!r} has {space} actions; fewstep drives Box actions")
    bad = [key for key, one in table.items() if not isinstance(one, spaces.Box)]
    if bad:
        raise RobotError(
            f"environment {name!r}: observations {names(bad)} are no Box; flatten them first"
        )
    observations = {key: _field(one) for key, one in table.items()}
    return Spec(observations, _actions(env, space), float(hz))


def observed(env: gym.Env) -> dict[str, spaces.Space]:
    """Return the observation spaces by name; a single one is the "state"."""
    space = env.observation_space
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"state": space}


def with_relative(spec: Spec, relative: Sequence[str]) -> Spec:
    """Return the Spec with these actions marked as relative; SpecError where one is unknown."""
    if unknown := set(relative) - spec.actions.keys():
        raise SpecError(f"relative={names(unknown)} is no action; valid: {names(spec.actions)}")
    actions = dict(spec.actions)
    for key in relative:
        actions[key] = replace(actions[key], relative=True)
    return replace(spec, actions=actions)


def _actions(env: gym.Env, box: spaces.Box) -> dict[str, Field]:
    whole = _field(box)
    displacing = _displacing(env, whole.size)
    if not displacing:
        return {"action": whole}
    actions = {"move": replace(_part(whole, slice(displacing)), relative=True)}
    if displacing < whole.size:
        actions["gripper"] = _part(whole, slice(displacing, None))
    return actions


def _displacing(env: gym.Env, size: int) -> int:
    """How many of the first action elements are displacements."""
    modules = {base.__module__ for base in type(env.unwrapped).__mro__}
    return next((DISPLACING[module].get(size, 0) for module in modules & DISPLACING.keys()), 0)


def _part(whole: Field, part: slice) -> Field:
    low, high = whole.low[part], whole.high[part]
    return Field((len(range(whole.size)[part]),), low=low, high=high)


def _field(box: Any) -> Field:
    if box.dtype == np.uint8 and len(box.shape) == 3:
        return Field(tuple(box.shape), kind="image")
    low, high = box.low.ravel(), box.high.ravel()
    bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
    if not bounded:
        return Field(tuple(box.shape))
    return Field(tuple(box.shape), low=tuple(map(float, low)), high=tuple(map(float, high)))
