"""Recorder: turns the steps of the control loop into stored episodes."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...envs import Actor, DataError, Obs, Outcome, Robot, Step, incompatibilities, run_episode
from ...envs.control.frames import Periods
from ...envs.errors import names
from ...envs.interrupts import uninterrupted
from ..episode import ACTION, TIME, Episode
from ..storage.images import ENCODINGS, EncodedImages
from ..store import DemoStore
from .start_seeds import Start, Starts


class Recorder:
    """Collects the steps of one episode in memory, and appends it to a store when it ends.

    Keeps one frame per period of policy_hz, with the action that was sent on that tick, however
    fast the loop runs.
    """

    def __init__(self, store: DemoStore) -> None:
        self.store, self._starts = store, Starts(store)
        self._frames: list[dict[str, Any]] = []
        self._start, self._periods = 0.0, Periods(store.spec)  # time of the first frame [s]

    def step(self, step: Step) -> None:
        """Hear of one tick; raises DataError where it does not fit the store's Spec."""
        if not self._frames:
            self._start = step.obs.time
            self._periods.begin(self._start)
        if self._periods.due(step.obs.time):
            time = np.array(step.obs.time - self._start)
            self._frames.append(
                {**self._observed(step.obs), ACTION: np.array(step.sent), TIME: time}
            )

    def end(self, outcome: Outcome, seed: int | None = None) -> Episode | None:
        """Append the episode and return it; None where there was no step.

        A Ctrl-C waits until it is stored.

        seed: that it started from, which counts as tried.
        """
        frames, self._frames = self._frames, []
        if not frames:
            return None
        data = {key: self._together(key, [frame[key] for frame in frames]) for key in frames[0]}
        done = Episode(data, self.store.spec, outcome.success)
        with uninterrupted():
            if seed is not None:
                self._starts.tried(seed, kept=True)
            self.store.append(done)
        return done

    def discard(self, seed: int | None = None) -> None:
        """Forget the episode that has begun.

        Seed: that it started from, where that counts as tried.
        """
        self._frames = []
        if seed is not None:
            self._starts.tried(seed, kept=False)

    def _observed(self, obs: Obs) -> dict[str, Any]:
        """Copies of what the Spec names, since a driver may fill the same buffer again.

        Images encoded.
        """
        fields, encode = self.store.spec.observations, ENCODINGS[self.store.images].encode
        missing = fields.keys() - obs.data.keys()
        if missing:
            raise DataError(f"the observation lacks {names(missing)}; it has {names(obs.data)}")
        out = {key: np.array(obs.data[key]) for key in fields}
        for key, field in fields.items():
            if out[key].shape != field.shape:
                raise DataError(
                    f"observation {key!r} has shape {out[key].shape}, the Spec says {field.shape}"
                )
        return {key: encode(value) if fields[key].is_image else value for key, value in out.items()}

    def _together(self, key: str, parts: list[Any]) -> Any:
        field = self.store.spec.observations.get(key)
        if field is None or not field.is_image:
            return np.stack(parts)
        return EncodedImages(parts, field.shape, self.store.images)


@runtime_checkable
class Repeats(Protocol):
    """An actor that shows the same start in several ways, in turn."""

    repetition: int  # how often this start was shown before


def record(
    robot: Robot,
    actor: Actor,
    store: DemoStore,
    starts: Iterable[Start | int | None],
    max_seconds: float,
    keep: Callable[[Outcome], bool] = lambda outcome: True,
    progress: Callable[[Outcome, Episode | None], None] | None = None,
    most: float = math.inf,
) -> int:
    """Run one episode per start, and append those that `keep` wants until there are `most`.

    Returns how many there are.

    Each is on disk before the next begins: whatever stops the recording, at most the running
    episode is lost.
    starts: seeds, or Starts, of which an actor that Repeats is told how often it has shown them.
    progress: called after each with its outcome, and the episode where it was stored.
    """
    wrong = incompatibilities(store.spec, robot.spec)
    if wrong:
        raise DataError(f"the robot does not fit {store.path}: {'; '.join(wrong)}")
    recorder = Recorder(store)
    kept = 0
    for start in starts:
        seed = start.seed if isinstance(start, Start) else start
        if isinstance(actor, Repeats):
            actor.repetition = start.repetition if isinstance(start, Start) else 0
        for step in run_episode(robot, actor, seed=seed, max_seconds=max_seconds):
            if step is not None:
                recorder.step(step)
        outcome = robot.outcome() or Outcome(None, why="the time is over")
        stored = recorder.end(outcome, seed) if keep(outcome) else recorder.discard(seed)
        kept += stored is not None
        if progress is not None:
            progress(outcome, stored)
        if kept >= most:
            break
    return kept
