"""Episodes a minute of one process, against a loop of one episode after the other, and where the time goes.

python tests/benchmarks/rollouts.py POLICY TASK [episodes]

CPU seconds of one thread, median of alternating rounds. The plain loop asks the eager engine for one chunk at a time, in an
environment that is made once. What a worker process costs before its first episode is told as well.
"""

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable

import torch

from fewstep.envs import run_episode
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.rollouts import roll_out_all
from fewstep.policy.serving.runners import InlineRunner, RequestBatch, make_agent

ROUNDS = 3
START = """
import resource
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.evaluation.job import Job
from fewstep.policy.evaluation.rollouts import LoadedPolicy
sampler = load_policy({policy!r}).config.drawn_by
LoadedPolicy(Job({policy!r}, {task!r}, sampler, (0,), engine={engine!r}))
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""
Parts = dict[str, float]


def main() -> None:
    """Measure and print."""
    policy, task, *rest = sys.argv[1:]
    seeds = tuple(range(int(rest[0]) if rest else 100))
    torch.set_num_threads(1)
    sampler = load_policy(policy).config.drawn_by
    ways: dict[str, Callable[[], object]] = {
        "one after the other": lambda: plain_loop(Job(policy, task, sampler, seeds)),
    }
    for engine in ("eager", "openvino", "cpp"):
        job = Job(policy, task, sampler, seeds, engine=engine)
        ways[f"together, {engine}"] = lambda job=job: roll_out_all(job)
    spent: dict[str, list[Parts]] = defaultdict(list)
    for index in range(ROUNDS + 1):
        for name, way in ways.items():
            parts = measure(way)
            if index:  # the first warms up
                spent[name].append(parts)
    print(
        "| way | episodes a minute | simulation | environments made | policy | the rest |\n|---|---|---|---|---|---|"
    )
    for name, rounds in spent.items():
        total = statistics.median(parts["all"] for parts in rounds)
        row = [name, f"{60 * len(seeds) / total:.0f}"]
        shares = {}
        for part in ("simulation", "environments", "policy"):
            shares[part] = statistics.median(parts[part] / parts["all"] for parts in rounds)
            row.append(f"{100 * shares[part]:.0f} %")
        row.append(f"{100 * (1 - sum(shares.values())):.0f} %")
        print(f"| {' | '.join(row)} |")
    for engine in ("eager", "openvino", "cpp"):
        print(
            f"a worker with {engine}: {start_seconds(policy, task, engine):.1f} CPU s before its first episode"
        )


def plain_loop(job: Job) -> None:
    """Play one episode after the other."""
    engine = load_engine(job.policy, job.engine, job.sampler)
    robot = job.make_robot()
    agent = make_agent(engine, InlineRunner(engine))
    for seed in job.seeds:
        for _ in run_episode(robot, agent, seed=seed, max_seconds=1e9):
            pass
    robot.close()


def measure(way: Callable[[], object]) -> Parts:
    """Return the CPU seconds of a way, in all and of its parts."""
    parts: Parts = defaultdict(float)
    watched = (
        (GymRobot, "advance", "simulation"),
        (Job, "make_robot", "environments"),
        (RequestBatch, "flush", "policy"),
        (InlineRunner, "submit", "policy"),
    )
    originals = [getattr(owner, name) for owner, name, _ in watched]
    for (owner, name, part), original in zip(watched, originals, strict=True):
        setattr(owner, name, timed(original, parts, part))
    began = time.process_time()
    way()
    parts["all"] = time.process_time() - began
    for (owner, name, _), original in zip(watched, originals, strict=True):
        setattr(owner, name, original)
    return parts


def timed(function: Callable, parts: Parts, part: str) -> Callable:
    """Return the same function, whose CPU seconds are added to a part."""

    def call(*arguments, **named) -> object:
        began = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            parts[part] += time.process_time() - began

    return call


def start_seconds(policy: str, task: str, engine: str) -> float:
    """Return the CPU seconds of a process that gets ready to roll out, median of 3."""
    code = START.format(policy=policy, task=task, engine=engine)
    spent = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True
        )
        spent.append(float(done.stdout))
    return statistics.median(spent)


if __name__ == "__main__":
    main()
