"""How long one chunk takes on this machine."""

from __future__ import annotations

import time

import numpy as np

from ...envs import Obs
from ..engines.engine import Engine
from ..serving.runners import InlineRunner, make_agent
from ..training.processor import torch_threads

WARM_UP = 5  # calls that do not count


@torch_threads(1)
def measure_latency(engine: Engine, obs: Obs, calls: int = 50) -> dict[str, float]:
    """Return p50, p99 and max of the wall time of one chunk for one observation [ms].

    On one thread, after a warm-up.
    """
    milliseconds: list[float] = []
    for seed in range(WARM_UP + calls):
        agent = make_agent(engine, InlineRunner(engine))
        agent.reset(seed)
        began = time.perf_counter()
        agent.act(obs)
        milliseconds.append(1e3 * (time.perf_counter() - began))
    kept = np.array(milliseconds[WARM_UP:])
    return {
        "p50": float(np.median(kept)),
        "p99": float(np.percentile(kept, 99)),
        "max": float(kept.max()),
    }
