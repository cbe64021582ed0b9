"""Recorder: turns the steps of the control loop into stored episodes."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...envs import Actor, DataError, Obs, Outcome, Robot, Step, incompatibilities, run_episode
from ...envs.control.frames import Periods
from ...envs.errors import names
from ...envs.interrupts import uninterrupted
from ...envs.robot import source_number
from ..episode import ACTION, TIME, Episode
from ..storage.images import ENCODINGS, EncodedImages
from ..store import DemoStore
from .start_seeds import Start, Starts

NOTHING_RECORDED = "discarded: nothing was recorded yet"
MOST_WAITING = 3  # episodes in memory that could not be stored


class Recorder:
    """Collects the steps of one episode in memory, and appends it to a store when it ends.

    Keeps one frame per period of policy_hz, with the action that was sent on that tick, however
    fast the loop runs.
    """

    def __init__(self, store: DemoStore) -> None:
        self.store = store
        self._starts = Starts(store)
        self._frames: list[dict[str, Any]] = []
        self._sources: list[int] = []  # who acted at each of them
        self._start = 0.0  # [s] time of the first frame
        self._periods = Periods(store.spec)
        # Episodes that could not be stored yet, with the seeds that they started from.
        self._waiting: list[tuple[Episode, int | None]] = []

    def step(self, step: Step) -> None:
        """Hear of one tick; raises DataError where it does not fit the store's Spec."""
        if not self._frames:
            self._start = step.obs.time
            self._periods.begin(self._start)
        if self._periods.due(step.obs.time):
            frame = self._copy_observation(step.obs)
            frame[ACTION] = np.array(step.sent)
            frame[TIME] = np.array(step.obs.time - self._start)
            self._frames.append(frame)
            self._sources.append(source_number(step.intended.source))

    @property
    def has_frames(self) -> bool:
        """Return whether there is anything of an episode."""
        return bool(self._frames)

    def end(self, outcome: Outcome, seed: int | None = None) -> Episode | None:
        """Append the episode and return it; None where there was no step.

        A Ctrl-C waits until it is stored.
        seed: that it started from, which counts as tried.
        """
        done = self._build(outcome, seed)
        if done is not None:
            self._append()
        return done

    def keep(
        self,
        outcome: Outcome,
        log: Callable[[str], None],
        seed: int | None = None,
        alarm: Callable[[str], None] | None = None,
    ) -> Episode | None:
        """End the episode as `end` does, and tell what became of it.

        One that cannot be stored waits in memory for the next one, or `close`; DataError where more
        than MOST_WAITING do.
        alarm: is given what went wrong, by default as the rest is told.
        """
        done = self._build(outcome, seed)
        if done is None:
            log(NOTHING_RECORDED)
            return None
        try:
            self._append()
        except DataError as error:
            if len(self._waiting) > MOST_WAITING:
                raise DataError(f"{error}; too many episodes wait") from error
            (alarm or log)(f"{error}; the episode waits in memory, for the next one or the end")
        else:
            log(describe_kept(done, self.store))
        return done

    def close(self) -> None:
        """Append what waits; DataError where that is lost."""
        try:
            self._append()
        except DataError as error:
            raise DataError(f"{error}; new episodes that are lost: {len(self._waiting)}") from error

    def free(self, seed: int | None) -> int | None:
        """Return a start seed, or the next one that no episode which waits has started from."""
        taken = [start for _, start in self._waiting if start is not None]
        return seed if seed is None or not taken else max(seed, max(taken) + 1)

    def _build(self, outcome: Outcome, seed: int | None) -> Episode | None:
        """Return the episode, which waits to be appended; None where there was no step."""
        frames, sources = self._frames, np.array(self._sources)
        self._forget()
        if not frames:
            return None
        data = {}
        for key in frames[0]:
            data[key] = self._join(key, [frame[key] for frame in frames])
        done = Episode(data, self.store.spec, outcome.success, sources)
        self._waiting.append((done, seed))
        return done

    def _append(self) -> None:
        """Append what waits, one by one: there may be room for some of it."""
        with uninterrupted():
            while self._waiting:
                episode, seed = self._waiting[0]
                if seed is not None:
                    self._starts.tried(seed, kept=True)
                self.store.append(episode)
                del self._waiting[0]

    def discard(self, seed: int | None = None) -> None:
        """Forget the episode that has begun.

        seed: that it started from, where that counts as tried.
        """
        self._forget()
        if seed is not None:
            self._starts.tried(seed, kept=False)

    def _forget(self) -> None:
        self._frames = []
        self._sources = []

    def _copy_observation(self, obs: Obs) -> dict[str, Any]:
        """Return what the Spec names, images encoded.

        These are copies, since a driver may fill the same buffer again.
        """
        fields = self.store.spec.observations
        encode = ENCODINGS[self.store.images].encode
        missing = fields.keys() - obs.data.keys()
        if missing:
            raise DataError(f"the observation lacks {names(missing)}; it has {names(obs.data)}")
        copies: dict[str, Any] = {}
        for key, field in fields.items():
            value = np.array(obs.data[key])
            if value.shape != field.shape:
                raise DataError(
                    f"observation {key!r} has shape {value.shape}, the Spec says {field.shape}"
                )
            copies[key] = encode(value) if field.is_image else value
        return copies

    def _join(self, key: str, parts: list[Any]) -> Any:
        """Return the values of all frames, (T, ...)."""
        field = self.store.spec.observations.get(key)
        if field is None or not field.is_image:
            return np.stack(parts)
        return EncodedImages(parts, field.shape, self.store.images)


def describe_kept(episode: Episode, store: DemoStore) -> str:
    """Return what a person is told of an episode that was kept in a store."""
    judged = {True: "success", False: "failure", None: "not judged"}[episode.success]
    return f"kept: {judged}, {len(episode)} frames; {len(store)} episodes in all"


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
    """Run one episode per start; return how many were kept.

    Each is on disk before the next begins: whatever stops the recording, at most the running
    episode is lost.

    Args:
        robot: Of the store's Spec.
        actor: Who shows it.
        store: Where episodes are kept, open to append.
        starts: Seeds, or Starts, of which an actor that Repeats is told how often it showed them.
        max_seconds: After which an episode ends [s].
        keep: Says of an outcome whether its episode is appended.
        progress: Called after each with its outcome, and the episode where it was stored.
        most: How many to keep.
    """
    wrong = incompatibilities(store.spec, robot.spec)
    if wrong:
        raise DataError(f"the robot does not fit {store.path}: {'; '.join(wrong)}")
    recorder = Recorder(store)
    kept = 0
    for start in starts:
        if not isinstance(start, Start):
            start = Start(start)
        if isinstance(actor, Repeats):
            actor.repetition = start.repetition
        for step in run_episode(robot, actor, seed=start.seed, max_seconds=max_seconds):
            if step is not None:
                recorder.step(step)
        outcome = robot.outcome() or Outcome(None, why="the time is over")
        if keep(outcome):
            stored = recorder.end(outcome, start.seed)
        else:
            stored = None
            recorder.discard(start.seed)
        kept += stored is not None
        if progress is not None:
            progress(outcome, stored)
        if kept >= most:
            break
    return kept
