"""`fewstep/PushT-v0`: Push-T in MuJoCo.

Geometry, units, observations, control law and starts are gym-pusht's.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's functions are compiled and carry no types)

from pathlib import Path
from typing import Any

import numpy as np

from . import rendering  # first: it chooses MUJOCO_GL, which mujoco reads when it is imported

# isort: split
import gymnasium as gym
import mujoco
from shapely import Polygon

from .push_t_geometry import SPEC, corners

HZ = 10  # of control
STIFFNESS = 100.0  # of the spring that draws the disk [1/s^2]
DAMPING = 20.0  # of it [1/s]
DT = 0.01  # period of its control law [s]
PIXEL = 0.001  # m
MASS_CENTRE = np.array([0.0, 45.0])  # of the block, in its own frame [px]
GOAL = np.array([0.0, 0.0, 256.0, 256.0, np.pi / 4])  # as a state
DONE = 0.95  # covered share of the goal
MODEL = Path(__file__).parent / "assets" / "push_t.xml"


class PushT(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Push the T onto its goal with a disk that is drawn to where the action says.

    Action (2,): x, y [px] of 512; observation: the block's eight corners and the disk [px], as
    gym-pusht's `environment_state_agent_pos`. Reward: covered share of the goal over 0.95, at most
    1. The same seed starts as in gym-pusht. Success: more than 95 % covered.
    """

    metadata = {  # noqa: RUF012  (gymnasium's own way)
        "render_modes": ["rgb_array"],
        "render_fps": HZ,
    }

    def __init__(self, render_mode: str | None = None, size: int = 512, samples: int = 4) -> None:
        self.render_mode = render_mode
        self.spec_fewstep = SPEC
        self.model = mujoco.MjModel.from_xml_path(str(MODEL))
        self.data = mujoco.MjData(self.model)
        boxes: dict[str, gym.Space[Any]] = {}
        for key, field in SPEC.observations.items():
            boxes[key] = gym.spaces.Box(-np.inf, np.inf, field.shape, np.float32)
        self.observation_space = gym.spaces.Dict(boxes)
        self.action_space = gym.spaces.Box(*SPEC.bounds(), dtype=np.float32)
        self._substeps = round(DT / self.model.opt.timestep)
        self._goal = _outline(GOAL)
        self._view = rendering.Renderer(self.model, size, size, samples=samples)

    @property
    def state(self) -> np.ndarray:
        """Return (5,): disk x, y, block x, y [px], block angle [rad].

        Setting it puts everything to rest.
        """
        agent, centre, angle = np.split(self.data.qpos, [2, 4])
        return np.concatenate([agent / PIXEL, centre / PIXEL - _centre_offset(angle[0]), angle])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        mujoco.mj_resetData(self.model, self.data)
        angle = state[4]
        agent = PIXEL * state[:2]
        centre = PIXEL * (state[2:4] + _centre_offset(angle))
        self.data.qpos[:] = [*agent, *centre, angle]
        self._velocity = np.zeros(2)  # of the disk [px/s]
        mujoco.mj_forward(self.model, self.data)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin at a start that `seed` alone decides, or at options["state"] (5,)."""
        super().reset(seed=seed)
        drawn = self._draw_state()
        self.state = np.asarray(options["state"], float) if options else drawn
        return self._observation(), self._info()

    def _draw_state(self) -> np.ndarray:
        draw = self.np_random
        agent = [draw.integers(50, 450), draw.integers(50, 450)]
        block = [draw.integers(100, 400), draw.integers(100, 400)]
        state = np.array([*agent, *block, draw.uniform(-np.pi, np.pi)])
        # gym-pusht turns the block when it lies there already.
        state[2:4] += MASS_CENTRE - _centre_offset(state[4])
        return state

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Draw the disk to `action` for a tenth of a second."""
        for _ in range(round(1 / (HZ * DT))):
            distance = np.asarray(action, float) - self.data.qpos[:2] / PIXEL
            acceleration = STIFFNESS * distance - DAMPING * self._velocity
            self._velocity = self._velocity + acceleration * DT
            for _ in range(self._substeps):
                self.data.qvel[:2] = self._velocity * PIXEL
                mujoco.mj_step(self.model, self.data)
        info = self._info()
        reward = min(info["coverage"] / DONE, 1.0)
        return self._observation(), reward, info["is_success"], False, info

    def _observation(self) -> dict[str, np.ndarray]:
        state = self.state
        return {
            "environment_state": corners(state[None])[0],
            "agent_pos": state[:2].astype(np.float32),
        }

    def _info(self) -> dict[str, Any]:
        covered = _outline(self.state).intersection(self._goal).area / self._goal.area
        return {"is_success": covered > DONE, "coverage": covered}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the board, uint8 (size, size, 3), in render mode "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return self._view.draw(self.data, "scene")[::-1]

    def close(self) -> None:
        """Release OpenGL."""
        self._view.close()


def _centre_offset(angle: float) -> np.ndarray:
    """Return the centre of mass as seen from the block's origin [px]."""
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ MASS_CENTRE


def _outline(state: np.ndarray) -> Any:
    """Return the block's outline [px]."""
    bar, stem = corners(state[None])[0].reshape(2, 4, 2).astype(float)
    return Polygon(bar).union(Polygon(stem))


gym.register("fewstep/PushT-v0", entry_point="fewstep.envs.sim.push_t:PushT", max_episode_steps=300)
