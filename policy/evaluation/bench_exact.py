"""What a latency is set beside: double precision, the textbook, and what the hardware allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from ...envs.schema import to_plain
from ..checkpoint import load_policy
from ..diffusion.samplers import Sampler
from ..engines.checking import draw_question, measure_distance
from ..engines.eager import EagerEngine, shape_of
from ..engines.engine import Engine
from ..engines.program import Operation, build_program
from ..policy import Policy
from ..serving.runners import blank_history, draw_noise
from ..training.processor import torch_threads

OBSERVATIONS = 50  # on which errors are measured
REPEATS = 100  # of what the floor is measured with, of which the fastest counts
FLOAT = 4  # [bytes]


@dataclass(frozen=True)
class Floor:
    """What this machine needs at least for a chunk, on one thread.

    An evaluation reads its weights and multiplies by them; whichever takes longer counts.
    """

    bandwidth: float  # [bytes/s] of reading as much as the weights of an evaluation
    rate: float  # [operations/s] of the products of an evaluation, each at its own shape
    weights: int  # [bytes] that each evaluation reads
    once: int  # [bytes] that a chunk reads once
    operations: int  # of an evaluation

    def milliseconds(self, evaluations: int) -> float:
        """Return the floor of a chunk."""
        each = max(self.weights / self.bandwidth, self.operations / self.rate)
        return 1e3 * (self.once / self.bandwidth + evaluations * each)


class Exact:
    """A policy with its weights, in torch."""

    def __init__(self, folder: Path) -> None:
        self._policy = load_policy(folder)
        self._double = deepcopy(self._policy).double()
        with torch_threads(1):
            self.floor = measure_floor(self._policy)

    def sampler(self, evaluations: int) -> Sampler:
        """Return the policy's sampler at so many network evaluations."""
        return self._policy.config.drawn_by.at(evaluations)

    def threads_kept(self) -> AbstractContextManager[None]:
        """Return a context after which torch has as many threads as before."""
        return torch_threads(torch.get_num_threads())

    def on_threads(self, compute: Callable[[], object], threads: int) -> Callable[[], object]:
        """Return the same with torch on so many threads."""

        def limited() -> object:
            with torch_threads(threads):
                return compute()

        return limited

    def textbook(self, evaluations: int) -> Callable[[], object]:
        """Return what computes a chunk as textbooks do: the whole network at every evaluation."""
        sampler = self.sampler(evaluations)
        engine = EagerEngine(self._policy, sampler)
        obs = {key: torch.from_numpy(x)[None] for key, x in blank_history(engine).items()}
        noise = torch.from_numpy(draw_noise(engine, 0))[:, None]
        return self.on_threads(lambda: self._policy.act(obs, noise, sampler=sampler), 1)

    def encode(self) -> None:
        """Encode one observation, and no more."""
        obs = {}
        for key, history in blank_history(EagerEngine(self._policy)).items():
            obs[key] = torch.from_numpy(history)[None]
        with torch_threads(1), torch.no_grad():
            self._policy.features(obs)

    def measure_error(self, engine: Engine, evaluations: int) -> float:
        """Return the largest distance of an action from one in double precision, a share."""
        sampler = self.sampler(evaluations)
        eager = EagerEngine(self._policy, sampler)
        question = draw_question(self._policy, eager, OBSERVATIONS, Generator().manual_seed(0))
        exact = question.ask(EagerEngine(self._double, sampler))
        return measure_distance(self._policy, question.ask(engine), exact)

    def describe(self) -> dict[str, Any]:
        """Return the number of parameters, and what the floor is made of."""
        return {
            "parameters": sum(parameter.numel() for parameter in self._policy.parameters()),
            "floor": to_plain(self.floor),
        }


def measure_floor(policy: Policy) -> Floor:
    """Measure what this machine needs for the products of a policy's network."""
    shape = shape_of(policy, policy.config.drawn_by)
    program = build_program(policy.spec, to_plain(policy.config), shape)
    products = [operation for operation in program.operations if operation.k]
    each = [
        operation for operation in products if operation not in program.operations[: program.once]
    ]
    weights = sum(FLOAT * operation.k * operation.n for operation in each)
    operations = sum(2 * operation.count * operation.k * operation.n for operation in each)
    seconds = sum(_measure_product(operation) for operation in each)
    numbers = torch.ones(weights // FLOAT)
    reading = _fastest(lambda: numbers.dot(numbers))
    all_weights = sum(FLOAT * operation.k * operation.n for operation in products)
    return Floor(
        weights / reading, operations / seconds, weights, all_weights - weights, operations
    )


def _measure_product(operation: Operation) -> float:
    """Return the seconds of one matrix product of an operation's shape, its weights at hand."""
    x = torch.randn(operation.count, operation.k)
    w = torch.randn(operation.k, operation.n)
    y = torch.empty(operation.count, operation.n)
    return _fastest(lambda: torch.mm(x, w, out=y))


def _fastest(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
