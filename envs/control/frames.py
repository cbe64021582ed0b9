"""Frames of an episode, from the process that controls a robot to the one that records them."""

from __future__ import annotations

import numpy as np

from ..mailbox import Ring
from ..robot import SOURCES, Command, Obs, Step, source_number
from ..spec import Spec

MEMORY = 1 << 26  # bytes that frames may take which are not recorded yet
MOST_SLOTS = 256  # for frames that wait
LEAST_SLOTS = 4


class Periods:
    """Says which ticks begin a period of the policy.

    One frame of each is kept, however fast the loop runs.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._start = 0.0
        self._period = -1  # the newest that has a frame

    def begin(self, time: float) -> None:
        """Begin an episode at `time` [s]."""
        self._start = time
        self._period = -1

    def due(self, time: float) -> bool:
        """Return whether `time` [s] begins a period that has no frame yet.

        Half a command period early still does.
        """
        if self._spec.command_hz <= self._spec.policy_hz:
            return True
        elapsed = time - self._start + 0.5 / self._spec.command_hz
        period = int(elapsed * self._spec.policy_hz)
        if period <= self._period:
            return False
        self._period = period
        return True


def frame_type(spec: Spec) -> np.dtype:
    """Return the record of one frame.

    following: whether the robot is where the operator wants it; source: who acted, by the number in
    SOURCES.
    """
    observed = []
    for key, field in spec.observations.items():
        observed.append((key, field.dtype, field.shape))
    return np.dtype(
        [
            ("episode", "i8"),
            ("time", "f8"),
            ("following", "u1"),
            ("source", "u1"),
            ("sent", "f8", (spec.action_size,)),
            ("stamps", "f8", (len(spec.observations),)),
            ("obs", observed),
        ]
    )


def frame_slots(spec: Spec) -> int:
    """Return how many frames can wait."""
    fitting = MEMORY // frame_type(spec).itemsize
    return max(LEAST_SLOTS, min(MOST_SLOTS, fitting))


class FrameSender:
    """Puts the frames of an episode where another process finds them; never waits for it."""

    def __init__(self, spec: Spec, fd: int) -> None:
        self._spec = spec
        self._ring = Ring(frame_type(spec), frame_slots(spec), fd)
        self._record = np.zeros((), self._ring.dtype)
        self._periods = Periods(spec)
        self._episode = -1

    def step(self, episode: int, step: Step) -> None:
        """Send the frame of a tick that begins a period."""
        if episode != self._episode:
            self._periods.begin(step.obs.time)
            self._episode = episode
        if not self._periods.due(step.obs.time):
            return
        record = self._record
        obs = step.obs
        record["episode"] = episode
        record["time"] = obs.time
        record["sent"] = step.sent
        wanted = step.intended.action
        record["following"] = wanted is not None and step.intended.source != "approach"
        record["source"] = source_number(step.intended.source)
        for index, key in enumerate(self._spec.observations):
            record["obs"][key] = obs.data[key]
            record["stamps"][index] = obs.stamps.get(key, obs.time)
        self._ring.write(record)


class FrameReader:
    """Reads the frames that a FrameSender has put there, in order."""

    def __init__(self, spec: Spec, fd: int) -> None:
        self._spec = spec
        self._ring = Ring(frame_type(spec), frame_slots(spec), fd)

    @property
    def lost(self) -> int:
        """How many frames came faster than they were read."""
        return self._ring.lost

    def read(self) -> tuple[int, bool, Step] | None:
        """Return the next frame: its episode, whether the robot follows, and the step.

        None while there is none.
        """
        record = self._ring.read()
        if record is None:
            return None
        time = float(record["time"])
        data = {key: np.array(record["obs"][key]) for key in self._spec.observations}
        stamps = dict(zip(self._spec.observations, record["stamps"].tolist(), strict=True))
        sent = np.array(record["sent"])
        obs = Obs(time, data, stamps)
        step = Step(obs, Command(sent, SOURCES[record["source"]]), sent, lateness=0.0)
        return int(record["episode"]), bool(record["following"]), step

    def close(self) -> None:
        """Let go."""
        self._ring.close()
