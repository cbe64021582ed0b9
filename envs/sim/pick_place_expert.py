"""The scripted expert of `fewstep/PickPlace-v0`.

It is a velocity field over what is observed, and one coin per episode.
"""
# pyright: reportAttributeAccessIssue=false
# (mujoco's functions are compiled and carry no types)

import mujoco
import numpy as np

from ..robot import Command, Obs
from .pick_place import HZ, OPENING, load_model

SPEED = 0.22  # of the fingertips [m/s]
SWIFT = 0.36  # past the post [m/s]
ACCELERATION = 4.0  # [m/s^2]
GAIN = 6.0  # speed per distance [1/s]
TURN = 1.5  # [rad/s]
UNROLL = 0.8  # what is left of the forearm's roll after each tick
CARRY = 0.09  # height of the fingertips with the cube [m]
RETREAT = 0.17  # after it [m]
HOVER = 0.10  # above the cube, before [m]
FORK = 0.135  # distance of the fingertips from the axis of the post where sides part [m]
BERTH = 0.112  # and later [m]
STEEPEST = 1.3  # largest turn off the straight line on the way round the post [rad]
OUTWARD = 2.0  # push off the post
SQUEEZE = 0.02  # opening that holds the cube [m]
GRIP_SPEED = 0.22  # [m/s]
UP = np.array([0.0, 0.0, 1.0])
REST = 0.0205  # height of the cube's centre at rest, and a hair [m]
LOWEST_CORNER = np.array([0.15, -0.25, 0.005])  # of the fingertips' box in teleoperation [m]
HIGHEST_CORNER = np.array([0.48, 0.25, 0.28])  # of it [m]
LEASH = 0.06  # the commanded point stays this close to the measured one [m]


def ramp(value: float, zero: float, one: float) -> float:
    """Return a smooth step: 0 where a value is at `zero` or before, 1 at `one` or beyond."""
    share = min(max((value - zero) / (one - zero), 0.0), 1.0)
    return share * share * (3 - 2 * share)


class Arm:
    """Kinematics of the task's arm with the gripper pointing down."""

    def __init__(self) -> None:
        self.model = load_model()
        self.data = mujoco.MjData(self.model)
        body = self.model.body
        self.upper = body("forearm").pos[2]
        self.shoulder = body("turret").pos[2] + body("upper_arm").pos[2]
        self.lower = body("wrist").pos[0] + body("wrist_link").pos[0]
        self.tool = -body("hand").pos[2] - self.model.site("tcp").pos[2]

    def forward(self, joints: np.ndarray) -> np.ndarray:
        """Return fingertips (4,), x, y, z [m] and yaw [rad], of joints (6,) [rad]."""
        self.data.qpos[7:13] = joints
        mujoco.mj_kinematics(self.model, self.data)
        site = self.data.site("tcp")
        return np.array([*site.xpos, np.arctan2(site.xmat[3], site.xmat[0])])

    def inverse(self, fingertips: np.ndarray) -> np.ndarray:
        """Return joints (6,) [rad] of fingertips (4,), elbow up, forearm unrolled."""
        x, y, z, yaw = fingertips
        out = np.hypot(x, y)
        up = z + self.tool - self.shoulder
        bend = (self.upper**2 + self.lower**2 - out**2 - up**2) / (2 * self.upper * self.lower)
        elbow = np.arcsin(np.clip(bend, -1, 1))
        behind = np.arctan2(self.lower * np.cos(elbow), self.upper - self.lower * bend)
        shoulder = np.arctan2(out, up) - behind
        turn = np.arctan2(y, x)
        return np.array([turn, shoulder, elbow, 0.0, -shoulder - elbow, yaw - turn])


class FingertipTool:
    """A Tool for teleoperation.

    A hand moves the fingertips, which point down, and turns them about the vertical.
    """

    speed = np.array([SPEED, SPEED, SPEED, TURN, TURN, TURN, GRIP_SPEED])

    def __init__(self) -> None:
        self.arm = Arm()
        mujoco.mj_forward(self.arm.model, self.arm.data)
        camera = self.arm.model.camera("scene").id
        self._eye = self.arm.data.cam_xpos[camera].copy()
        self._axes = self.arm.data.cam_xmat[camera].reshape(3, 3).copy()
        half_height = np.tan(np.radians(self.arm.model.cam_fovy[camera]) / 2)
        self._half_size = half_height * np.array([4 / 3, 1.0])  # of the picture, 1 m away
        self._height = 0.0  # of the fingertips [m]

    def ground(self, place: np.ndarray) -> np.ndarray:
        """Return x, y (n, 2) [m] at the fingertips' height of places (n, 2) in the picture."""
        in_picture = (2 * place - 1) * self._half_size * [1, -1]
        ahead = np.full(len(in_picture), -1.0)
        rays = np.column_stack([in_picture, ahead]) @ self._axes.T
        lengths = (self._height - self._eye[2]) / np.minimum(rays[:, 2], -1e-3)
        return (self._eye + lengths[:, None] * rays)[:, :2]

    def follow(
        self, action: np.ndarray, measured: np.ndarray, move: np.ndarray, dt: float
    ) -> np.ndarray:
        """Integrate in the workspace, on a leash to the measured fingertips."""
        tip = self.arm.forward(measured[:6])
        aim = self.arm.forward(action[:6])
        self._height = tip[2]
        aim = aim + np.array([*SPEED * move[:3], TURN * move[5]]) * dt
        leashed = tip[:3] + np.clip(aim[:3] - tip[:3], -LEASH, LEASH)
        aim[:3] = np.clip(leashed, LOWEST_CORNER, HIGHEST_CORNER)
        grip = np.clip(action[6] + GRIP_SPEED * move[6] * dt, 0.0, OPENING)
        return np.array([*self.arm.inverse(aim), grip])


class PickPlaceExpert:
    """An actor that picks, carries and places.

    Which side of the post it passes is a coin drawn from the seed.
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
        """Draw the side from `seed`.

        It is a stream of its own: the task draws its start from the same number.
        """
        coin = np.random.default_rng(None if seed is None else [seed, 1]).random() < 0.5
        is_other_side = self.repetition % 2 == 1
        self.side = self.forced or ("left" if coin != is_other_side else "right")
        self.velocity = np.zeros(4)  # m/s and rad/s
        self.last: np.ndarray | None = None

    def sent(self, action: np.ndarray) -> None:
        """Go on from what was really sent."""
        self.last = np.asarray(action, float)

    def act(self, obs: Obs) -> Command:
        """Return the joint targets and opening of this tick."""
        joints = obs.data["joints"].astype(float)
        opening = float(obs.data["gripper"][0])
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
        """Return the velocity (4,) [m/s, rad/s] of the commanded fingertips, and the opening [m].

        aim: where they are commanded to (4,); tip: where they are (4,); opening: of the gripper.
        """
        cube = obs.data["cube_position"].astype(float)
        target = obs.data["target"].astype(float)
        away = float(np.linalg.norm(cube - tip[:3]))
        off = float(np.hypot(*(cube - target)[:2]))
        near = 1 - ramp(away, 0.011, 0.028)
        held = near * (1 - ramp(opening, 0.043, 0.050))
        low = 1 - ramp(cube[2], 0.023, 0.030)
        placed = low * (1 - ramp(off, 0.020, 0.030))
        release = low * (1 - ramp(off, 0.010, 0.018)) + placed * ramp(opening, 0.046, 0.054)
        rising = self.rise(aim, ramp(opening, 0.050, 0.065))
        free = placed * rising + (1 - placed) * self.approach(aim, cube, obs)
        carrying = self.carry(aim, cube - tip[:3], target)
        grip = OPENING + (SQUEEZE - OPENING) * near * (1 - min(release, 1.0))
        return held * carrying + (1 - held) * free, grip

    def approach(self, aim: np.ndarray, cube: np.ndarray, obs: Obs) -> np.ndarray:
        """Return the velocity (4,) onto the cube: down as far as the fingertips are over it."""
        beside = float(np.hypot(*(cube - aim[:3])[:2]))
        goal = cube + UP * HOVER * ramp(beside, 0.008, 0.045)
        w, x, y, z = obs.data["cube_rotation"].astype(float)
        yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        quarter = np.pi / 2
        return _towards(aim, goal, (yaw + quarter / 2) % quarter - quarter / 2)

    def carry(self, aim: np.ndarray, hang: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the velocity (4,) up, round the post and down onto the pad.

        hang (3,): cube minus fingertips [m].
        """
        goal = target + UP * REST - hang
        ahead = goal[:2] - aim[:2]
        far = ramp(float(np.hypot(*ahead)), 0.008, 0.05)
        height = goal[2] + (CARRY - goal[2]) * far
        velocity = _towards(aim, [*goal[:2], height], 0.0, SWIFT)
        if self.post[0] - aim[0] > FORK:
            level = self.run_up(aim)
        else:
            level = self.detour(aim[:2], ahead, velocity[:2])
        velocity[:2] = level * (1 - far * (1 - ramp(aim[2], 0.045, 0.075)))
        return velocity

    def run_up(self, aim: np.ndarray) -> np.ndarray:
        """Return the velocity (2,) onto the line through the post and along it.

        Whatever came before, every episode reaches the fork alike: nothing tells which side it
        will take.
        """
        aside = self.post[1] - aim[1]
        along = SPEED * (1 - 0.9 * ramp(abs(aside), 0.004, 0.02))
        across = np.clip(2 * GAIN * aside, -SPEED, SPEED)
        return np.array([along, across])

    def detour(self, at: np.ndarray, ahead: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Turn `velocity` (2,), which leads straight `ahead` (2,), to this episode's side."""
        post = self.post - at
        distance = float(np.hypot(*post))
        if np.hypot(*ahead) < 0.5 * distance:
            return velocity
        sign = 1.0 if self.side == "left" else -1.0
        bearing = sign * (np.arctan2(post[1], post[0]) - np.arctan2(ahead[1], ahead[0]))
        # Half of what the post and its berth cover, seen from here; inside the berth more than a
        # right angle: outwards.
        if distance > BERTH:
            half = np.arcsin(BERTH / distance)
        else:
            half = np.pi / 2 + OUTWARD * (1 - distance / BERTH)
        wrapped = (bearing + np.pi) % (2 * np.pi) - np.pi
        turn = sign * float(np.clip(wrapped + half, 0.0, STEEPEST))
        cos = np.cos(turn)
        sin = np.sin(turn)
        return np.array([[cos, -sin], [sin, cos]]) @ velocity

    def rise(self, aim: np.ndarray, opened: float) -> np.ndarray:
        """Return the velocity (4,) straight up, once the gripper is open."""
        return _towards(aim, [*aim[:2], RETREAT], aim[3]) * opened


def _towards(
    aim: np.ndarray, goal: np.ndarray | list[float], yaw: float, speed: float = SPEED
) -> np.ndarray:
    way = GAIN * (np.asarray(goal) - aim[:3])
    level = way[:2] * min(1.0, speed / max(float(np.hypot(*way[:2])), 1e-9))
    vertical = np.clip(way[2], -SPEED, SPEED)
    turn = np.clip(GAIN * (yaw - aim[3]), -TURN, TURN)
    return np.array([*level, vertical, turn])
