"""`fewstep/PushT-v0`: Push-T in MuJoCo, with gym-pusht's geometry, units, observations, control law and starts."""
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

HZ, STIFFNESS, DAMPING, DT = (
    10,
    100.0,
    20.0,
    0.01,
)  # control [Hz]; of the agent's spring [1/s^2, 1/s]; its period [s]
PIXEL = 0.001  # m
MASS_CENTRE = np.array([0.0, 45.0])  # of the block, in its own frame [px]
GOAL = np.array([0.0, 0.0, 256.0, 256.0, np.pi / 4])  # as a state
DONE = 0.95  # covered share of the goal


class PushT(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Push the T onto its goal with a disk that is drawn to where the action says.

    Action (2,): x, y [px] of 512; observation: the block's eight corners and the disk [px], as gym-pusht's
    `environment_state_agent_pos`. Reward: covered share of the goal over 0.95, at most 1. The same seed starts as in
    gym-pusht. Success: more than 95 % covered.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": HZ}  # noqa: RUF012  (gymnasium's own way)

    def __init__(self, render_mode: str | None = None, size: int = 512, samples: int = 4) -> None:
        self.render_mode, self.spec_fewstep = render_mode, SPEC
        self.model = mujoco.MjModel.from_xml_path(
            str(Path(__file__).parent / "assets" / "push_t.xml")
        )
        self.data = mujoco.MjData(self.model)
        boxes: dict[str, gym.Space[Any]] = {
            k: gym.spaces.Box(-np.inf, np.inf, f.shape, np.float32)
            for k, f in SPEC.observations.items()
        }
        self.observation_space = gym.spaces.Dict(boxes)
        self.action_space = gym.spaces.Box(*SPEC.bounds(), dtype=np.float32)
        self._substeps = round(DT / self.model.opt.timestep)
        self._goal, self._view = (
            _shape(GOAL),
            rendering.Renderer(self.model, size, size, samples=samples),
        )

    @property
    def state(self) -> np.ndarray:
        """(5,): disk x, y, block x, y [px], block angle [rad]; setting it puts everything to rest."""
        agent, centre, angle = np.split(self.data.qpos, [2, 4])
        return np.concatenate([agent / PIXEL, centre / PIXEL - _turned(angle[0]), angle])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = [
            *PIXEL * state[:2],
            *PIXEL * (state[2:4] + _turned(state[4])),
            state[4],
        ]
        self._velocity = np.zeros(2)  # of the disk [px/s]
        mujoco.mj_forward(self.model, self.data)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A start that `seed` alone decides, or options["state"] (5,)."""
        super().reset(seed=seed)
        whole, draw = self.np_random.integers, self.np_random.uniform
        place = np.array(
            [whole(50, 450), whole(50, 450), whole(100, 400), whole(100, 400), draw(-np.pi, np.pi)]
        )
        place[2:4] += MASS_CENTRE - _turned(
            place[4]
        )  # gym-pusht turns the block when it lies there already
        self.state = place if not options else np.asarray(options["state"], float)
        return self._observation(), self._info()

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Draw the disk to `action` for a tenth of a second."""
        for _ in range(round(1 / (HZ * DT))):
            pull = (
                STIFFNESS * (np.asarray(action, float) - self.data.qpos[:2] / PIXEL)
                - DAMPING * self._velocity
            )
            self._velocity = self._velocity + pull * DT
            for _ in range(self._substeps):
                self.data.qvel[:2] = self._velocity * PIXEL
                mujoco.mj_step(self.model, self.data)
        info = self._info()
        return (
            self._observation(),
            min(info["coverage"] / DONE, 1.0),
            info["is_success"],
            False,
            info,
        )

    def _observation(self) -> dict[str, np.ndarray]:
        state = self.state
        return {
            "environment_state": corners(state[None])[0],
            "agent_pos": state[:2].astype(np.float32),
        }

    def _info(self) -> dict[str, Any]:
        covered = _shape(self.state).intersection(self._goal).area / self._goal.area
        return {"is_success": covered > DONE, "coverage": covered}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The board, uint8 (size, size, 3), in render mode "rgb_array"."""
        return (
            self._view.draw(self.data, "scene")[::-1] if self.render_mode == "rgb_array" else None
        )

    def close(self) -> None:
        """Release OpenGL."""
        self._view.close()


def _turned(angle: float) -> np.ndarray:
    """The centre of mass as seen from the block's origin [px]."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ MASS_CENTRE


def _shape(state: np.ndarray) -> Any:
    """The block's outline [px]."""
    bar, stem = corners(state[None])[0].reshape(2, 4, 2).astype(float)
    return Polygon(bar).union(Polygon(stem))


gym.register("fewstep/PushT-v0", entry_point="fewstep.envs.sim.push_t:PushT", max_episode_steps=300)
