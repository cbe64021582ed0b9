"""Latency of a policy on this machine: a whole chunk, batch 1, in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...envs.errors import ConfigError, pick
from ..checkpoint import load_policy
from ..engines.eager import EagerEngine
from ..engines.engine import Engine
from ..engines.loading import ENGINES
from ..policy import Policy
from ..serving.runners import blank_history, draw_noise
from ..training.threads import torch_threads

ROUNDS = 10
ComputeChunk = Callable[[], np.ndarray]  # returns a chunk (1, H, A) in robot units


@dataclass(frozen=True)
class Mode:
    """One way to compute a chunk."""

    engine: str  # a name of ENGINES
    network_evaluations: int


TEXTBOOK = Mode("eager", 100)  # what all others are compared with
ENCODER = Mode("eager", 0)  # the encoder of the observation alone


def bench(
    policy_name: Path | str,
    *,
    engines: Sequence[str] = ("eager",),
    network_evaluations: Sequence[int] = (1, 2, 3, 10),
    calls: int = 200,
    threads: int = 1,
    on_round: Callable[[int], None] = lambda rounds: None,
) -> dict[str, Any]:
    """Time every engine and number of network evaluations in turn, and the textbook last.

    Args:
        policy_name: A run folder, or a policy that comes with the package.
        engines: Names of ENGINES.
        network_evaluations: Numbers to measure.
        calls: Per row.
        threads: Of the CPU.
        on_round: Is given how many of ROUNDS rounds are over.

    Returns:
        The content of bench.json. encoder_ms: of each chunk, what encoding the observation takes.
        max_error: the largest difference between an action and the one that the eager engine
        computes from the same noise [robot units].

    Raises:
        ConfigError: For less than one call, or one evaluation.
    """
    if min(calls, *network_evaluations) < 1:
        raise ConfigError("calls and network_evaluations must be at least 1")
    policy = load_policy(policy_name)
    modes = [Mode(engine, count) for engine in engines for count in network_evaluations]
    calculations: dict[Mode, ComputeChunk] = {ENCODER: prepare_encoding(policy)}
    for mode in [*(mode for mode in modes if mode != TEXTBOOK), TEXTBOOK]:
        calculations[mode] = prepare_chunk(policy, mode.engine, mode.network_evaluations)
    with torch_threads(threads):
        times = measure_alternately(calculations, calls, on_round)
        encoder = times.pop(ENCODER)
        rows: list[dict[str, Any]] = []
        for mode, milliseconds in times.items():
            exact = prepare_chunk(policy, "eager", mode.network_evaluations)
            error = np.abs(calculations[mode]() - exact()).max()
            rows.append(_make_row(mode, threads, milliseconds, float(error)))
    return {
        "policy": str(policy_name),
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "control_period_ms": 1e3 / policy.spec.command_hz,
        "encoder_ms": _summarise(encoder),
        "rows": rows,
    }


def _summarise(milliseconds: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(milliseconds)),
        "p99": float(np.percentile(milliseconds, 99)),
    }


def _make_row(
    mode: Mode, threads: int, milliseconds: np.ndarray, max_error: float
) -> dict[str, Any]:
    return {
        "engine": mode.engine,
        "network_evaluations": mode.network_evaluations,
        "threads": threads,
        "calls": len(milliseconds),
        "median_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "max_ms": float(milliseconds.max()),
        "floor_ms": float(milliseconds.min()),
        "max_error": max_error,
    }


def measure_alternately(
    calculations: Mapping[Mode, Callable[[], object]],
    calls: int,
    on_round: Callable[[int], None] = lambda rounds: None,
) -> dict[Mode, np.ndarray]:
    """Return wall times [ms] of every calculation, in alternating rounds after a warm-up.

    A busy moment of the machine then hits all of them alike.
    """
    times: dict[Mode, list[float]] = {mode: [] for mode in calculations}
    for calculate in calculations.values():
        calculate()
    for finished in range(ROUNDS):
        for mode, calculate in calculations.items():
            for _ in range(max(1, calls // ROUNDS)):
                began = time.perf_counter()
                calculate()
                times[mode].append(1e3 * (time.perf_counter() - began))
        on_round(finished + 1)
    return {mode: np.array(milliseconds) for mode, milliseconds in times.items()}


def prepare_chunk(policy: Policy, engine_name: str, network_evaluations: int) -> ComputeChunk:
    """Return a function that computes a whole chunk for one observation."""
    make_engine = pick(ENGINES, engine_name, "engine")
    engine: Engine = make_engine(policy, policy.config.drawn_by.at(network_evaluations))
    observation = _blank_observation(engine)
    noise = draw_noise(engine, seed=0)[:, None]
    return lambda: engine.predict(observation, noise)


def prepare_encoding(policy: Policy) -> ComputeChunk:
    """Return a function that encodes one observation, and no more."""
    observation: dict[str, Tensor] = {}
    for key, history in _blank_observation(EagerEngine(policy)).items():
        observation[key] = torch.from_numpy(history)

    @torch.no_grad()
    def encode() -> np.ndarray:
        return policy.features(observation).numpy()

    return encode


def _blank_observation(engine: Engine) -> dict[str, np.ndarray]:
    observation: dict[str, np.ndarray] = {}
    for key, history in blank_history(engine).items():
        observation[key] = history[None]
    return observation
