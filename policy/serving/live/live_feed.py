"""What a page has to know of a run that goes on, read from its log as it grows."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ....envs import Spec
from ....envs.control.control_loop import STATES, tick_type
from ....envs.control.messages import taken_type
from ....envs.control.telemetry import CHUNKS, EVENTS, TICKS
from ....envs.robot import SOURCES

SAMPLE_HZ = 20.0  # ticks a second that a page is shown
MOST_READ = 1 << 20  # bytes of a file that are read at once
MOST_LINES = 50  # that were said, shown to who comes later
# Upper ends of the bins of lateness [s]; the last bin has none.
LATE_BINS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)
WORDS = {  # of events without a text of their own that a person has to know
    "begins": "episode {episode} begins",
    "ended": "episode {episode}: {why}",
    "judged": "episode {episode} was judged: success {success}",
    "pressed": "{button} was pressed on the page",
    "stopped": "the run has ended",
}
DIGITS = 5


class GrowingFile:
    """A file that another thread or process adds to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0  # bytes so far

    def take(self, size: int) -> bytes:
        """Return what has been added since, in whole records of `size` bytes."""
        with suppress(OSError), self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read(max(1, MOST_READ // size) * size)
            whole = content[: len(content) // size * size]
            self._read += len(whole)
            return whole
        return b""


class LiveFeed:
    """Reads the log of a run, and tells what is new of it.

    folder: of the log. spec: of the robot and its cameras; horizon: of the policy's chunks, 0
    without one.
    """

    def __init__(self, folder: Path, spec: Spec, horizon: int) -> None:
        self.spec = spec
        self._tick_type = tick_type(spec.action_size, len(spec.observations))
        self._chunk_type = taken_type(horizon, spec.action_size)
        self._ticks = GrowingFile(folder / TICKS)
        self._chunks = GrowingFile(folder / CHUNKS)
        self._events = GrowingFile(folder / EVENTS)
        self._unfinished = b""  # of a line of the events
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._lateness = Lateness()
        self._state = "disarmed"
        self._source = SOURCES[0]
        self._episode = -1
        self._ages: list[float] = []
        self._sampled = -np.inf  # when the last sample was taken [s, robot's clock]
        self._chunk: dict[str, Any] | None = None
        self._heard = time.monotonic()  # when the last tick was there
        self._scores: list[dict[str, Any]] = []  # of the monitor, since the last time

    def news(self) -> dict[str, Any]:
        """Return what a page shows now, with the samples since the last time."""
        samples = self._read_ticks()
        self._read_chunks()
        self._read_events()
        scores = self._scores
        self._scores = []
        news = {
            "state": self._state,
            "source": self._source,
            "episode": self._episode,
            "silent": round(time.monotonic() - self._heard, 2),
            "samples": samples,
            "chunk": self._chunk,
            "scores": scores,
            "late": self._lateness.describe(),
            "ages": dict(zip(self.spec.observations, self._ages, strict=False)),
            "lines": list(self._lines),
        }
        return finite(news)

    def _read_ticks(self) -> list[dict[str, Any]]:
        """Return a sample of each period, of the ticks that are new."""
        ticks = np.frombuffer(self._ticks.take(self._tick_type.itemsize), self._tick_type)
        if not len(ticks):
            return []
        self._heard = time.monotonic()
        self._lateness.add(ticks["lateness"])
        self._state = str(STATES[ticks[-1]["state"]])
        self._source = SOURCES[ticks[-1]["source"]]
        self._episode = int(ticks[-1]["episode"])
        self._ages = ticks[-1]["ages"].tolist()
        samples = []
        for tick in ticks:
            if tick["time"] >= self._sampled + 1 / SAMPLE_HZ - 1e-9:
                self._sampled = float(tick["time"])
                samples.append(plain_sample(tick))
        return samples

    def _read_chunks(self) -> None:
        content = self._chunks.take(self._chunk_type.itemsize)
        for chunk in np.frombuffer(content, self._chunk_type)[-1:]:
            self._chunk = plain_chunk(chunk)

    def _read_events(self) -> None:
        *whole, self._unfinished = (self._unfinished + self._events.take(1)).split(b"\n")
        for line in whole:
            with suppress(ValueError, TypeError, KeyError):
                event = json.loads(line)
                text = describe_event(event)
                if text:
                    self._lines.append(text)
                if event["event"] == "monitor":
                    self._scores.append(plain_score(event))


class Lateness:
    """How late ticks or answers were, counted in bins; bins: their upper ends [s], but the last."""

    def __init__(self, bins: Sequence[float] = LATE_BINS) -> None:
        self._bins = bins
        self._counts = np.zeros(len(bins) + 1, int)
        self._most = 0.0  # [s]

    def add(self, seconds: np.ndarray) -> None:
        """Count some more [s]."""
        if len(seconds):
            np.add.at(self._counts, np.searchsorted(self._bins, seconds), 1)
            self._most = max(self._most, float(seconds.max()))

    def describe(self) -> dict[str, Any]:
        """Return counts, a bound on the 99th percentile, and the largest [s]."""
        return {"counts": self._counts.tolist(), "p99": self._quantile(0.99), "most": self._most}

    def _quantile(self, share: float) -> float:
        """Return the upper end of the bin up to which a share of them has come [s]."""
        total = self._counts.sum()
        if not total:
            return 0.0
        reached = np.searchsorted(np.cumsum(self._counts), share * total)
        return float(self._bins[reached]) if reached < len(self._bins) else self._most


def describe_event(event: dict[str, Any]) -> str:
    """Return an event in words, "" for one that nobody has to read."""
    return str(event.get("text") or WORDS.get(event["event"], "").format(**event))


def plain_score(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a page draws of a chunk's scores; score: None where there is no threshold."""
    score = event["score"]
    return {"time": float(event["time"]), "score": None if score is None else float(score)}


def plain_chunk(chunk: np.void) -> dict[str, Any]:
    """Return a record of `taken_type` for JSON."""
    times = {name: float(chunk[name]) for name in ("taken", "time", "dt", "seconds")}
    return {**times, "actions": plain_numbers(chunk["actions"])}


def plain_sample(tick: np.void) -> dict[str, Any]:
    """Return what a page draws of a tick, for JSON."""
    sample: dict[str, Any] = {"time": float(tick["time"])}
    for name in ("measured", "wanted", "limited"):
        sample[name] = plain_numbers(tick[name])
    return sample


def plain_numbers(values: np.ndarray) -> list[Any]:
    """Return numbers for JSON with few digits."""
    if values.ndim > 1:
        return [plain_numbers(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def finite(content: Any) -> Any:
    """Return content for JSON with None for every number that is none, which JSON has no word for.

    A driver's clock or stamps may be anything.
    """
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def describe_elements(spec: Spec) -> list[dict[str, str]]:
    """Return name and unit of each element of an action."""
    described: list[dict[str, str]] = []
    for name, unit in zip(spec.element_names(), spec.element_units(), strict=True):
        described.append({"name": name, "unit": unit})
    return described
