"""What the page of `fewstep view` shows of one store, and changes in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import ConfigError, FewstepError
from ...envs.errors import names, pick
from ..curating import curate
from ..doctor.check import check
from ..storage.curation import Curation
from ..storage.images import ENCODINGS
from ..store import DemoStore
from .curves import lengths_and_rates, panels

HORIZON = 16  # frames of a chunk, as in `fewstep check`
JUDGEMENTS: Mapping[str, bool | None] = {"success": True, "failure": False, "unjudged": None}
RECORDED = "recorded"  # the judgement that counts is that of the recording


@dataclass(frozen=True)
class Sight:
    """How somebody else sees a camera: drawn beside its pictures."""

    camera: str
    title: str
    size: tuple[int, int]  # height, width [px]
    draw: Callable[[np.ndarray], np.ndarray]  # from a picture (h, w, 3) to one of this size


class Catalogue:
    """One store, as it was when the page was last loaded, and what a person decided in it since.

    sights: shown after the store's own cameras.
    """

    def __init__(self, path: Path, sights: Sequence[Sight] = ()) -> None:
        self.path = path
        self._sights = sights
        self._doctor = Doctor(path)
        self._lock = threading.RLock()
        self.reopen()

    def reopen(self) -> None:
        """See the episodes that were recorded meanwhile, and what others decided."""
        with self._lock:
            store = DemoStore.open(self.path, deleted=True)
            self.store = store
            self._pictures = cache(store.pictures)
            self._cameras = list(store.spec.images)

    def summary(self) -> dict[str, Any]:
        """Return all that the page needs before anything is selected, as plain JSON values.

        Facts about episodes are lists with an entry for each of them.
        """
        store = self.store
        cameras = []
        for key, field in store.spec.images.items():
            cameras.append({"key": key, "height": field.shape[0], "width": field.shape[1]})
        for sight in self._sights:
            height, width = sight.size
            cameras.append({"key": sight.title, "height": height, "width": width})
        return {
            "name": store.path.resolve().name,
            "path": str(store.path.resolve()),
            "provenance": {key: str(value) for key, value in store.provenance.items()},
            "hz": store.spec.policy_hz,
            "cameras": cameras,
            "panels": panels(store.spec),
            "observed": sum(field.size for field in store.spec.states.values()),
            "frames": np.diff(store.ends, prepend=0).tolist(),
            **lengths_and_rates(store),
            "success": store.success,
            "judged": [_judged(store.curation, number) for number in range(len(store))],
            "deleted": [number in store.curation.deleted for number in range(len(store))],
            "warning": store.curation.damage,
        }

    def picture(self, number: int, camera: int, frame: int) -> bytes:
        """Return one picture as JPEG, as it is stored where that is one.

        camera: one of the store, or after them one of the sights.
        """
        start, _ = self.span(number)
        if camera >= len(self._cameras):
            sight = self._sights[camera - len(self._cameras)]
            drawn = sight.draw(self._pictures(sight.camera)[start + frame])
            return ENCODINGS["jpeg"].encode(drawn)
        pictures = self._pictures(self._cameras[camera])
        if pictures.encoding == "jpeg":
            return pictures.encoded[start + frame]
        return ENCODINGS["jpeg"].encode(pictures[start + frame])

    def findings(self) -> dict[str, Any]:
        """Return what the doctor found; asked for the first time, he begins."""
        return self._doctor.report((len(self.store), self.store.curation.deleted))

    def curate(self, number: int, change: Mapping[str, Any]) -> dict[str, Any]:
        """Delete or judge an episode; returns what is true of it now."""
        with self._lock:
            curate(self.path, lambda curation: decide(curation, number, change))
            self.reopen()
        store = self.store
        facts = {"success": store.success[number], "judged": _judged(store.curation, number)}
        return {"episode": number, "deleted": number in store.curation.deleted, **facts}

    def lacks(self, number: int, camera: int | None = None, frame: int = 0) -> str:
        """Return which of these there is not, in words; empty where all are there."""
        if number >= len(self.store):
            return f"there is no episode {number}, but {len(self.store)} of them"
        cameras = len(self._cameras) + len(self._sights)
        if camera is not None and camera >= cameras:
            return f"there is no camera {camera}, but {cameras} of them"
        start, stop = self.span(number)
        if frame >= stop - start:
            return f"there is no frame {frame}, but {stop - start} of them in episode {number}"
        return ""

    def span(self, number: int) -> tuple[int, int]:
        """Return the first frame of an episode, and the frame after its last."""
        start = self.store.ends[number - 1] if number else 0
        return int(start), int(self.store.ends[number])


class Doctor:
    """Looks for what is wrong with the episodes that are not deleted.

    It does so in the background, and again when they are others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._asked: Any = None  # the state that findings were last asked for
        self._running = False
        self._found: dict[str, Any] = {"findings": [], "error": ""}

    def report(self, state: Any) -> dict[str, Any]:
        """Return the last findings, and whether newer ones are on their way.

        They are where `state` is a new one.
        """
        with self._lock:
            begins = state != self._asked and not self._running
            self._asked = state
            if begins:
                self._running = True
            report = {"running": self._running, **self._found}
        if begins:
            threading.Thread(target=self._work, daemon=True).start()
        return report

    def _work(self) -> None:
        while self._running:
            state = self._asked
            found = self._look()
            with self._lock:
                self._found = found
                self._running = state != self._asked

    def _look(self) -> dict[str, Any]:
        try:
            store = DemoStore.open(self._path)
            found = check(store, HORIZON) if len(store) else []
            return {"findings": [asdict(finding) for finding in found], "error": ""}
        except FewstepError as error:
            return {"findings": [], "error": str(error)}
        except Exception as error:  # whatever else happens, the page shall not wait for ever
            return {"findings": [], "error": f"the check failed: {type(error).__name__}: {error}"}


def decide(curation: Curation, number: int, change: Mapping[str, Any]) -> Curation:
    """Return a curation after {"deleted": bool} or {"judged": one of JUDGEMENTS, or RECORDED}."""
    if change.keys() == {"deleted"} and isinstance(change["deleted"], bool):
        return curation.delete(number, change["deleted"])
    if change.keys() != {"judged"}:
        judgements = names([*JUDGEMENTS, RECORDED])
        raise ConfigError(
            f"a decision is deleted (true, false) or judged ({judgements}), not {change}"
        )
    if change["judged"] == RECORDED:
        success = dict(curation.success)
        success.pop(number, None)
        return replace(curation, success=success)
    return curation.judge(number, pick(JUDGEMENTS, str(change["judged"]), "judgement"))


def _judged(curation: Curation, number: int) -> str:
    """Return the word for how an episode was judged later, RECORDED where it was not."""
    if number in curation.success:
        for word, value in JUDGEMENTS.items():
            if value is curation.success[number]:
                return word
    return RECORDED
