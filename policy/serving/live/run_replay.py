"""A run that is over, as the page of a run shows it again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ....envs import Spec
from ....envs.control.control_loop import STATES
from ....envs.control.log_reading import read_all_ticks, read_chunks, read_events, read_facts
from ....envs.robot import SOURCES
from .live_feed import (
    LATE_BINS,
    SAMPLE_HZ,
    Lateness,
    describe_elements,
    describe_event,
    finite,
    plain_chunk,
    plain_sample,
    plain_score,
)

MOST_SAMPLES = 20_000  # of a run; a longer one is shown with fewer a second
MOST_PAUSE = 60.0  # [s] between two ticks; a clock that goes further has jumped


def describe_run(folder: Path) -> dict[str, Any]:
    """Return all that a page shows of a run; RobotError where there is no log of one."""
    facts = read_facts(folder)
    spec = Spec.from_json(facts["spec"])
    ticks = read_all_ticks(folder)
    lateness = Lateness()
    lateness.add(ticks["lateness"])
    robot = facts.get("robot", "")
    described = {
        "title": f"{facts.get('policy') or facts.get('actions') or 'a run'} on {robot}",
        "elements": describe_elements(spec),
        "late_bins": LATE_BINS,
        "cameras": [],
        "buttons": [],
        "replay": {
            "samples": _describe_ticks(ticks),
            "chunks": [plain_chunk(chunk) for chunk in read_chunks(folder)],
            "lines": _describe_events(folder),
            "scores": _read_scores(folder),
            "late": lateness.describe(),
        },
    }
    return finite(described)


def _describe_ticks(ticks: np.ndarray) -> list[dict[str, Any]]:
    """Return samples a period apart, and the last, each with its state and episode."""
    if not len(ticks):
        return []
    elapsed = _elapsed(ticks["time"])
    period = max(1 / SAMPLE_HZ, elapsed[-1] / MOST_SAMPLES)
    numbers = np.floor(elapsed / period + 1e-6)
    first_of_each = np.flatnonzero(np.diff(numbers, prepend=-1))
    shown = np.union1d(first_of_each, len(ticks) - 1)
    samples = []
    for tick in ticks[shown]:
        sample = plain_sample(tick)
        sample["state"] = str(STATES[tick["state"]])
        sample["source"] = SOURCES[tick["source"]]
        sample["episode"] = int(tick["episode"])
        samples.append(sample)
    return samples


def _elapsed(time: np.ndarray) -> np.ndarray:
    """Return how much time had gone at each tick [s], whatever the robot's clock has done."""
    with np.errstate(invalid="ignore"):
        steps = np.diff(time, prepend=time[0])
    return np.where((steps > 0) & (steps < MOST_PAUSE), steps, 0.0).cumsum()


def _describe_events(folder: Path) -> list[dict[str, Any]]:
    """Return what was said, each with its time; a judgement has that of the line before."""
    told: list[dict[str, Any]] = []
    time = None
    for event in read_events(folder):
        with suppress(ValueError, TypeError, KeyError):
            time = event.get("time", time)
            text = describe_event(event)
            if text and time is not None:
                told.append({"time": float(time), "text": text})
    return told


def _read_scores(folder: Path) -> list[dict[str, Any]]:
    """Return the monitor's scores."""
    scores = []
    for event in read_events(folder):
        with suppress(ValueError, TypeError, KeyError):
            if event["event"] == "monitor":
                scores.append(plain_score(event))
    return scores
