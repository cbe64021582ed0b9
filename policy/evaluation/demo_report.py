"""The report of the demo: the sides of the post, one episode, a video, the facts."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...demos.store import DemoStore
from ...envs import RobotError
from ...envs.seeds import DEMONSTRATION_SEEDS, FIRST_TEST_SEED, VALIDATION_SEEDS
from ...envs.versions import versions
from ..policy import Policy
from ..policy_folder import read_meta
from ..training.log import LOG
from .films import draw_rollouts
from .job import Job
from .plan import play_episode
from .post import make_post_panel
from .report import write_report, write_success_picture
from .statistics import wilson


@dataclass(frozen=True)
class Sides:
    """How many of so many episodes carried the cube past the post on the left."""

    left: int
    episodes: int

    @property
    def share(self) -> float:
        """Return the share that went left."""
        return self.left / self.episodes


def write_demo_report(
    out: Path,
    policy: Policy,
    job: Job,
    evaluation: Mapping[str, Any],
    command: str,
    cost: Mapping[str, str],
    log: Callable[[str], None] = lambda text: None,
) -> Path:
    """Write report.html and success.png into the folder of a demo, and return the report's path.

    Args:
        out: With the demonstrations in "demos" and the training in "policy".
        policy: What was trained.
        job: Test rollouts of the policy as it is.
        evaluation: Content of evaluation.json.
        command: That does it again.
        cost: Facts on what it took.
        log: Is told what had to be left out.
    """
    report = out / "report.html"
    sides = count_sides(DemoStore.open(out / "demos"))
    training_log = (out / "policy" / LOG).read_text(encoding="utf-8").splitlines()
    panel = make_post_panel(evaluation, sides.share, job.sampler.cost)
    write_report(
        report,
        title="Pick and place past a post",
        evaluation=evaluation,
        log=[json.loads(line) for line in training_log],
        control_period_ms=1e3 / policy.spec.command_hz,
        panels=[] if panel is None else [panel],
        played=play_episode(policy, job, FIRST_TEST_SEED),
        videos=_film_sides(job, evaluation, out / "video.mp4", log),
        facts={"command": command} | _collect_facts(out, job, policy, sides) | dict(cost),
        own=job.sampler.cost,
    )
    write_success_picture(evaluation, out / "success.png")
    return report


def count_sides(store: DemoStore) -> Sides:
    """Count the demonstrations that carried the cube past the post on the left."""
    from ...envs.sim.pick_place import load_model

    post = load_model().body("post").pos[0]
    paths = np.split(store.array("cube_position"), store.ends[:-1])
    left = 0
    for path in paths:
        first_behind = np.argmax(path[:, 0] > post)
        left += bool(path[first_behind, 1] > 0)
    return Sides(left, len(paths))


def _film_sides(
    job: Job, evaluation: Mapping[str, Any], path: Path, log: Callable[[str], None]
) -> list[Path]:
    """Film a test episode that passed left beside one that passed right.

    Returns no path where this machine draws no pictures.
    """
    import imageio.v3 as iio

    seeds = _find_seed_per_side(evaluation, job.sampler.cost) or list(job.seeds[:1])
    try:
        films = [frames for _, frames in draw_rollouts(job, seeds, 2)]
    except RobotError as error:
        log(f"no video: {error}")
        return []
    longest = max(len(film) for film in films)
    padded: list[np.ndarray] = []
    for film in films:
        still = np.repeat(film[-1:], longest - len(film), 0)
        padded.append(np.concatenate([film, still]))
    robot = job.make_robot()
    iio.imwrite(path, np.concatenate(padded, 2), fps=round(robot.spec.command_hz))
    robot.close()
    return [path]


def _find_seed_per_side(evaluation: Mapping[str, Any], network_evaluations: int) -> list[int]:
    """Return the first start passed on the left with success, and the first on the right."""
    first: dict[str, int] = {}
    for result in evaluation["results"]:
        if result["network_evaluations"] != network_evaluations:
            continue
        for rollout in result["rollouts"]:
            if rollout["success"]:
                first.setdefault(rollout["info"].get("side"), rollout["seed"])
        break
    return [first[side] for side in ("left", "right") if side in first]


def _collect_facts(out: Path, job: Job, policy: Policy, sides: Sides) -> dict[str, str]:
    run = out / "policy"
    low, high = wilson(sides.left, sides.episodes)
    threads = read_meta(run)["provenance"].get("threads", "all")
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    libraries = [f"{library} {version}" for library, version in versions().items()]
    again = f"fewstep evaluate policy={run} task={job.task} network_evaluations=[1,2,3,10]"
    return {
        "command to evaluate again": again,
        "demonstrations": f"{sides.episodes} of a scripted expert, left past the post:"
        f" {sides.share:.2f} (95 % {low:.2f} to {high:.2f})",
        "start seeds": f"demonstrations {DEMONSTRATION_SEEDS.start} on,"
        f" validation {VALIDATION_SEEDS.start} on, test {FIRST_TEST_SEED} on",
        "parameters": f"{parameters:,}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} of them in training",
        "versions": ", ".join(libraries),
    }
