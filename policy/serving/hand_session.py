"""A person drives a robot by hand.

Its control process keeps it within limits, episodes go into a store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from ...demos.recording.recorder import NOTHING_RECORDED, Recorder
from ...demos.recording.session import VERDICTS, Cadence
from ...demos.store import DemoStore
from ...envs import Outcome, Step
from ...envs.cameras.pictured_frames import PictureFinder
from ...envs.control.control_loop import NOT_BEGUN
from ...envs.control.frames import FrameReader
from .held_device import HeldDevice
from .supervisor import Supervisor

LOOK_SECONDS = 0.008  # between two looks at the device
DROPPED = ("discard", "quit")


class HandSession:
    """From one episode to the next: a person begins each, and says how it ended.

    The robot holds before and after an episode. A fault ends it and drops it; the next event to
    start arms again.
    pictures: of its cameras, put into its frames.
    held: what moves the robot, or leads it.
    seed: gives the start seed of the next episode. log: is given what happens.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        frames: FrameReader,
        pictures: PictureFinder,
        held: HeldDevice,
        store: DemoStore,
        seed: Callable[[], int],
        log: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._frames = frames
        self._pictures = pictures
        self._held = held
        self._store = store
        self._next_seed = seed
        self._log = log
        self._recorder = Recorder(store)
        self._cadence = Cadence(store.spec.policy_hz)
        self._playing = False
        self._recording = False
        self._verdict = ""  # what the person said of the running episode
        self._start: int | None = None  # seed of its start
        self._lost = 0  # frames, before it
        self.kept = 0

    def run(self, episodes: int) -> int:
        """Go on until so many episodes are kept, or the person quits; return how many."""
        with closing(self._recorder):
            while self.kept < episodes and self._look():
                pass
        return self.kept

    def _look(self) -> bool:
        """Take in what has happened since; return whether the person goes on."""
        events = self._held.read()
        self._supervisor.poll(LOOK_SECONDS)
        self._take_frames()
        ended = self._supervisor.next_event("ended")
        if ended is not None:
            self._take_frames()
            while self._pictures.waits:
                time.sleep(LOOK_SECONDS)
                self._take_frames()
            self._end(ended)
        for event in events:
            self._obey(event)
        return "quit" not in events

    def _take_frames(self) -> None:
        for _, following, step in self._pictures.take(self._frames.read):
            if self._playing and (following or self._recording):
                self._record(step)

    def _record(self, step: Step) -> None:
        if not self._recording:
            self._recording = True
            self._pictures.take_skews()  # those of the way here
            self._cadence = Cadence(self._store.spec.policy_hz)
            self._log(f"recording episode {len(self._store)}")
        self._recorder.step(step)
        trouble = self._cadence.off(step.obs.time)
        if trouble:
            self._log(trouble)

    def _obey(self, event: str) -> None:
        if event == "toggle":
            event = "success" if self._playing else "start"
        if event == "start" and not self._playing:
            self._begin()
        elif self._playing and (event in VERDICTS or event in DROPPED):
            self._verdict = event
            self._supervisor.order("hold")

    def _begin(self) -> None:
        self._playing = True
        self._recording = False
        self._verdict = ""
        self._lost = self._frames.lost
        if self._held.leads:
            self._log("the robot comes to its leader; recording begins when it is there")
        self._supervisor.order("arm")
        self._start = self._recorder.free(self._next_seed())
        self._supervisor.order(f"play {self._start} inf active")

    def _end(self, ended: dict[str, Any]) -> None:
        """Keep or drop what was recorded, as the person, the robot or a fault has decided."""
        was_recording = self._recording
        self._playing = False
        self._recording = False
        why = ended.get("why") or "over"
        failed = why.startswith("fault") or why == NOT_BEGUN
        dropped = self._verdict in DROPPED or (failed and self._verdict not in VERDICTS)
        if dropped or not was_recording:
            self._recorder.discard(self._start)
            if failed:
                self._log(f"discarded: {why}")
            elif self._verdict in DROPPED:
                self._log("discarded")
            else:
                self._log(NOTHING_RECORDED)
            return
        success = VERDICTS.get(self._verdict, ended.get("success"))
        if self._recorder.keep(Outcome(success), self._log, self._start) is None:
            return
        self.kept += 1
        skews = self._pictures.take_skews()
        if skews:
            self._log(skews)
        lost = self._frames.lost - self._lost
        if lost:
            self._log(f"{lost} frames were lost: this computer records too slowly")
