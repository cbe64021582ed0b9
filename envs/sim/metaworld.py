"""Meta-World's tasks (Yu et al. 2019) as environments whose start a seed really decides, and their scripted experts.

Meta-World itself draws one of fifty stored starts and ignores the seed of `reset`.
"""
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
# (mujoco's functions are compiled and carry no types; metaworld is not installed everywhere)

import warnings
from typing import Any

from . import rendering  # noqa: F401  (first: it chooses MUJOCO_GL, which mujoco reads when it is imported)

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

HZ, STEPS = 80.0, 500
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
        "move": Field(
            (3,), low=(-1.0,) * 3, high=(1.0,) * 3, relative=True
        ),  # of the hand, in units of 1 cm
        "grip": Field((1,), low=(-1.0,), high=(1.0,)),  # effort
    },
    policy_hz=HZ,
)
_WELD = (0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5)  # what metaworld 3.1.1 writes


def _reset_mocap_welds(env: Any) -> None:
    """As in metaworld 3.1.1, for MuJoCo from 3.17 on too: there a weld has a twelfth number, which has to be zero."""
    for i in range(env.model.neq if env.model.nmocap else 0):
        if int(env.model.eq_type[i]) == int(mujoco.mjtEq.mjEQ_WELD):
            env.model.eq_data[i] = [*_WELD, *[0] * (env.model.eq_data.shape[1] - len(_WELD))]


SawyerMocapBase.reset_mocap_welds = _reset_mocap_welds


class MetaWorld(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """One of the fifty tasks, by name ("push"); the first success ends an episode.

    Action (4,): motion of the hand and of the gripper, in [-1, 1], at 80 Hz. info: is_success, and what the task says.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(HZ)}  # noqa: RUF012  (gymnasium's own way)

    def __init__(self, name: str, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._env = _known(name)(seed=0, render_mode=render_mode)
        self._env._freeze_rand_vec, self._env.seeded_rand_vec = False, True  # no public way
        self.spec_fewstep, self.action_space = SPEC, self._env.action_space
        self.observation_space = gym.spaces.Dict(
            {
                k: gym.spaces.Box(-np.inf, np.inf, f.shape, np.float32)
                for k, f in SPEC.observations.items()
            }
        )

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
        """Move for 12.5 ms; Meta-World's reward."""
        state, reward, _, truncated, info = self._env.step(action)
        success = bool(info["success"])
        return (
            _observation(state),
            float(reward),
            success,
            truncated,
            {**info, "is_success": success},
        )

    def render(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A picture (height, width, 3)."""
        return self._env.render()

    def close(self) -> None:
        """Release the simulation."""
        self._env.close()


class MetaWorldExpert:
    """Meta-World's scripted expert of a task, an Actor."""

    def __init__(self, name: str) -> None:
        _known(name)
        self._policy = ENV_POLICY_MAP[f"{name}-v3"]()

    def reset(self, seed: int | None = None) -> None:
        """Nothing is random."""

    def act(self, obs: Obs) -> Command:
        """The action of this tick, clipped to what the task accepts."""
        now = np.concatenate([obs.data[key] for key in ("hand", "gripper", "objects")])
        state = np.concatenate([now, now, obs.data["goal"]]).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it announces every action that it knows will be clipped
            action = self._policy.get_action(state)
        return Command(np.clip(action, -1, 1).astype(np.float32), "expert")

    def sent(self, action: np.ndarray) -> None:
        """Nothing to learn."""


def _known(name: str) -> Any:
    if name not in TASKS:
        raise RobotError(f"Meta-World has no task {name!r}; valid: {names(TASKS)}")
    return TASKS[name]


def _observation(state: np.ndarray) -> dict[str, np.ndarray]:
    """Meta-World's (39,) by name, without the frame before: a policy has a history of its own."""
    parts = np.split(state.astype(np.float32), (3, 4, 18, 36))
    return {"hand": parts[0], "gripper": parts[1], "objects": parts[2], "goal": parts[4]}


gym.register(
    "fewstep/MetaWorld-v0",
    entry_point="fewstep.envs.sim.metaworld:MetaWorld",
    max_episode_steps=STEPS,
)
