"""Latency of a policy on this machine: a whole chunk, batch 1, in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..checkpoint import load_policy
from ..engines.eager import EagerEngine
from ..policy import Policy
from ..serving.runners import draw_noise

TEXTBOOK = 100  # network evaluations of the row that all others are compared with
ROUNDS = 10
Key = TypeVar("Key", bound=Hashable)


def bench(
    policy_name: Path | str,
    *,
    network_evaluations: Sequence[int] = (1, 2, 3, 10),
    calls: int = 200,
    threads: int = 1,
) -> dict[str, Any]:
    """Time every number of network evaluations in turn; return the content of bench.json.

    The last row is the textbook: engine `eager` with 100 network evaluations.

    Args:
        policy_name: A run folder, or a policy that comes with the package.
        network_evaluations: Numbers to measure.
        calls: Per row.
        threads: Of the CPU.
    """
    torch.set_num_threads(threads)
    policy = load_policy(policy_name)
    timed = {}
    for count in (*network_evaluations, TEXTBOOK):
        timed["eager", count] = one_chunk(policy, count)
    rows = []
    for (engine, count), milliseconds in measure(timed, calls).items():
        row = {
            "engine": engine,
            "network_evaluations": count,
            "threads": threads,
            "calls": len(milliseconds),
            "median_ms": float(np.median(milliseconds)),
            "p99_ms": float(np.percentile(milliseconds, 99)),
            "max_ms": float(milliseconds.max()),
            "floor_ms": float(milliseconds.min()),
        }
        rows.append(row)
    return {
        "policy": str(policy_name),
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "control_period_ms": 1e3 / policy.spec.command_hz,
        "rows": rows,
    }


def measure(timed: Mapping[Key, Callable[[], object]], calls: int) -> dict[Key, np.ndarray]:
    """Return wall times [ms] of every callable, in alternating rounds after a warm-up.

    A busy moment of the machine then hits all of them alike.
    """
    times: dict[Key, list[float]] = {key: [] for key in timed}
    for call in timed.values():
        call()
    for _ in range(ROUNDS):
        for key, call in timed.items():
            for _ in range(max(1, calls // ROUNDS)):
                began = time.perf_counter()
                call()
                times[key].append(1e3 * (time.perf_counter() - began))
    return {key: np.array(milliseconds) for key, milliseconds in times.items()}


def one_chunk(policy: Policy, network_evaluations: int) -> Callable[[], np.ndarray]:
    """Return a call that computes a whole chunk for one observation."""
    engine = EagerEngine(policy, policy.config.drawn_by.at(network_evaluations))
    observation = {}
    for key, field in policy.spec.observations.items():
        shape = (1, policy.config.observation_steps, *field.shape)
        observation[key] = np.zeros(shape, np.float32)
    noise = draw_noise(engine, seed=0)[:, None]
    return lambda: engine.predict(observation, noise)
