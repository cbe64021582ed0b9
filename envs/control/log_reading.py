"""Reading the log of a run: its ticks, its chunks, and what limits have changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..angles import shorter_way
from ..errors import RobotError, refusing
from ..files import require_plain
from ..safety.states import State
from ..spec import Spec
from ..tables import read_json
from .control_loop import STATES, tick_type
from .messages import taken_type
from .telemetry import CHUNKS, EVENTS, FACTS, TICKS

ROUNDING = 1e-9  # up to which a command counts as sent as it was wanted, of its size or of 1
TOLD = 3  # elements that a person is told of, those that were changed most often


def read_ticks(folder: Path | str, state: State = State.ACTIVE) -> np.ndarray:
    """Return the ticks (T,) of a run in one state; RobotError where there is no such log."""
    ticks = read_all_ticks(folder)
    return ticks[ticks["state"] == STATES.index(state)]


def read_all_ticks(folder: Path | str) -> np.ndarray:
    """Return the ticks (T,) of a run in every state; RobotError where there is no such log."""
    return _read_records(Path(folder), TICKS, "ticks", tick_type(1, 1))


def read_chunks(folder: Path | str) -> np.ndarray:
    """Return the chunks (N,) of a run, as `taken_type`; RobotError where there is no such log."""
    return _read_records(Path(folder), CHUNKS, "chunks", taken_type(1, 1))


def read_facts(folder: Path) -> dict[str, Any]:
    """Return run.json of a log; RobotError where there is none."""
    with refusing(RobotError, f"{folder} holds no log of a run", folder):
        return read_json(folder / FACTS, RobotError, inside=folder)


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Return what was said in a run, in order; lines that are cut off are left out."""
    with suppress(OSError):
        for line in (folder / EVENTS).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event


def _read_records(folder: Path, name: str, entry: str, expected: np.dtype) -> np.ndarray:
    """Return the whole records of a file, whose fields must be the expected ones, of any shape."""
    with refusing(RobotError, f"{folder} holds no log of a run", folder):
        dtype = _dtype_of(read_facts(folder)[entry])
        if _kinds_by_name(dtype) != _kinds_by_name(expected):
            raise RobotError(f"its {entry} hold {_kinds_by_name(dtype)}")
        require_plain(folder / name, folder, RobotError)
        whole = (folder / name).stat().st_size // dtype.itemsize
        return np.fromfile(folder / name, dtype, whole)


def _dtype_of(fields: list[Any]) -> np.dtype:
    """Return the dtype that `facts` has written: name, kind and, of an array, its shape."""
    columns = []
    for name, kind, *shape in fields:
        columns.append((name, kind, *map(tuple, shape)))
    return np.dtype(columns)


def _kinds_by_name(dtype: np.dtype) -> dict[str, np.dtype]:
    return {name: dtype[name].base for name in dtype.names or ()}


def missed(ticks: np.ndarray, hz: float) -> tuple[int, int]:
    """Return how many of an episode's ticks were missed, and how many were due."""
    due = round(np.ptp(ticks["time"]) * hz) + 1 if len(ticks) else 0
    return due - len(ticks), due


def latencies(folder: Path | str) -> list[float]:
    """Return how long each chunk of a run took to make [s]."""
    seconds = read_ticks(folder)["inference"]
    changes = np.flatnonzero(np.diff(seconds, prepend=0.0))
    found = seconds[changes].tolist()
    if not found:
        raise RobotError(f"{folder}: no chunk was made in this run")
    return found


@dataclass(frozen=True)
class Altered:
    """What limits have changed of some commands; in a shadow what they would have.

    distances: (N, A), of each command from what was left of it.
    """

    spec: Spec
    distances: np.ndarray

    @classmethod
    def of(cls, spec: Spec, ticks: np.ndarray) -> Altered:
        """Compare what was wanted with what was left of it, wherever something was wanted."""
        wanted, limited = ticks["wanted"], ticks["limited"]
        commanded = np.isfinite(wanted).all(1) & np.isfinite(limited).all(1)
        wanted = wanted[commanded]
        distances = np.abs(shorter_way(limited[commanded] - wanted, spec.angle_mask()))
        exact = distances <= ROUNDING * np.maximum(1.0, np.abs(wanted))
        return cls(spec, np.where(exact, 0.0, distances))

    @property
    def share(self) -> float:
        """Return the share of commands that were changed."""
        return float(self.distances.any(1).mean()) if len(self.distances) else 0.0

    def describe(self) -> str:
        """Return in words how many commands were changed, which elements most, and by how much."""
        count = len(self.distances)
        line = f"limits changed {self.share:.0%} of {count} commands"
        names, units = self.spec.element_names(), self.spec.element_units()
        often = (self.distances > 0).sum(0)
        told = []
        for element in np.argsort(-often, kind="stable")[:TOLD]:
            if often[element]:
                changed = self.distances[:, element]
                changed = changed[changed > 0]
                by = f"{np.median(changed):.2g} {units[element]}".strip()
                told.append(f"{names[element]} by {by}, at most {changed.max():.2g}")
        return f"{line}: {'; '.join(told)}" if told else line
