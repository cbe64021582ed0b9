"""Agent: turns observations into requests, and the chunks that come back into one command per tick."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from .robot import Command, Obs
from .spec import Spec

RECENT = 20  # answers whose delay an Agent remembers


@dataclass(frozen=True)
class Request:
    """What a policy needs to know for one chunk.

    episode: of the Agent that asks; obs[key] (O, ...), oldest first; seed: of the noise; time: of the latest
    observation [s, robot's clock]; prefix (n, A): the actions that will be sent from `time` on, a policy's period
    apart, until the answer is there.
    """

    episode: int
    obs: Mapping[str, np.ndarray]
    seed: int
    time: float
    prefix: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True)
class Chunk:
    """Actions (H, A) in robot units; actions[k] belongs to time + k dt [s, robot's clock]."""

    episode: int
    time: float
    dt: float
    actions: np.ndarray

    def at(self, now: float, spec: Spec) -> np.ndarray | None:
        """The action (A,) of this moment, interpolated; None once the chunk is over."""
        x = max(0.0, (now - self.time) / self.dt + 1e-6)
        k = int(x)
        if k >= len(self.actions):
            return None
        last = k + 1 == len(self.actions)
        following = _after(self.actions[k], spec) if last else self.actions[k + 1]
        return interpolate(spec, self.actions[k], following, max(0.0, x - k - 1e-6))


class Runner(Protocol):
    """Whoever answers requests: inline, batched over many episodes, late on purpose, in another process."""

    def submit(self, request: Request) -> None:
        """Ask for a chunk."""
        ...

    def poll(self) -> Chunk | None:
        """The latest answer, once; None while there is none."""
        ...

    def stalls(self) -> bool:
        """Whether time must not go on before the answer is there; only ever on simulated time."""
        ...


class Agent:
    """An Actor that re-plans every `action_steps` actions and never sends one whose time has passed.

    prefix_length: of the longest prefix, the actions that will be sent before the answer is there; as many as the
    slowest of the last answers took. wait: hold still until the answer is there, and begin it then.
    patience: after so long without an answer [s] it asks again. actuation_delay: s that a command takes to act, and is sent early.
    """

    def __init__(
        self, runner: Runner, spec: Spec, *, observation_steps: int, action_steps: int, prefix_length: int = 0,
        wait: bool = False, patience: float = math.inf, actuation_delay: float = 0.0,
    ) -> None:  # fmt: skip
        self._runner, self._spec = runner, spec
        self._steps, self._action_steps, self._prefix_length = (
            observation_steps,
            action_steps,
            prefix_length,
        )
        self._wait, self._patience, self._actuation_delay = wait, patience, actuation_delay
        self._ages: deque[float] = deque(
            maxlen=RECENT
        )  # of the observation behind an answer when it came [s]
        self._episode = -1
        self.chunk: Chunk | None = None  # the one being executed

    def reset(self, seed: int | None = None) -> None:
        """Start an episode whose noise comes from `seed` alone; answers to an earlier one are dropped."""
        self._episode += 1
        self._seed = np.random.SeedSequence(seed).entropy
        self._asked = 0
        self._history: list[Obs] = []
        self.chunk, self._pending, self._since = None, False, 0.0

    def act(self, obs: Obs) -> Command | None:
        """The command of this tick: from the chunk, or None inside it where the chunk is over (hold)."""
        self._remember(obs)
        self._receive(obs.time)
        if self._due(obs.time):
            self._ask(obs.time)
            self._receive(obs.time)
        if self._pending and self._runner.stalls():
            return None
        if self._pending and self._wait:
            return Command(None, "policy")
        return Command(
            self.chunk.at(obs.time + self._actuation_delay, self._spec) if self.chunk else None,
            "policy",
        )

    def sent(self, action: np.ndarray) -> None:
        """Nothing to learn: the next observation shows what became of it."""

    def _remember(self, obs: Obs) -> None:
        if self._history and self._history[-1].time == obs.time:
            return
        oldest = obs.time - self._steps / self._spec.policy_hz
        copied = {
            key: np.array(obs.data[key]) for key in self._spec.observations
        }  # a driver may fill its arrays again
        self._history = [o for o in self._history if o.time > oldest] + [
            Obs(obs.time, copied, obs.stamps)
        ]

    def _due(self, now: float) -> bool:
        if self._pending:
            return now > self._since + self._patience
        dt = 1 / self._spec.policy_hz
        return (
            self.chunk is None
            or now > self.chunk.time + (self._action_steps - 0.5 / self._ratio()) * dt
        )

    def _ratio(self) -> float:
        return max(1.0, self._spec.command_hz / self._spec.policy_hz)

    def _ask(self, now: float) -> None:
        ages = np.arange(self._steps - 1, -1, -1) / self._spec.policy_hz
        obs = {
            key: np.stack([self._sample(key, age) for age in ages])
            for key in self._spec.observations
        }
        seed = np.random.SeedSequence([self._seed, self._asked]).generate_state(1, np.uint64)[0]  # pyright: ignore
        self._runner.submit(
            Request(self._episode, obs, int(seed >> np.uint64(1)), now, self._prefix(now))
        )
        self._asked += 1
        self._pending, self._since = True, now

    def _sample(self, key: str, age: float) -> np.ndarray:
        """What a stream measured nearest to `age` before its newest sample: before the first one, the first."""
        stamps = [o.stamps.get(key, o.time) for o in self._history]
        k = min(range(len(stamps)), key=lambda i: abs(stamps[i] - (stamps[-1] - age)))
        return self._history[k].data[key]

    def _prefix(self, now: float) -> np.ndarray:
        dt, actions = 1 / self._spec.policy_hz, []
        count = min(
            self._prefix_length,
            math.ceil((max(self._ages, default=0.0) + self._actuation_delay) / dt - 1e-6),
        )
        while self.chunk and len(actions) < count:
            action = self.chunk.at(now + len(actions) * dt, self._spec)
            if action is None:
                break
            actions.append(action)
        return np.stack(actions) if actions else np.empty((0, self._spec.action_size))

    def _receive(self, now: float) -> None:
        chunk = self._runner.poll()
        if chunk is not None and chunk.episode == self._episode:
            self._ages.append(now - chunk.time)
            self.chunk, self._pending = replace(chunk, time=now) if self._wait else chunk, False


def _after(last: np.ndarray, spec: Spec) -> np.ndarray:
    """What follows the last action (A,) of a chunk: the same targets, no difference."""
    return np.where(spec.relative_mask(), 0.0, last)


def interpolate(spec: Spec, a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
    """Between actions a and b (A,): angles the short way round, rotations on the sphere, discrete fields held at a.

    Relative fields are those of the nearer action: on a clock with jitter each difference is then sent just once.
    """
    out = a.copy()
    for part, f in zip(spec.slices().values(), spec.actions.values(), strict=True):
        x, y = a[part], b[part]
        if f.relative:
            out[part] = x if weight < 0.5 else y
        elif f.kind == "angle":
            z = x + weight * ((y - x + np.pi) % (2 * np.pi) - np.pi)
            out[part] = np.where(np.abs(z) <= np.pi, z, (z + np.pi) % (2 * np.pi) - np.pi)
        elif f.kind == "quaternion":
            mean = (1 - weight) * x + weight * (y if x @ y >= 0 else -y)
            out[part] = mean / np.linalg.norm(mean)
        elif f.kind != "discrete":
            out[part] = x + weight * (y - x)
    return out
