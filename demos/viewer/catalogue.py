"""What the page of `fewstep view` shows and changes: a summary, pictures, findings and marks of one store."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import ConfigError, FewstepError
from ...envs.errors import names, pick
from ..doctor.check import check
from ..storage.curation import Marks
from ..storage.images import ENCODINGS
from ..store import DemoStore
from .curves import clock, numbers, panels

HORIZON = 16  # frames of a chunk, as in `fewstep check`
JUDGEMENTS: Mapping[str, bool | None] = {"success": True, "failure": False, "unjudged": None}
RECORDED = "recorded"  # the judgement that counts is that of the recording


class Catalogue:
    """One store, as it was when the page was last loaded, and what a person marked in it since."""

    def __init__(self, path: Path) -> None:
        self.path, self._doctor = path, Doctor(path)
        self._lock = threading.RLock()
        self.reopen()

    def reopen(self) -> None:
        """See the episodes that were recorded meanwhile, and marks that others made."""
        with self._lock:
            store = DemoStore.open(self.path, deleted=True)
            self.store, self._pictures = store, cache(store.pictures)
            self.cameras = list(store.spec.images)

    def summary(self) -> dict[str, Any]:
        """All that the page needs before anything is selected: a list with an entry for each episode, for each fact."""
        store, shapes = (
            self.store,
            {key: self.store.spec.observations[key].shape for key in self.cameras},
        )
        return {
            "name": store.path.resolve().name,
            "path": str(store.path.resolve()),
            "provenance": {key: str(value) for key, value in store.provenance.items()},
            "hz": store.spec.policy_hz,
            "cameras": [
                {"key": key, "height": shape[0], "width": shape[1]} for key, shape in shapes.items()
            ],
            "panels": panels(store.spec),
            "observed": sum(field.size for field in numbers(store.spec).values()),
            "frames": np.diff(store.ends, prepend=0).tolist(),
            **clock(store),
            "success": store.success,
            "judged": [_judged(store.marks, number) for number in range(len(store))],
            "deleted": [number in store.marks.deleted for number in range(len(store))],
            "warning": store.marks.damage,
        }

    def picture(self, number: int, camera: int, frame: int) -> bytes:
        """One picture as JPEG, as it is stored where that is one."""
        start, _ = self.span(number)
        pictures = self._pictures(self.cameras[camera])
        if pictures.encoding == "jpeg":
            return pictures.encoded[start + frame]
        return ENCODINGS["jpeg"].encode(pictures[start + frame])

    def findings(self) -> dict[str, Any]:
        """What the doctor found; asked for the first time, he begins."""
        return self._doctor.report((len(self.store), self.store.marks.deleted))

    def mark(self, number: int, change: Mapping[str, Any]) -> dict[str, Any]:
        """Delete or judge an episode; returns what is true of it now."""
        with self._lock:
            Marks.update(self.path, lambda marks: marked(marks, number, change))
            self.reopen()
        store = self.store
        facts = {"success": store.success[number], "judged": _judged(store.marks, number)}
        return {"episode": number, "deleted": number in store.marks.deleted, **facts}

    def lacks(self, number: int, camera: int | None = None, frame: int = 0) -> str:
        """Which of these there is not, in words; empty where all are there."""
        if number >= len(self.store):
            return f"there is no episode {number}, but {len(self.store)} of them"
        if camera is not None and camera >= len(self.cameras):
            return f"there is no camera {camera}, but {len(self.cameras)} of them"
        frames = int(np.diff(self.span(number))[0])
        return (
            f"there is no frame {frame}, but {frames} of them in episode {number}"
            if frame >= frames
            else ""
        )

    def span(self, number: int) -> tuple[int, int]:
        """The first frame of an episode, and the frame after its last."""
        return int(self.store.ends[number - 1]) if number else 0, int(self.store.ends[number])


class Doctor:
    """Looks for what is wrong with the episodes that are not deleted, in the background, again when they are others."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock, self._asked, self._running = path, threading.Lock(), None, False
        self._found: dict[str, Any] = {"findings": [], "error": ""}

    def report(self, state: Any) -> dict[str, Any]:
        """The last findings, and whether newer ones are on their way: they are where `state` is a new one."""
        with self._lock:
            idle, self._asked = state != self._asked and not self._running, state
            self._running |= idle
            report = {"running": self._running, **self._found}
        if idle:
            threading.Thread(target=self._work, daemon=True).start()
        return report

    def _work(self) -> None:
        while self._running:
            state, found = self._asked, self._look()
            with self._lock:
                self._found, self._running = found, state != self._asked

    def _look(self) -> dict[str, Any]:
        try:
            store = DemoStore.open(self._path)
            found = check(store, HORIZON) if len(store) else []
            return {"findings": [asdict(finding) for finding in found], "error": ""}
        except FewstepError as error:
            return {"findings": [], "error": str(error)}
        except Exception as error:  # whatever else happens, the page shall not wait for ever
            return {"findings": [], "error": f"the check failed: {type(error).__name__}: {error}"}


def marked(marks: Marks, number: int, change: Mapping[str, Any]) -> Marks:
    """Marks after {"deleted": bool} or {"judged": one of JUDGEMENTS, or RECORDED}."""
    if change.keys() == {"deleted"} and isinstance(change["deleted"], bool):
        return marks.delete(number, change["deleted"])
    if change.keys() != {"judged"}:
        raise ConfigError(
            f"a mark is deleted (true, false) or judged ({names([*JUDGEMENTS, RECORDED])}), not {change}"
        )
    if change["judged"] == RECORDED:
        return replace(marks, success={k: v for k, v in marks.success.items() if k != number})
    return marks.judge(number, pick(JUDGEMENTS, str(change["judged"]), "judgement"))


def _judged(marks: Marks, number: int) -> str:
    if number not in marks.success:
        return RECORDED
    return next(
        (word for word, value in JUDGEMENTS.items() if value is marks.success[number]), RECORDED
    )
