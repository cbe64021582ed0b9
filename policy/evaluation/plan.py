"""One rollout's actions, planned and sent, for the report."""

from __future__ import annotations

import math
from contextlib import closing

import numpy as np

from ...envs import Step, run_episode
from ...envs.agent import Chunk
from ..engines.loading import load_engine
from ..policy import Policy
from ..serving.runners import InlineRunner, make_agent
from .charts import Plan
from .job import Job


def play_plan(policy: Policy, job: Job, seed: int) -> Plan | None:
    """Play one episode of a job; return what was sent with every chunk that its Agent made.

    None where nothing was sent.
    """
    engine = load_engine(job.policy, job.engine, job.sampler)
    steps: list[Step] = []
    chunks: dict[float, Chunk] = {}
    with closing(job.make_robot()) as robot:
        runner = job.delay_runner(InlineRunner(engine), robot)
        agent = make_agent(engine, runner, job.on_delay)
        for step in run_episode(robot, agent, seed=seed, max_seconds=math.inf):
            if step is not None and agent.chunk is not None:
                steps.append(step)
                chunks[agent.chunk.time] = agent.chunk
    if not steps:
        return None
    start = steps[0].obs.time
    labels: list[str] = []
    units: list[str] = []
    for key, field in policy.spec.actions.items():
        labels += field.names or number_labels(key, field.size)
        units += [field.unit] * field.size
    planned = []
    for chunk in chunks.values():
        planned.append((chunk.time - start, chunk.dt, chunk.actions))
    times = np.array([step.obs.time - start for step in steps])
    sent = np.stack([step.sent for step in steps])
    return Plan(times, sent, labels, units, planned)


def number_labels(key: str, size: int) -> list[str]:
    """Return a label for every element of a field that names none."""
    return [key] if size == 1 else [f"{key} {index}" for index in range(size)]
