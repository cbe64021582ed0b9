"""Runners: how a Policy answers an Agent's requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...envs import Clock, ConfigError
from ...envs.agent import Agent, Chunk, Request, Runner
from ...envs.errors import names
from ..diffusion.samplers import Sampler
from ..policy import Policy


def answer(
    policy: Policy, requests: list[Request | None], sampler: Sampler | None = None
) -> list[Chunk | None]:
    """One chunk per request, in one batch as long as the list; None keeps a place free.

    The noise of a request comes from its own seed, so the rest of the batch changes nothing.
    """
    first = next(r for r in requests if r is not None)
    filled = [r or first for r in requests]
    sampler = sampler or policy.config.drawn_by
    device = next(policy.parameters()).device
    obs = {
        k: torch.as_tensor(np.stack([r.obs[k] for r in filled])).to(device)
        for k in policy.spec.observations
    }
    noise = torch.stack([_noise(policy, sampler, r.seed) for r in filled], 1).to(device)
    prefixes = _prefixes(policy, filled)
    actions = policy.act(obs, noise, *prefixes, sampler=sampler).cpu().numpy()
    dt = 1 / policy.spec.policy_hz
    return [r and Chunk(r.episode, r.time, dt, a) for r, a in zip(requests, actions, strict=True)]


def _prefixes(policy: Policy, requests: list[Request]) -> tuple[Tensor, ...]:
    """Prefixes (B, H, A), the last action repeated, with their lengths (B,); nothing where all are empty."""
    counts, device = [len(r.prefix) for r in requests], next(policy.parameters()).device
    if not any(counts):
        return ()
    full = np.zeros((len(requests), policy.config.horizon, policy.spec.action_size), np.float32)
    for row, r in zip(full, requests, strict=True):
        row[:] = (
            r.prefix[np.minimum(np.arange(len(row)), len(r.prefix) - 1)] if len(r.prefix) else 0
        )
    return torch.as_tensor(full).to(device), torch.tensor(counts, device=device)


def _noise(policy: Policy, sampler: Sampler, seed: int) -> Tensor:
    shape = (sampler.noises, policy.config.horizon, policy.noise_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class InlineRunner:
    """Answers at once, in the caller's thread."""

    def __init__(self, policy: Policy, sampler: Sampler | None = None) -> None:
        self._policy, self._sampler = policy, sampler
        self._chunk: Chunk | None = None

    def submit(self, request: Request) -> None:
        """Compute the chunk."""
        self._chunk = answer(self._policy, [request], self._sampler)[0]

    def poll(self) -> Chunk | None:
        """The chunk, once."""
        chunk, self._chunk = self._chunk, None
        return chunk

    def stalls(self) -> bool:
        """Never: the answer is there."""
        return False


class RequestBatch:
    """Collects the requests of up to `size` episodes and answers them in one pass of that size, whoever asked."""

    def __init__(self, policy: Policy, size: int, sampler: Sampler | None = None) -> None:
        self._policy, self._sampler = policy, sampler
        self.asked: list[Request | None] = [None] * size
        self.answers: list[Chunk | None] = [None] * size

    def place(self, index: int) -> BatchedRunner:
        """The Runner of one episode, always at the same place of the batch: rounding depends on it."""
        return BatchedRunner(self, index)

    def flush(self) -> None:
        """Answer all that have asked."""
        if any(r is not None for r in self.asked):
            fresh = answer(self._policy, self.asked, self._sampler)
            self.answers = [new or old for new, old in zip(fresh, self.answers, strict=True)]
            self.asked = [None] * len(self.asked)


class BatchedRunner:
    """One episode's Runner in a RequestBatch; time stands still until the batch is flushed."""

    def __init__(self, batch: RequestBatch, index: int) -> None:
        self._batch, self._index = batch, index

    def submit(self, request: Request) -> None:
        """Wait for the next flush."""
        self._batch.asked[self._index], self._batch.answers[self._index] = request, None

    def poll(self) -> Chunk | None:
        """The answer, once it is there."""
        chunk, self._batch.answers[self._index] = self._batch.answers[self._index], None
        return chunk

    def stalls(self) -> bool:
        """Whether the batch still owes an answer."""
        return self._batch.asked[self._index] is not None


class DelayedRunner:
    """Another Runner whose answers arrive some time after the observation, on a simulated clock.

    seconds: that an answer takes, or several of which each request draws one; jitter: at most so much longer [s].
    """

    def __init__(
        self, runner: Runner, seconds: float | Sequence[float], clock: Clock, jitter: float = 0.0
    ) -> None:
        self._runner, self._seconds, self._clock, self._jitter = (
            runner,
            np.atleast_1d(seconds),
            clock,
            jitter,
        )
        self._ready = float("inf")

    def submit(self, request: Request) -> None:
        """Pass the request on; how long its answer takes depends on its seed alone."""
        self._runner.submit(request)
        rng = np.random.default_rng(request.seed)
        self._ready = request.time + rng.choice(self._seconds) + rng.uniform(0, self._jitter) - 1e-9

    def poll(self) -> Chunk | None:
        """The answer, once it is due."""
        return self._runner.poll() if self._clock.now() >= self._ready else None

    def stalls(self) -> bool:
        """Whether the answer is due and not computed yet."""
        return self._clock.now() >= self._ready and self._runner.stalls()


def longest_prefix(policy: Policy) -> int:
    """Return how long a prefix the policy can go on from; 0 where it has not learnt to."""
    return policy.config.horizon - policy.config.action_steps if policy.config.net.prefix else 0


ON_DELAY = ("prefix", "switch", "hold")  # what an Agent does while its answer is on the way


def agent(policy: Policy, runner: Runner, on_delay: str = "") -> Agent:
    """The Agent that this policy was trained for.

    on_delay: "prefix" tells the policy what will be sent meanwhile, the default of one with a prefix; "switch" changes over
    when the answer comes; "hold" holds still until then.
    """
    c = policy.config
    on_delay = on_delay or ("prefix" if c.net.prefix else "switch")
    if on_delay not in ON_DELAY or (on_delay == "prefix" and not c.net.prefix):
        raise ConfigError(
            f"on_delay={on_delay!r} is not for this policy; valid: {names(ON_DELAY if c.net.prefix else ON_DELAY[1:])}"
        )
    prefix_length = longest_prefix(policy) if on_delay == "prefix" else 0
    return Agent(
        runner, policy.spec, observation_steps=c.observation_steps, action_steps=c.action_steps, prefix_length=prefix_length,
        wait=on_delay == "hold", patience=c.horizon / policy.spec.policy_hz,
    )  # fmt: skip
