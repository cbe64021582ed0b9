"""Runners: how an Engine answers an Agent's requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...envs import Clock, ConfigError
from ...envs.agent import Agent, Request, Runner, stack_observations
from ...envs.chunk import Chunk
from ...envs.errors import names
from ...envs.pictures import as_seen
from ..engines.engine import Engine

OnAnswered = Callable[[list[tuple[int, Request, Chunk]]], None]
WARM_CHUNKS = 3  # made before the first request: the first one is slow


def answer(
    engine: Engine,
    requests: list[Request | None],
    noises: Mapping[int, np.ndarray] | None = None,
) -> list[Chunk | None]:
    """Return one chunk per request, computed in one batch as long as the list.

    None keeps a place free.
    The noise of a request comes from its own seed, so the rest of the batch changes nothing.
    noises: (K, H, E) of those places that have their own.
    """
    first = next(request for request in requests if request is not None)
    filled = [request or first for request in requests]
    obs = stack_observations(engine.spec, filled)
    own = noises or {}
    drawn = []
    for place, request in enumerate(filled):
        drawn.append(own[place] if place in own else draw_noise(engine, request.seed))
    noise = np.stack(drawn, 1)
    actions = engine.predict(obs, noise, *_stack_prefixes(engine, filled))
    period = 1 / engine.spec.policy_hz
    chunks: list[Chunk | None] = []
    for request, chosen in zip(requests, actions, strict=True):
        chunks.append(request and Chunk(request.episode, request.time, period, chosen))
    return chunks


def draw_noise(engine: Engine, seed: int) -> np.ndarray:
    """Return the noise (K, H, E) of a chunk, which its seed alone decides."""
    return np.random.default_rng(seed).standard_normal(engine.shape.noise, np.float32)


def blank_history(engine: Engine) -> dict[str, np.ndarray]:
    """Return the observations of a request to warm up and to measure with: zeros, no rotation."""
    history = {}
    for key, field in as_seen(engine.spec, engine.shape.side).observations.items():
        count = engine.shape.pictures if field.is_image else engine.shape.observation_steps
        history[key] = np.zeros((count, *field.shape), field.dtype)
        if field.kind == "quaternion":
            history[key][..., 0] = 1
    return history


def blank_request(engine: Engine) -> Request:
    """Return a request of no episode, to warm up with."""
    return Request(-1, blank_history(engine), 0, 0.0)


def _stack_prefixes(engine: Engine, requests: list[Request]) -> tuple[np.ndarray, ...]:
    """Return prefixes (B, H, A), the last action repeated, and their lengths (B,).

    Returns nothing where all are empty.
    """
    lengths = np.array([len(request.prefix) for request in requests])
    if not lengths.any():
        return ()
    shape = (len(requests), engine.shape.horizon, engine.spec.action_size)
    prefixes = np.zeros(shape, np.float32)
    for row, request in zip(prefixes, requests, strict=True):
        if len(request.prefix):
            repeated = np.minimum(np.arange(len(row)), len(request.prefix) - 1)
            row[:] = request.prefix[repeated]
    return prefixes, lengths


class InlineRunner:
    """Answers at once, in the caller's thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._chunk: Chunk | None = None

    def submit(self, request: Request) -> None:
        """Compute the chunk."""
        self._chunk = answer(self._engine, [request])[0]

    def poll(self) -> Chunk | None:
        """The chunk, once."""
        chunk = self._chunk
        self._chunk = None
        return chunk

    def stalls(self) -> bool:
        """Never: the answer is there."""
        return False


def ignore_answers(answered: list[tuple[int, Request, Chunk]]) -> None:
    """Nobody scores them."""


class RequestBatch:
    """Collects the requests of up to `size` episodes and answers them in one pass.

    The pass always has that size, whoever asked, where the engine's rounding depends on it.
    on_answered: is given the places that asked, their requests and their chunks.
    """

    def __init__(self, engine: Engine, size: int, on_answered: OnAnswered = ignore_answers) -> None:
        self._engine = engine
        self._on_answered = on_answered
        self.asked: list[Request | None] = [None] * size
        self.answers: list[Chunk | None] = [None] * size

    def place(self, index: int) -> BatchedRunner:
        """The Runner of one episode, always at the same place of the batch.

        Rounding depends on it.
        """
        return BatchedRunner(self, index)

    def flush(self) -> None:
        """Answer all that have asked."""
        places = [index for index, request in enumerate(self.asked) if request is not None]
        if not places:
            return
        if self._engine.batches:
            places = list(range(len(self.asked)))
        fresh = answer(self._engine, [self.asked[index] for index in places])
        answered: list[tuple[int, Request, Chunk]] = []
        for index, chunk in zip(places, fresh, strict=True):
            request = self.asked[index]
            if chunk is not None and request is not None:
                self.answers[index] = chunk
                answered.append((index, request, chunk))
        self._on_answered(answered)
        self.asked = [None] * len(self.asked)


class BatchedRunner:
    """One episode's Runner in a RequestBatch; time stands still until the batch is flushed."""

    def __init__(self, batch: RequestBatch, index: int) -> None:
        self._batch = batch
        self._index = index

    def submit(self, request: Request) -> None:
        """Wait for the next flush."""
        self._batch.asked[self._index] = request
        self._batch.answers[self._index] = None

    def poll(self) -> Chunk | None:
        """The answer, once it is there."""
        chunk = self._batch.answers[self._index]
        self._batch.answers[self._index] = None
        return chunk

    def stalls(self) -> bool:
        """Whether the batch still owes an answer."""
        return self._batch.asked[self._index] is not None


class DelayedRunner:
    """Another Runner whose answers arrive some time after the observation, on a simulated clock.

    seconds: that an answer takes, or several of which each request draws one; jitter: at most so
    much longer [s].
    """

    def __init__(
        self, runner: Runner, seconds: float | Sequence[float], clock: Clock, jitter: float = 0.0
    ) -> None:
        self._runner = runner
        self._seconds = np.atleast_1d(seconds)
        self._clock = clock
        self._jitter = jitter
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


ON_DELAY = ("prefix", "switch", "hold")  # what an Agent does while its answer is on the way


def make_agent(engine: Engine, runner: Runner, on_delay: str = "") -> Agent:
    """Return the Agent that a policy was trained for, which asks `runner`.

    on_delay: "prefix" tells the policy what will be sent meanwhile, the default of one with a
    prefix; "switch" changes over when the answer comes; "hold" holds still until then.
    """
    shape = engine.shape
    valid = ON_DELAY if shape.takes_prefix else ON_DELAY[1:]
    on_delay = on_delay or valid[0]
    if on_delay not in valid:
        raise ConfigError(f"on_delay={on_delay!r} is not for this policy; valid: {names(valid)}")
    return Agent(
        runner,
        as_seen(engine.spec, shape.side),
        observation_steps=shape.observation_steps,
        action_steps=shape.action_steps,
        pictures=shape.pictures,
        prefix_length=shape.longest_prefix if on_delay == "prefix" else 0,
        wait=on_delay == "hold",
        patience=shape.horizon / engine.spec.policy_hz,
        actuation_delay=shape.actuation_delay,
        agreement=0.0 if on_delay == "hold" else shape.agreement,
    )
