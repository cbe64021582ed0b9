"""Frames of an episode, from the process that controls a robot to the one that records them."""

from __future__ import annotations

import numpy as np

from ..robot import Command, Obs, Step
from ..spec import Spec
from .mailbox import Ring

MEMORY = 1 << 26  # bytes that frames may take which are not recorded yet
MOST, LEAST = 256, 4  # frames that can wait


class Periods:
    """Says which ticks begin a period of the policy: one frame of each is kept, however fast the loop runs."""

    def __init__(self, spec: Spec) -> None:
        self._spec, self._start, self._period = spec, 0.0, -1

    def begin(self, time: float) -> None:
        """Begin an episode at `time` [s]."""
        self._start, self._period = time, -1

    def due(self, time: float) -> bool:
        """Whether `time` [s] begins a period that has no frame yet; half a command period early still does."""
        if self._spec.command_hz <= self._spec.policy_hz:
            return True
        period = int((time - self._start + 0.5 / self._spec.command_hz) * self._spec.policy_hz)
        due, self._period = period > self._period, max(period, self._period)
        return due


def frame_type(spec: Spec) -> np.dtype:
    """Return the record of one frame; following: whether the robot is where the operator wants it."""
    observed = [(key, f.dtype, f.shape) for key, f in spec.observations.items()]
    head = [
        ("episode", "i8"),
        ("time", "f8"),
        ("following", "u1"),
        ("sent", "f8", (spec.action_size,)),
    ]
    stamps = ("stamps", "f8", (len(spec.observations),))
    return np.dtype([*head, stamps, ("obs", observed)])


def frame_slots(spec: Spec) -> int:
    """Return how many frames can wait."""
    return max(LEAST, min(MOST, MEMORY // frame_type(spec).itemsize))


class FrameSender:
    """Puts the frames of an episode where another process finds them; never waits for it."""

    def __init__(self, spec: Spec, fd: int) -> None:
        self._spec, self._ring = spec, Ring(frame_type(spec), frame_slots(spec), fd)
        self._record = np.zeros((), self._ring.dtype)
        self._periods, self._episode = Periods(spec), -1

    def step(self, episode: int, step: Step) -> None:
        """Send the frame of a tick that begins a period."""
        if episode != self._episode:
            self._periods.begin(step.obs.time)
            self._episode = episode
        if not self._periods.due(step.obs.time):
            return
        r = self._record
        r["episode"], r["time"], r["sent"] = episode, step.obs.time, step.sent
        wanted = step.intended.action
        r["following"] = wanted is not None and step.intended.source != "approach"
        for k, key in enumerate(self._spec.observations):
            r["obs"][key], r["stamps"][k] = (
                step.obs.data[key],
                step.obs.stamps.get(key, step.obs.time),
            )
        self._ring.write(r)


class FrameReader:
    """The other end."""

    def __init__(self, spec: Spec, fd: int) -> None:
        self._spec, self._ring = spec, Ring(frame_type(spec), frame_slots(spec), fd)

    @property
    def lost(self) -> int:
        """Frames that came faster than they were read."""
        return self._ring.lost

    def read(self) -> tuple[int, bool, Step] | None:
        """Return the next frame: its episode, whether the robot follows, and the step; None while there is none."""
        record = self._ring.read()
        if record is None:
            return None
        time = float(record["time"])
        data = {key: np.array(record["obs"][key]) for key in self._spec.observations}
        stamps = dict(zip(self._spec.observations, record["stamps"].tolist(), strict=True))
        sent = np.array(record["sent"])
        step = Step(Obs(time, data, stamps), Command(sent, "operator"), sent, 0.0)
        return int(record["episode"]), bool(record["following"]), step

    def close(self) -> None:
        """Let go."""
        self._ring.close()
