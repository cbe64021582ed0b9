"""Films: episodes of an evaluation rolled out once more, exactly as they were, and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import Step
from .job import Job, Rollout
from .rollouts import roll_out_group

ENDINGS = {True: "success", False: "failure", None: "episode"}  # names of videos


def film(job: Job, seeds: Sequence[int], out: Path, limit: int) -> list[Path]:
    """Write videos of the first `limit` of `seeds`, and return their paths.

    job: the whole evaluation, since an episode depends on its place in it.
    """
    import imageio.v3 as iio

    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for rollout, frames in draw_rollouts(job, seeds, limit):
        ended = ENDINGS[rollout.success]
        path = out / f"{ended}-{rollout.seed}.mp4"
        iio.imwrite(path, frames, fps=round(len(frames) / rollout.seconds))
        paths.append(path)
    return paths


def draw_rollouts(
    job: Job, seeds: Sequence[int], limit: int
) -> Iterator[tuple[Rollout, np.ndarray]]:
    """Yield the first `limit` of `seeds` again, each with its frames (T, height, width, 3)."""
    for group in job.groups():
        wanted = [seed for seed in seeds if seed in group][:limit]
        limit -= len(wanted)
        if not wanted:
            continue
        frames: dict[int, list[np.ndarray]] = {}

        def draw(seed: int, robot: Any, step: Step, frames: Any = frames) -> None:
            frames.setdefault(seed, []).append(robot.render())

        for rollout in roll_out_group(job, group, wanted, draw):
            yield rollout, np.stack(frames.pop(rollout.seed))
