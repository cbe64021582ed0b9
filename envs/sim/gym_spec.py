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
    space = env.action_space
    observation_spaces = observed(env)
    if not isinstance(space, spaces.Box):
        raise RobotError(f"environment {name!r} has {space} actions; fewstep drives Box actions")
    observations = {}
    no_boxes = []
    for key, observation in observation_spaces.items():
        if isinstance(observation, spaces.Box):
            observations[key] = _box_field(observation)
        else:
            no_boxes.append(key)
    if no_boxes:
        raise RobotError(
            f"environment {name!r}: observations {names(no_boxes)} are no Box; flatten them first"
        )
    return Spec(observations, _action_fields(env, space), float(hz))


def observed(env: gym.Env) -> dict[str, spaces.Space]:
    """Return the observation spaces by name; a single one is the "state"."""
    space = env.observation_space
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"state": space}


def with_relative(spec: Spec, relative: Sequence[str]) -> Spec:
    """Return the Spec with these actions marked as relative; SpecError where one is unknown."""
    unknown = set(relative) - spec.actions.keys()
    if unknown:
        raise SpecError(f"relative={names(unknown)} is no action; valid: {names(spec.actions)}")
    actions = dict(spec.actions)
    for key in relative:
        actions[key] = replace(actions[key], relative=True)
    return replace(spec, actions=actions)


def _action_fields(env: gym.Env, box: spaces.Box) -> dict[str, Field]:
    whole = _box_field(box)
    displacing = _count_displacing(env, whole.size)
    if not displacing:
        return {"action": whole}
    actions = {"move": replace(_field_part(whole, slice(displacing)), relative=True)}
    if displacing < whole.size:
        actions["gripper"] = _field_part(whole, slice(displacing, None))
    return actions


def _count_displacing(env: gym.Env, size: int) -> int:
    """Return how many of the first action elements are displacements."""
    for base in type(env.unwrapped).__mro__:
        if base.__module__ in DISPLACING:
            return DISPLACING[base.__module__].get(size, 0)
    return 0


def _field_part(whole: Field, part: slice) -> Field:
    """Return some elements of a field without names as one of its own."""
    elements = range(whole.size)[part]
    return Field((len(elements),), low=whole.low[part], high=whole.high[part])


def _box_field(box: Any) -> Field:
    if box.dtype == np.uint8 and len(box.shape) == 3:
        return Field(tuple(box.shape), kind="image")
    low = box.low.ravel().astype(float)
    high = box.high.ravel().astype(float)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return Field(tuple(box.shape))
    return Field(tuple(box.shape), low=tuple(low.tolist()), high=tuple(high.tolist()))
