"""The monitor's scores in the logs of runs on a robot, whose episodes a person has judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...envs import RobotError
from ...envs.control.log_reading import read_events, read_facts
from ..monitoring.monitor import SCORES


def read_judged_scores(folders: Sequence[str], weights: str) -> list[np.ndarray]:
    """Return the largest of each score (2,) in every episode that was judged a success.

    weights: SHA-256 of the policy's, which each run must have had. Raises RobotError for a folder
    that holds no log of a run, or one of another policy.
    """
    found: list[np.ndarray] = []
    for folder in folders:
        path = Path(folder)
        if read_facts(path).get("sha256") != weights:
            raise RobotError(f"{folder} is the log of a run of another policy")
        found.extend(_worst_of_successes(path))
    return found


def _worst_of_successes(folder: Path) -> Iterator[np.ndarray]:
    scores: list[list[float]] = []
    for event in read_events(folder):
        name = event.get("event")
        if name == "begins":
            scores = []
        elif name == "monitor":
            with suppress(KeyError, TypeError, ValueError):
                scores.append([float(event[score]) for score in SCORES])
        elif name == "judged" and event.get("success") is True and scores:
            yield np.array(scores).max(0)
