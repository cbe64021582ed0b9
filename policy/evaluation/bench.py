"""Latency of a policy on this machine: a whole chunk, batch 1, in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...envs import ConfigError
from ..engines.engine import Engine
from ..engines.exported import find_steps
from ..engines.loading import engines_here, load_engine, require_engine
from ..ensemble_folder import require_alone
from ..policy_folder import MODEL, find_policy
from ..serving.runners import blank_history, draw_noise

if TYPE_CHECKING:  # with torch, which exported policies go without
    from .bench_exact import Exact

ROUNDS = 10
TEXTBOOK = 100  # network evaluations of eager PyTorch, with which all others are compared
TEXTBOOK_SHARE = 100  # of the calls that others get, it gets one in so many
Compute = Callable[[], object]


@dataclass(frozen=True)
class Mode:
    """One way to compute a chunk."""

    engine: str  # a name of ENGINES, or what else is timed
    network_evaluations: int
    threads: int = 1


ENCODER = Mode("encoder", 0)  # of the observation alone


def bench(
    policy_name: Path | str,
    *,
    engines: Sequence[str] = (),
    network_evaluations: Sequence[int] = (1, 2, 3, 10),
    calls: int = 2000,
    threads: Sequence[int] = (1,),
    on_round: Callable[[int], None] = lambda rounds: None,
) -> dict[str, Any]:
    """Time every engine, number of network evaluations and of threads in turn.

    Args:
        policy_name: A run folder, an exported one, or a policy that comes with the package.
        engines: Names of ENGINES; by default all that can be used here and start at once.
        network_evaluations: Numbers to measure; an exported policy without weights has its own.
        calls: Per row.
        threads: Of the CPU.
        on_round: Is given how many of ROUNDS rounds are over.

    Returns:
        The content of bench.json. error: the largest distance of an action from one in double
        precision, as a share of its range. It, the floor, the encoder and the textbook take the
        policy's weights and torch, and are missing without.

    Raises:
        ConfigError: For less than one call, evaluation or thread, and for an unknown engine.
    """
    for name in engines:
        require_engine(name)
    _require_sense(calls=[calls], network_evaluations=network_evaluations, threads=threads)
    require_alone(policy_name, "bench")
    folder = find_policy(policy_name)
    names = list(engines) or engines_here(folder)
    exact = _load_exact(folder)
    counts = list(network_evaluations) if exact else [find_steps(folder)]
    with exact.threads_kept() if exact else nullcontext():
        timed = _load_all(folder, _modes(names, counts, threads), exact)
        calculations = {mode: compute for mode, (_, compute) in timed.items()}
        if exact:
            calculations[ENCODER] = exact.encode
            calculations[Mode("textbook", TEXTBOOK)] = exact.textbook(TEXTBOOK)
        times = measure_alternately(calculations, calls, on_round)
        rows = [_make_row(mode, milliseconds) for mode, milliseconds in times.items()]
        if exact:
            engines_of_rows = [engine for engine, _ in timed.values()]
            _set_beside(rows, engines_of_rows, exact)
    any_engine, _ = next(iter(timed.values()))
    content = {"policy": str(policy_name), "rows": rows}
    content["control_period_ms"] = 1e3 / any_engine.spec.command_hz
    return content | (exact.describe() if exact else {})


def _require_sense(**asked: Sequence[int]) -> None:
    """Raise ConfigError for a setting without numbers, or with one below 1."""
    for name, numbers in asked.items():
        if not numbers or min(numbers) < 1:
            raise ConfigError(f"{name} must be at least 1, not {list(numbers)}")


def _set_beside(rows: Sequence[dict[str, Any]], engines: Sequence[Engine], exact: Exact) -> None:
    """Add to the rows of engines, which come first, how far off they are and what is possible."""
    for row, engine in zip(rows, engines, strict=False):
        row["error"] = exact.measure_error(engine, row["network_evaluations"])
        row["floor_ms"] = exact.floor.milliseconds(row["network_evaluations"])


def _load_exact(folder: Path) -> Exact | None:
    """Return the policy with its weights, where these and torch are there."""
    if not (folder / MODEL).is_file() or not find_spec("torch"):
        return None
    from .bench_exact import Exact

    return Exact(folder)


def _load_all(
    folder: Path, modes: Sequence[Mode], exact: Exact | None
) -> dict[Mode, tuple[Engine, Compute]]:
    """Return the engine of every mode, and what computes a chunk of it."""
    loaded: dict[Mode, tuple[Engine, Compute]] = {}
    for mode in modes:
        sampler = exact.sampler(mode.network_evaluations) if exact else None
        engine = load_engine(folder, mode.engine, sampler, threads=mode.threads)
        loaded[mode] = (engine, _prepare(engine, exact, mode.threads))
    return loaded


def _modes(engines: Sequence[str], counts: Sequence[int], threads: Sequence[int]) -> list[Mode]:
    return [Mode(engine, n, t) for t in threads for n in counts for engine in engines]


def _prepare(engine: Engine, exact: Exact | None, threads: int) -> Compute:
    """Return a function that computes a whole chunk for one observation."""
    observation = {key: history[None] for key, history in blank_history(engine).items()}
    noise = draw_noise(engine, seed=0)[:, None]

    def compute() -> np.ndarray:
        return engine.predict(observation, noise)

    return exact.on_threads(compute, threads) if exact else compute


def measure_alternately(
    calculations: Mapping[Mode, Compute],
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
            share = TEXTBOOK_SHARE if mode.engine == "textbook" else 1
            calculate()  # so that what the one before left in the caches does not count
            for _ in range(max(1, calls // ROUNDS // share)):
                began = time.perf_counter()
                calculate()
                times[mode].append(1e3 * (time.perf_counter() - began))
        on_round(finished + 1)
    return {mode: np.array(milliseconds) for mode, milliseconds in times.items()}


def _make_row(mode: Mode, milliseconds: np.ndarray) -> dict[str, Any]:
    return {
        "engine": mode.engine,
        "network_evaluations": mode.network_evaluations,
        "threads": mode.threads,
        "calls": len(milliseconds),
        "median_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.percentile(milliseconds, 99)),
        "max_ms": float(milliseconds.max()),
        "min_ms": float(milliseconds.min()),
    }
