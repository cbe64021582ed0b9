"""One rollout for the report: its actions, planned and sent, and what the policy saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ...envs import Spec, Step, run_episode
from ...envs.chunk import Chunk
from ..engines.loading import load_engine
from ..policy import Policy
from ..serving.runners import InlineRunner, make_agent
from .charts import Plan
from .job import Job
from .sight import MOMENTS, draw_sight


@dataclass(frozen=True)
class Played:
    """What the report shows of one rollout."""

    plan: Plan
    sight: Mapping[str, Sequence[str]]  # of each camera, pictures over the rollout as `draw_sight`


def play_episode(policy: Policy, job: Job, seed: int) -> Played | None:
    """Play one episode of a job; None where nothing was sent."""
    engine = load_engine(job.policy, job.engine, job.sampler)
    steps: list[Step] = []
    chunks: dict[float, Chunk] = {}
    pictures: dict[str, list[np.ndarray]] = {camera: [] for camera in policy.spec.images}
    with closing(job.make_robot()) as robot:
        runner = job.delay_runner(InlineRunner(engine), robot)
        agent = make_agent(engine, runner, job.on_delay)
        for step in run_episode(robot, agent, seed=seed, max_seconds=math.inf):
            if step is None or agent.chunk is None:
                continue
            steps.append(step)
            if agent.chunk.time not in chunks:
                chunks[agent.chunk.time] = agent.chunk
                for camera, seen in pictures.items():
                    seen.append(step.obs.data[camera])
    if not steps:
        return None
    sight: dict[str, list[str]] = {}
    for camera, seen in pictures.items():
        sight[camera] = _draw_moments(policy, camera, seen)
    return Played(_make_plan(policy.spec, steps, list(chunks.values())), sight)


def _make_plan(spec: Spec, steps: Sequence[Step], chunks: Sequence[Chunk]) -> Plan:
    start = steps[0].obs.time
    labels: list[str] = []
    for key, field in spec.actions.items():
        labels += field.names or number_labels(key, field.size)
    planned = []
    for chunk in chunks:
        planned.append((chunk.time - start, chunk.dt, chunk.actions))
    times = np.array([step.obs.time - start for step in steps])
    sent = np.stack([step.sent for step in steps])
    return Plan(times, sent, labels, spec.element_units(), planned)


def _draw_moments(policy: Policy, camera: str, pictures: Sequence[np.ndarray]) -> list[str]:
    """Return some of a camera's pictures, evenly over the rollout, as the network sees them."""
    moments = np.unique(np.linspace(0, len(pictures) - 1, MOMENTS).round().astype(int))
    return draw_sight(policy, camera, [pictures[moment] for moment in moments])


def number_labels(key: str, size: int) -> list[str]:
    """Return a label for every element of a field that names none."""
    return [key] if size == 1 else [f"{key} {index}" for index in range(size)]
