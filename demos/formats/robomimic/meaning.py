"""What a file of robomimic or robosuite means: environment, rate, fields, success."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from ....envs import DataError, Field, Spec
from ....envs.errors import refusing
from ...episode import ACTION
from ..choosing import Choice, Offer
from .arrays import find_array, is_image, list_members, read_attribute, read_numbers, usable_arrays

STATES = "states"  # of the simulator, where nothing is observed
USUAL_HZ = 20.0  # of robosuite, where nothing is said
ROBOSUITE = 1  # its number in robomimic
MEANINGS = {  # of robosuite's names; it keeps quaternions as x, y, z, w
    r"robot\d+_eef_quat(_site)?": Field((4,), kind="quaternion", names=("w", "x", "y", "z")),
    r"robot\d+_eef_pos": Field((3,), "m", names=("x", "y", "z")),
    r"robot\d+_joint_pos": Field((), "rad"),
    r"robot\d+_joint_vel": Field((), "rad/s"),
}
ROUNDING = 1e-6  # by which the reward of a success may fall short
Environment = Mapping[str, Any]


def read_environment(attributes: h5py.AttributeManager) -> Environment:
    """Return what the file says of its environment.

    `env_args` of robomimic, `env_info` of robosuite.
    """
    text = "{}"
    for key in ("env_args", "env_info"):
        if key in attributes:
            text = read_attribute(attributes, key)
            break
    with refusing(DataError, "its env_args or env_info is no JSON"):
        environment = json.loads(text, parse_constant=str)
    return environment if isinstance(environment, dict) else {}


def _environment_settings(environment: Environment) -> Environment:
    inner = environment.get("env_kwargs")
    return inner if isinstance(inner, dict) else environment


def read_rate(environment: Environment, chosen: float) -> tuple[float, str]:
    """Return the rate of the frames [Hz], and where it comes from. chosen: 0 where it is not."""
    if chosen:
        return chosen, "as chosen"
    stated = _environment_settings(environment).get("control_freq")
    if isinstance(stated, int | float) and stated > 0:
        return float(stated), "control_freq of the file"
    return USUAL_HZ, "20 Hz, usual with robosuite: the file states none"


def observation_group(demo: h5py.Group) -> h5py.Group:
    """Return the group of observations: `obs`, or the demonstration itself for its `states`."""
    observed = list_members(demo).get("obs")
    return observed if isinstance(observed, h5py.Group) else demo


def guess_spec(demo: h5py.Group, environment: Environment, choice: Choice, hz: float) -> Spec:
    """Return what the chosen arrays of a demonstration seem to mean.

    Robosuite's names are known.
    """
    action = Field((int(np.prod(find_array(demo, "actions").shape[1:])),))
    group = observation_group(demo)
    arrays = {STATES: find_array(demo, STATES)} if group == demo else usable_arrays(group)
    meanings = MEANINGS if environment.get("type") == ROBOSUITE else {}
    fields = {}
    for key in choose_keys(arrays, choice):
        fields[key] = _guess_field(key, arrays[key], meanings)
    return Spec(fields, {ACTION: action}, hz)


def choose_keys(
    arrays: Mapping[str, h5py.Dataset], choice: Choice, usual: Sequence[str] | None = None
) -> list[str]:
    """Return the chosen observations, numbers before images.

    usual: the numbers that are taken where none are chosen; by default those of at most one
    dimension per frame that have elements.
    """
    numbers = []
    images = []
    usual_numbers = []
    for key, array in arrays.items():
        if is_image(array):
            images.append(key)
            continue
        numbers.append(key)
        if usual is None and array.ndim <= 2 and np.prod(array.shape[1:]):
            usual_numbers.append(key)
    if usual is not None:
        usual_numbers = [key for key in usual if key not in images]
    return Offer(numbers, images, usual_numbers).choose(choice)


def _guess_field(key: str, array: h5py.Dataset, meanings: Mapping[str, Field]) -> Field:
    shape = array.shape[1:] or (1,)
    for pattern, field in meanings.items():
        if re.fullmatch(pattern, key) and field.shape in ((), shape):
            return replace(field, shape=shape)
    return Field(shape, kind="image" if is_image(array) else "linear")


def judge_success(demo: h5py.Group, environment: Environment) -> bool | None:
    """Return how a demonstration ended, None where the file does not tell.

    It tells by an attribute of the demonstration, else by a sparse reward that was full at some
    time. `dones` do not tell: in some files they mark success, in others only the end.
    """
    stated = read_attribute(demo.attrs, "success")
    if isinstance(stated, bool | np.bool_ | np.integer):
        return bool(stated)
    settings = _environment_settings(environment)
    sparse = settings.get("reward_shaping") is False
    full = settings.get("reward_scale", 1.0)
    if not sparse or not isinstance(full, int | float) or full <= 0:
        return None
    if "rewards" not in usable_arrays(demo):
        return None
    rewards = read_numbers(find_array(demo, "rewards"))
    return bool(np.max(rewards, initial=-np.inf) > full - ROUNDING)
