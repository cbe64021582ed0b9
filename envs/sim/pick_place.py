"""`fewstep/PickPlace-v0`: an arm carries a cube past a post, on either side, onto a pad."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's functions are compiled and carry no types)

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import rendering  # first: it chooses MUJOCO_GL, which mujoco reads when it is imported

# isort: split
import gymnasium as gym
import mujoco

from ..errors import pick
from ..spec import Field, Spec

HZ = 20.0  # policy and command rate
JOINTS = ("base_yaw", "shoulder", "elbow", "forearm_roll", "wrist_pitch", "wrist_roll")
HOME = np.array([0.0, -0.10, 0.64, 0.0, -0.54, 0.0])  # fingertips 24 cm above the table [rad]
START_SPREAD = np.array([0.05, 0.05, 0.05, 0.15, 0.05, 0.05])  # of each joint [rad]
OPENING = 0.09  # widest gripper opening [m]
CUBE_CENTRE = np.array([0.255, 0.0])  # x, y [m]
CUBE_SPREAD = np.array([0.03, 0.045])  # x, y [m]
PAD_DISTANCE = 0.155  # of the pad from the post [m]
PAD_SPREAD = 0.30  # how far it lies to either side [rad]
YAW_SPREAD = 0.3  # of the cube [rad]
PAD_RADIUS = 0.03  # how far from the pad's centre the cube may rest [m]
REST_SECONDS = 0.5  # how long it has to rest there
PICTURE = 96  # height and width of a camera observation [px]
CAMERAS = ("front", "wrist")  # that may be observed


def load_model() -> mujoco.MjModel:
    """Return the task's MuJoCo model."""
    return mujoco.MjModel.from_xml_path(str(Path(__file__).parent / "assets" / "pick_place.xml"))


def spec(cameras: tuple[str, ...] = ()) -> Spec:
    """Return what the task measures and accepts.

    cameras: of CAMERAS, add pictures to the observations; ConfigError where there is no such one.
    """
    for camera in cameras:
        pick(dict.fromkeys(CAMERAS), camera, "camera")
    position = Field((3,), "m", names=("x", "y", "z"))
    observations = {
        "joints": Field((6,), "rad", names=JOINTS),
        "gripper": Field((1,), "m"),
        "cube_position": position,
        "cube_rotation": Field((4,), kind="quaternion", names=("w", "x", "y", "z")),
        "target": position,
    }
    for camera in cameras:
        observations[camera] = Field((PICTURE, PICTURE, 3), kind="image")
    return Spec(observations, {"joints": _joint_targets(), "gripper": OPENING_TARGET}, HZ)


OPENING_TARGET = Field(
    (1,),
    "m",
    low=(0.0,),
    high=(OPENING,),
    measured_by="gripper",
    velocity=(0.5,),
    acceleration=(10.0,),
)


@cache
def _joint_targets() -> Field:
    model = load_model()
    ranges = [model.joint(name).range for name in JOINTS]
    return Field(
        (6,),
        "rad",
        names=JOINTS,
        low=tuple(float(low) for low, _ in ranges),
        high=tuple(float(high) for _, high in ranges),
        measured_by="joints",
        velocity=(3.0,) * 6,
        acceleration=(30.0,) * 6,
    )


class PickPlace(gym.Env[dict[str, Any], np.ndarray]):
    """Pick up the cube, carry it past the post, put it down on the pad, let go.

    Action (7,): six joint targets [rad] and the gripper's opening [m], at 20 Hz. Observation: as
    `spec()` says. Success: the cube rests on the pad, released, for half a second, and nothing has
    touched the post in this episode. A touched post ends nothing, but from then on the episode
    cannot succeed. `info`: is_success; post_touched (so far); side ("left" or "right" of the post
    as the robot sees it, "" before). pictures_on_demand: leave the pictures out of the
    observations; see GymRobot.
    """

    metadata = {  # noqa: RUF012  (gymnasium's own way)
        "render_modes": ["rgb_array"],
        "render_fps": int(HZ),
    }

    def __init__(
        self,
        render_mode: str | None = None,
        cameras: tuple[str, ...] = (),
        width: int = 640,
        height: int = 480,
        shadows: bool = False,
        samples: int = 4,
    ) -> None:
        self.render_mode = render_mode
        self.cameras = tuple(cameras)
        self.pictures_on_demand = False
        self.model = load_model()
        self.data = mujoco.MjData(self.model)
        self.spec_fewstep = spec(self.cameras)
        boxes: dict[str, gym.Space[Any]] = {}
        for key, field in self.spec_fewstep.observations.items():
            boxes[key] = _make_box(field)
        self.observation_space = gym.spaces.Dict(boxes)
        self._low, self._high = self.spec_fewstep.bounds()
        self.action_space = gym.spaces.Box(self._low, self._high, dtype=np.float32)
        self._substeps = round(1 / (HZ * self.model.opt.timestep))
        self._post = self.model.geom("post").id
        self._cube = self.model.geom("cube").id
        self._fingers = [self.model.geom(f"{side}_finger").id for side in ("left", "right")]
        self._pictures = rendering.Renderer(self.model, PICTURE, PICTURE, coarse=True)
        self._view = rendering.Renderer(
            self.model, height, width, samples=samples, shadow=2048 if shadows else 0
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; `seed` alone decides where cube, pad and arm begin."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        draw = self.np_random.uniform
        start = HOME + draw(-1, 1, len(HOME)) * START_SPREAD
        cube = CUBE_CENTRE + draw(-1, 1, 2) * CUBE_SPREAD
        yaw = draw(-YAW_SPREAD, YAW_SPREAD)
        bearing = draw(-PAD_SPREAD, PAD_SPREAD)
        from_post = [PAD_DISTANCE * np.cos(bearing), PAD_DISTANCE * np.sin(bearing)]
        self.model.body("pad").pos[:2] = self.model.body("post").pos[:2] + from_post
        joints = [*start, OPENING / 2, OPENING / 2]
        rotation = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        self.data.qpos[:] = [*cube, 0.02, *rotation, *joints]
        self.data.ctrl[:] = joints
        mujoco.mj_forward(self.model, self.data)
        self._post_touched = False
        self._side = ""
        self._ticks_at_rest = 0
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Hold `action` for one period (50 ms).

        The reward lies in [0, 1]; it is 1 at success, which ends the episode.
        """
        action = np.clip(action, self._low, self._high)
        self.data.ctrl[:] = [*action[:6], action[6] / 2, action[6] / 2]
        for _ in range(self._substeps):
            mujoco.mj_step(self.model, self.data)
            self._post_touched |= bool((self.data.contact.geom == self._post).any())
        self._note_side()
        self._ticks_at_rest = self._ticks_at_rest + 1 if self._is_at_rest() else 0
        info = self._info()
        return self._observation(), self._reward(), info["is_success"], False, info

    def _note_side(self) -> None:
        x, y = self.data.geom_xpos[self._cube][:2]
        if not self._side and x > self.data.geom_xpos[self._post][0]:
            self._side = "left" if y > 0 else "right"

    def _is_at_rest(self) -> bool:
        """Return whether the cube lies still on the pad, and no finger touches it."""
        cube = self.data.geom_xpos[self._cube]
        from_pad = np.hypot(*(cube - self.data.body("pad").xpos)[:2])
        if from_pad >= PAD_RADIUS or cube[2] >= 0.025:
            return False
        if np.linalg.norm(self.data.qvel[:3]) >= 0.02:
            return False
        pairs = self.data.contact.geom
        held = np.isin(pairs, self._fingers).any(1) & (pairs == self._cube).any(1)
        return not held.any()

    def _info(self) -> dict[str, Any]:
        rested = self._ticks_at_rest >= REST_SECONDS * HZ
        return {
            "is_success": rested and not self._post_touched,
            "post_touched": self._post_touched,
            "side": self._side,
        }

    def _reward(self) -> float:
        if self._info()["is_success"]:
            return 1.0
        cube = self.data.geom_xpos[self._cube]
        from_fingers = np.linalg.norm(cube - self.data.site("tcp").xpos)
        from_pad = np.linalg.norm(cube - self.data.body("pad").xpos)
        reward = float(0.3 * np.exp(-5 * from_fingers) + 0.6 * np.exp(-5 * from_pad))
        return reward * (0.5 if self._post_touched else 1.0)

    def _observation(self) -> dict[str, np.ndarray]:
        qpos = self.data.qpos
        sign = 1.0 if qpos[3] >= 0 else -1.0
        observation = {
            "joints": qpos[7:13].astype(np.float32),
            "gripper": qpos[13:].sum(keepdims=True).astype(np.float32),
            "cube_position": qpos[:3].astype(np.float32),
            "cube_rotation": (qpos[3:7] * sign).astype(np.float32),
            "target": self.data.body("pad").xpos.astype(np.float32),
        }
        if not self.pictures_on_demand:
            for camera in self.cameras:
                observation[camera] = self.draw_camera(camera)
        return observation

    def draw_camera(self, camera: str) -> np.ndarray:
        """Return what a camera sees now, uint8 (PICTURE, PICTURE, 3)."""
        return self._pictures.draw(self.data, camera)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the whole scene, uint8 (height, width, 3), in render mode "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return self._view.draw(self.data, "scene")

    def close(self) -> None:
        """Release OpenGL."""
        self._pictures.close()
        self._view.close()


def _make_box(field: Field) -> gym.spaces.Box:
    if field.is_image:
        return gym.spaces.Box(0, 255, field.shape, np.uint8)
    bound = 1.0 if field.kind == "quaternion" else np.inf
    return gym.spaces.Box(-bound, bound, field.shape, np.float32)


gym.register(
    "fewstep/PickPlace-v0",
    entry_point="fewstep.envs.sim.pick_place:PickPlace",
    max_episode_steps=200,
)
