"""The scripted expert of `fewstep/PickPlace-v0`: a velocity field over what is observed, and one coin per episode."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's functions are compiled and carry no types)

import mujoco
import numpy as np

from ..robot import Command, Obs
from .pick_place import HZ, OPENING, load_model

SPEED, SWIFT, ACCELERATION, GAIN = (
    0.22,
    0.36,
    4.0,
    6.0,
)  # m/s, m/s (past the post), m/s^2, 1/s (speed per distance)
TURN, UNROLL = 1.5, 0.8  # rad/s; what is left of the forearm's roll after each tick
CARRY, RETREAT, HOVER = 0.09, 0.17, 0.10  # heights of the fingertips [m]
FORK, BERTH = (
    0.135,
    0.112,
)  # distances of the fingertips from the axis of the post: where sides part, and later [m]
STEEPEST, OUTWARD = (
    1.3,
    2.0,
)  # the way round the post: largest turn off the straight line [rad], and push off the post
SQUEEZE, GRIP_SPEED = 0.02, 0.22  # m, m/s
UP, REST = np.array([0.0, 0.0, 1.0]), 0.0205  # height of the cube's centre at rest, and a hair [m]
REACHABLE = np.array(
    [[0.15, -0.25, 0.005], [0.48, 0.25, 0.28]]
)  # box of the fingertips in teleoperation [m]
LEASH = 0.06  # the commanded point stays this close to the measured one [m]


def ramp(x: float, zero: float, one: float) -> float:
    """Smooth step: 0 where x is at `zero` or before, 1 at `one` or beyond."""
    s = min(max((x - zero) / (one - zero), 0.0), 1.0)
    return s * s * (3 - 2 * s)


class Arm:
    """Kinematics of the task's arm with the gripper pointing down."""

    def __init__(self) -> None:
        self.model = load_model()
        self.data = mujoco.MjData(self.model)
        body = self.model.body
        self.upper, self.shoulder = (
            body("forearm").pos[2],
            body("turret").pos[2] + body("upper_arm").pos[2],
        )
        self.lower = body("wrist").pos[0] + body("wrist_link").pos[0]
        self.tool = -body("hand").pos[2] - self.model.site("tcp").pos[2]

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """Joints (6,) [rad] -> fingertips (4,): x, y, z [m] and yaw [rad]."""
        self.data.qpos[7:13] = joints
        mujoco.mj_kinematics(self.model, self.data)
        site = self.data.site("tcp")
        return np.array([*site.xpos, np.arctan2(site.xmat[3], site.xmat[0])])

    def inverse(self, tip: np.ndarray) -> np.ndarray:
        """Fingertips (4,) -> joints (6,), elbow up, forearm unrolled."""
        x, y, z, yaw = tip
        out, up = np.hypot(x, y), z + self.tool - self.shoulder
        bend = (self.upper**2 + self.lower**2 - out**2 - up**2) / (2 * self.upper * self.lower)
        elbow = np.arcsin(np.clip(bend, -1, 1))
        shoulder = np.arctan2(out, up) - np.arctan2(
            self.lower * np.cos(elbow), self.upper - self.lower * bend
        )
        turn = np.arctan2(y, x)
        return np.array([turn, shoulder, elbow, 0.0, -shoulder - elbow, yaw - turn])


class FingertipTool:
    """A Tool for teleoperation: a hand moves the fingertips, which point down, and turns them about the vertical."""

    speed = np.array([SPEED, SPEED, SPEED, TURN, TURN, TURN, GRIP_SPEED])

    def __init__(self) -> None:
        self.arm = Arm()
        mujoco.mj_forward(self.arm.model, self.arm.data)
        camera = self.arm.model.camera("scene").id
        self._eye = self.arm.data.cam_xpos[camera].copy()
        self._axes = self.arm.data.cam_xmat[camera].reshape(3, 3).copy()
        self._half = np.tan(np.radians(self.arm.model.cam_fovy[camera]) / 2) * np.array(
            [4 / 3, 1.0]
        )
        self._height = 0.0  # of the fingertips [m]

    def ground(self, place: np.ndarray) -> np.ndarray:
        """Places in the picture (n, 2) -> x, y (n, 2) at the height of the fingertips [m]."""
        flat = (2 * place - 1) * self._half * [1, -1]
        ways = np.column_stack([flat, np.full(len(flat), -1.0)]) @ self._axes.T
        far = (self._height - self._eye[2]) / np.minimum(ways[:, 2], -1e-3)
        return (self._eye + far[:, None] * ways)[:, :2]

    def follow(
        self, action: np.ndarray, measured: np.ndarray, move: np.ndarray, dt: float
    ) -> np.ndarray:
        """Integrate in the workspace, on a leash to the measured fingertips."""
        tip, aim = self.arm.forward(measured[:6]), self.arm.forward(action[:6])
        self._height = tip[2]
        aim = aim + np.array([*SPEED * move[:3], TURN * move[5]]) * dt
        aim[:3] = np.clip(tip[:3] + np.clip(aim[:3] - tip[:3], -LEASH, LEASH), *REACHABLE)
        grip = np.clip(action[6] + GRIP_SPEED * move[6] * dt, 0.0, OPENING)
        return np.array([*self.arm.inverse(aim), grip])


class PickPlaceExpert:
    """An actor that picks, carries and places; which side of the post it passes is a coin drawn from the seed.

    Everything else follows from the observation and the last action sent, so it recovers from
    disturbances. `side`: "left" or "right" as the robot sees it, in place of the coin.
    `repetition`: how often this start was shown before; every other time it passes the other side.
    """

    def __init__(self, side: str = "") -> None:
        self.arm = Arm()
        self.forced = side
        self.repetition = 0
        self.post = self.arm.model.body("post").pos[:2]

    def reset(self, seed: int | None = None) -> None:
        """Draw the side from `seed`, on a stream of its own: the task draws its start from the same number."""
        coin = np.random.default_rng(None if seed is None else [seed, 1]).random() < 0.5
        is_other_side = self.repetition % 2 == 1
        self.side = self.forced or ("left" if coin != is_other_side else "right")
        self.velocity = np.zeros(4)  # m/s and rad/s
        self.last: np.ndarray | None = None

    def sent(self, action: np.ndarray) -> None:
        """Go on from what was really sent."""
        self.last = np.asarray(action, float)

    def act(self, obs: Obs) -> Command:
        """The joint targets and opening of this tick."""
        joints, opening = obs.data["joints"].astype(float), float(obs.data["gripper"][0])
        tip = self.arm.forward(joints)
        last = np.array([*joints, opening]) if self.last is None else self.last
        aim = tip + np.clip(self.arm.forward(last[:6]) - tip, -LEASH, LEASH)
        wanted, grip = self.field(aim, tip, opening, obs)
        change = ACCELERATION / HZ * np.array([1, 1, 1, 5])
        self.velocity = self.velocity + np.clip(wanted - self.velocity, -change, change)
        step = GRIP_SPEED / HZ
        grip = np.clip(grip, last[6] - step, last[6] + step)
        goal = self.arm.inverse(aim + self.velocity / HZ)
        goal[3] = UNROLL * last[3]
        return Command(np.array([*goal, grip], np.float32), "expert")

    def field(
        self, aim: np.ndarray, tip: np.ndarray, opening: float, obs: Obs
    ) -> tuple[np.ndarray, float]:
        """Velocity (4,) [m/s, rad/s] of the commanded fingertips `aim`, and the gripper's opening [m]."""
        cube, target = obs.data["cube_position"].astype(float), obs.data["target"].astype(float)
        away, off = float(np.linalg.norm(cube - tip[:3])), float(np.hypot(*(cube - target)[:2]))
        near = 1 - ramp(away, 0.011, 0.028)
        held = near * (1 - ramp(opening, 0.043, 0.050))
        low = 1 - ramp(cube[2], 0.023, 0.030)
        placed = low * (1 - ramp(off, 0.020, 0.030))
        release = low * (1 - ramp(off, 0.010, 0.018)) + placed * ramp(opening, 0.046, 0.054)
        free = placed * self.rise(aim, ramp(opening, 0.050, 0.065)) + (1 - placed) * self.approach(
            aim, cube, obs
        )
        grip = OPENING + (SQUEEZE - OPENING) * near * (1 - min(release, 1.0))
        return held * self.carry(aim, cube - tip[:3], target) + (1 - held) * free, grip

    def approach(self, aim: np.ndarray, cube: np.ndarray, obs: Obs) -> np.ndarray:
        """Velocity (4,) onto the cube, from above: down as far as the fingertips are over it."""
        beside = float(np.hypot(*(cube - aim[:3])[:2]))
        goal = cube + UP * HOVER * ramp(beside, 0.008, 0.045)
        w, x, y, z = obs.data["cube_rotation"].astype(float)
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        quarter = np.pi / 2
        return _towards(aim, goal, (yaw + quarter / 2) % quarter - quarter / 2)

    def carry(self, aim: np.ndarray, hang: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Velocity (4,) up, round the post and down onto the pad; `hang` (3,): cube minus fingertips [m]."""
        goal = target + UP * REST - hang
        ahead = goal[:2] - aim[:2]
        far = ramp(float(np.hypot(*ahead)), 0.008, 0.05)
        velocity = _towards(aim, [*goal[:2], goal[2] + (CARRY - goal[2]) * far], 0.0, SWIFT)
        level = (
            self.run_up(aim)
            if self.post[0] - aim[0] > FORK
            else self.detour(aim[:2], ahead, velocity[:2])
        )
        velocity[:2] = level * (1 - far * (1 - ramp(aim[2], 0.045, 0.075)))
        return velocity

    def run_up(self, aim: np.ndarray) -> np.ndarray:
        """Velocity (2,) onto the line through the post and along it.

        Whatever came before, every episode reaches the fork alike: nothing tells which side it will take.
        """
        aside = self.post[1] - aim[1]
        return np.array(
            [
                SPEED * (1 - 0.9 * ramp(abs(aside), 0.004, 0.02)),
                np.clip(2 * GAIN * aside, -SPEED, SPEED),
            ]
        )

    def detour(self, at: np.ndarray, ahead: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Turn `velocity` (2,), which leads straight `ahead` (2,), to pass the post on this episode's side."""
        post = self.post - at
        distance = float(np.hypot(*post))
        if np.hypot(*ahead) < 0.5 * distance:
            return velocity
        sign = 1.0 if self.side == "left" else -1.0
        bearing = sign * (np.arctan2(post[1], post[0]) - np.arctan2(ahead[1], ahead[0]))
        # Half of what the post and its berth cover, seen from here; inside the berth more than a right angle: outwards.
        half = (
            np.arcsin(BERTH / distance)
            if distance > BERTH
            else np.pi / 2 + OUTWARD * (1 - distance / BERTH)
        )
        turn = sign * float(np.clip((bearing + np.pi) % (2 * np.pi) - np.pi + half, 0.0, STEEPEST))
        c, s = np.cos(turn), np.sin(turn)
        return np.array([[c, -s], [s, c]]) @ velocity

    def rise(self, aim: np.ndarray, opened: float) -> np.ndarray:
        """Velocity (4,) straight up, once the gripper is open."""
        return _towards(aim, [*aim[:2], RETREAT], aim[3]) * opened


def _towards(
    aim: np.ndarray, goal: np.ndarray | list[float], yaw: float, speed: float = SPEED
) -> np.ndarray:
    way = GAIN * (np.asarray(goal) - aim[:3])
    level = way[:2] * min(1.0, speed / max(float(np.hypot(*way[:2])), 1e-9))
    return np.array(
        [*level, np.clip(way[2], -SPEED, SPEED), np.clip(GAIN * (yaw - aim[3]), -TURN, TURN)]
    )
