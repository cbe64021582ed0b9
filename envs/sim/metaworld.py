"""Meta-World's tasks (Yu et al. 2019) as environments that heed their seed, and their experts.

Meta-World itself draws one of fifty stored starts and ignores the seed of `reset`.
"""
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# (mujoco's functions are compiled and carry no types; metaworld is not installed everywhere)

import warnings
from typing import Any

# First: it chooses MUJOCO_GL, which mujoco reads when it is imported.
from . import rendering  # noqa: F401

# isort: split
import gymnasium as gym
import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerMocapBase

from ..errors import RobotError, names
from ..robot import Command, Obs
from ..spec import Field, Spec

HZ = 80.0
STEPS = 500  # of an episode, at most
TASKS = {
    key.removesuffix("-v3-goal-observable"): make
    for key, make in ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE.items()
}
SPEC = Spec(
    {
        "hand": Field((3,), "m"),
        "gripper": Field((1,)),  # 0 closed, 1 open
        "objects": Field((14,)),  # position [m] and quaternion of up to two
        "goal": Field((3,), "m"),
    },
    {
        # of the hand, in units of 1 cm
        "move": Field((3,), low=(-1.0,) * 3, high=(1.0,) * 3, relative=True),
        "grip": Field((1,), low=(-1.0,), high=(1.0,)),  # effort
    },
    policy_hz=HZ,
)
_WELD = (0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5)  # what metaworld 3.1.1 writes


def _reset_mocap_welds(env: Any) -> None:
    """Do as metaworld 3.1.1, for MuJoCo from 3.17 on too.

    There a weld has a twelfth number, which has to be zero.
    """
    model = env.model
    if not model.nmocap:
        return
    zeros = [0] * (model.eq_data.shape[1] - len(_WELD))
    for constraint in range(model.neq):
        if int(model.eq_type[constraint]) == int(mujoco.mjtEq.mjEQ_WELD):
            model.eq_data[constraint] = [*_WELD, *zeros]


SawyerMocapBase.reset_mocap_welds = _reset_mocap_welds


class MetaWorld(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """One of the fifty tasks, by name ("push"); the first success ends an episode.

    Action (4,): motion of the hand and of the gripper, in [-1, 1], at 80 Hz. info: is_success, and
    what the task says.
    """

    metadata = {  # noqa: RUF012  (gymnasium's own way)
        "render_modes": ["rgb_array"],
        "render_fps": int(HZ),
    }

    def __init__(self, name: str, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._env = _find_task(name)(seed=0, render_mode=render_mode)
        self._env._freeze_rand_vec = False  # there is no public way
        self._env.seeded_rand_vec = True
        self.spec_fewstep = SPEC
        self.action_space = self._env.action_space
        boxes: dict[str, gym.Space[Any]] = {}
        for key, field in SPEC.observations.items():
            boxes[key] = gym.spaces.Box(-np.inf, np.inf, field.shape, np.float32)
        self.observation_space = gym.spaces.Dict(boxes)

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode; `seed` alone decides its start."""
        if seed is not None:
            self._env.seed(seed)
        state, info = self._env.reset()
        return _observation(state), info

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move for 12.5 ms; the reward is Meta-World's."""
        state, reward, _, truncated, info = self._env.step(action)
        success = bool(info["success"])
        info = {**info, "is_success": success}
        return _observation(state), float(reward), success, truncated, info

    def render(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a picture (height, width, 3)."""
        return self._env.render()

    def close(self) -> None:
        """Release the simulation."""
        self._env.close()


class MetaWorldExpert:
    """Meta-World's scripted expert of a task, an Actor."""

    def __init__(self, name: str) -> None:
        _find_task(name)
        self._policy = ENV_POLICY_MAP[f"{name}-v3"]()

    def reset(self, seed: int | None = None) -> None:
        """Do nothing: nothing is random."""

    def act(self, obs: Obs) -> Command:
        """Return the action of this tick, clipped to what the task accepts."""
        now = np.concatenate([obs.data[key] for key in ("hand", "gripper", "objects")])
        state = np.concatenate([now, now, obs.data["goal"]]).astype(np.float64)
        with warnings.catch_warnings():
            # It announces every action that it knows will be clipped.
            warnings.simplefilter("ignore")
            action = self._policy.get_action(state)
        return Command(np.clip(action, -1, 1).astype(np.float32), "expert")

    def sent(self, action: np.ndarray) -> None:
        """Do nothing: the expert has no memory."""


def _find_task(name: str) -> Any:
    if name not in TASKS:
        raise RobotError(f"Meta-World has no task {name!r}; valid: {names(TASKS)}")
    return TASKS[name]


def _observation(state: np.ndarray) -> dict[str, np.ndarray]:
    """Return Meta-World's (39,) by name, without the frame before: a policy has its own history."""
    hand, gripper, objects, _, goal = np.split(state.astype(np.float32), (3, 4, 18, 36))
    return {"hand": hand, "gripper": gripper, "objects": objects, "goal": goal}


gym.register(
    "fewstep/MetaWorld-v0",
    entry_point="fewstep.envs.sim.metaworld:MetaWorld",
    max_episode_steps=STEPS,
)
