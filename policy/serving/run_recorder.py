"""The episodes of a run, kept as demonstrations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...demos.recording.experts import open_writable
from ...demos.recording.recorder import Recorder
from ...demos.store import DemoStore
from ...envs import DataError, FewstepError, Outcome, Spec, incompatibilities
from ...envs.cameras.camera_config import without
from ...envs.cameras.pictured_frames import PictureFinder
from ...envs.cameras.rings import PictureRing
from ...envs.control.frames import FrameReader
from ...envs.versions import versions
from .run_config import Log, RunConfig
from .supervisor import Supervisor

LOOK_SECONDS = 0.01  # between two looks for the last pictures of an episode
MOST_SECONDS = 1.0  # to wait for them


def require_place(path: Path) -> None:
    """Raise DataError where no store can be appended to, or made, at a path."""
    if path.exists():
        DemoStore.open(path, "a").close()
        return
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise DataError(f"record={path}: nothing can be written into {nearest}")


class RunRecorder:
    """Takes the frames of a run as they come, and stores each episode once it is judged.

    path: of the store, which is made where there is none. spec: of the robot and its cameras.
    frames: file descriptor of the memory through which they come. notes: provenance of a new store.
    log: is given what became of each episode; alarm: what went wrong.
    DataError where the store is of another robot.
    """

    def __init__(
        self,
        path: Path,
        spec: Spec,
        frames: int,
        rings: Mapping[str, PictureRing],
        notes: Mapping[str, Any],
        log: Callable[[str], None],
        alarm: Callable[[str], None],
    ) -> None:
        self._log = log
        self._alarm = alarm
        self._opened = ExitStack()
        self._frames = FrameReader(without(spec, rings), frames)
        self._opened.callback(self._frames.close)
        self._store = self._opened.enter_context(open_writable(path, spec, notes, images=""))
        wrong = incompatibilities(self._store.spec, spec)
        if wrong:
            self._opened.close()
            raise DataError(f"the robot does not fit {path}: {'; '.join(wrong)}")
        self._pictures = PictureFinder(rings)
        self._recorder = Recorder(self._store)
        self._lost = 0  # frames, before this episode

    def take(self) -> None:
        """Take the frames that have come."""
        for _, _, step in self._pictures.take(self._frames.read):
            self._recorder.step(step)

    def take_all(self) -> None:
        """Take what is left of an episode that has ended."""
        self.take()
        end = time.monotonic() + MOST_SECONDS
        while self._pictures.waits and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            self.take()

    def end(self, success: bool | None) -> None:
        """Store the episode, and tell what became of it; nothing where it had none."""
        if not self._recorder.has_frames:
            return
        self._recorder.keep(Outcome(success), self._log, alarm=self._alarm)
        lost = self._frames.lost - self._lost
        self._lost = self._frames.lost
        skews = self._pictures.take_skews()
        if skews:
            self._log(skews)
        if lost:
            self._log(f"{lost} frames were lost: this computer records too slowly")

    def close(self) -> None:
        """Store what nobody has judged, and what waits, and let go of the store."""
        try:
            self.take_all()
            self.end(None)
            self._recorder.close()
        finally:
            self._opened.close()


@contextmanager
def recording(
    config: RunConfig, supervisor: Supervisor, spec: Spec, frames: int, log: Log
) -> Iterator[RunRecorder | None]:
    """Keep the episodes in a store, where there shall be one."""
    if not config.record:
        yield None
        return
    rings = supervisor.cameras.rings if supervisor.cameras else {}
    notes = {"robot": config.robot, "actor": config.policy or config.actions, **versions()}

    def tell(text: str) -> None:
        log(text, "info")

    def alarm(text: str) -> None:
        supervisor.run_log.note("recording", text=text)
        log(text, "alarm")

    recorder = RunRecorder(Path(config.record), spec, frames, rings, notes, tell, alarm)
    supervisor.on_poll.append(recorder.take)
    try:
        yield recorder
    except FewstepError as error:
        log(str(error), "alarm")  # before anything is stored, however long that takes
        raise
    finally:
        supervisor.on_poll.remove(recorder.take)
        supervisor.order("stop")  # it brakes before anything is stored, however long that takes
        recorder.close()
