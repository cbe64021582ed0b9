"""The log of a run: a record per tick, everything that was said, and what ran; and reading it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import write_file, writing
from ..errors import RobotError, refusing
from ..files import require_plain
from ..locks import lock
from ..safety.states import State
from ..spec import Spec
from ..tables import read_json
from .control_loop import STATES, tick_type

EVENTS = "events.jsonl"
TICKS = "ticks.bin"
FACTS = "run.json"
LATENCY = "latency.json"


class LogFile:
    """A file that whole records are added to.

    Where that fails the log ends there, and the run goes on.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._path = path
        self.trouble = ""  # why nothing more could be written

    def write(self, content: bytes) -> None:
        """Add records, or none of them from the first failure on."""
        if self.trouble:
            return
        size = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, content)
            if written < len(content):
                os.write(self._fd, content[written:])  # says why the rest does not fit
        except OSError as error:
            self.trouble = f"{self._path} could not be written any more: {error.strerror or error}"
            with suppress(OSError):
                os.ftruncate(self._fd, size)

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RunLog:
    """The folder of one run, its own until it is closed.

    The log of an earlier one is kept in earlier.1 and so on.
    """

    def __init__(self, folder: Path) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "lock").touch()
        self.folder = folder
        self._release = lock(self, folder / "lock")
        set_aside(folder)
        self._events = LogFile(folder / EVENTS)
        self._ticks = LogFile(folder / TICKS)

    def event(self, line: bytes) -> None:
        """Add a line of JSON."""
        self._events.write(line + b"\n")

    def note(self, event: str, **details: Any) -> None:
        """Add an event of one's own."""
        line = json.dumps({"event": event, **details})
        self.event(line.encode())

    def ticks(self, records: bytes) -> None:
        """Add whole records of `control.tick_type`."""
        self._ticks.write(records)

    def facts(self, spec: Spec, **details: Any) -> None:
        """Write what ran; spec: of the robot."""
        dtype = tick_type(spec.action_size, len(spec.observations))
        facts = {**details, "ticks": dtype.descr, "spec": spec.to_json()}
        write_file(self.folder / FACTS, json.dumps(facts, indent=1).encode())

    @property
    def trouble(self) -> str:
        """Return why not everything could be written; "" where it was."""
        return self._events.trouble or self._ticks.trouble

    def close(self) -> None:
        """Let others write here; may be called again."""
        self._events.close()
        self._ticks.close()
        self._release()


def set_aside(folder: Path) -> None:
    """Move the log of an earlier run to earlier.1 and so on, inside `folder`."""
    names = [name for name in (EVENTS, TICKS, FACTS, LATENCY) if (folder / name).exists()]
    if not names:
        return
    place = _free_place(folder)
    with writing(place):
        place.mkdir()
        for name in names:
            (folder / name).rename(place / name)


def _free_place(folder: Path) -> Path:
    number = 1
    while (folder / f"earlier.{number}").exists():
        number += 1
    return folder / f"earlier.{number}"


def read_ticks(folder: Path | str, state: State = State.ACTIVE) -> np.ndarray:
    """Return the ticks (T,) of a run in one state; RobotError where there is no such log."""
    folder = Path(folder)
    with refusing(RobotError, f"{folder} holds no log of a run", folder):
        fields = read_json(folder / FACTS, RobotError, inside=folder)["ticks"]
        dtype = _dtype_of(fields)
        _require_tick_type(dtype)
        require_plain(folder / TICKS, folder, RobotError)
        whole = (folder / TICKS).stat().st_size // dtype.itemsize
        ticks = np.fromfile(folder / TICKS, dtype, whole)
        return ticks[ticks["state"] == STATES.index(state)]


def _dtype_of(fields: list[Any]) -> np.dtype:
    """Return the dtype that `facts` has written: name, kind and, of an array, its shape."""
    columns = []
    for name, kind, *shape in fields:
        columns.append((name, kind, *map(tuple, shape)))
    return np.dtype(columns)


def _require_tick_type(dtype: np.dtype) -> None:
    kinds = _kinds_by_name(dtype)
    if kinds != _kinds_by_name(tick_type(1, 1)):
        raise RobotError(f"its ticks hold {kinds}")


def _kinds_by_name(dtype: np.dtype) -> dict[str, np.dtype]:
    return {name: dtype[name].base for name in dtype.names or ()}


def missed(folder: Path | str, episode: int, hz: float, state: State) -> tuple[int, int]:
    """Return how many ticks of an episode in this state were missed, and how many were due."""
    ticks = read_ticks(folder, state)
    time = ticks["time"][ticks["episode"] == episode]
    due = round(np.ptp(time) * hz) + 1 if len(time) else 0
    return due - len(time), due


def latencies(folder: Path | str) -> list[float]:
    """Return how long each chunk of a run took to make [s]."""
    seconds = read_ticks(folder)["inference"]
    changes = np.flatnonzero(np.diff(seconds, prepend=0.0))
    found = seconds[changes].tolist()
    if not found:
        raise RobotError(f"{folder}: no chunk was made in this run")
    return found
