"""Session: what one client has shown, and the request that its newest message makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....envs import ProtocolError
from ....envs.agent import Request, draw_seed, spaced_places
from ....envs.pictures import as_seen
from ....envs.web.array_maps import flatten
from ...engines.engine import Engine
from .layout import EPISODE, NOISE, PREFIX, SEED, TIME, Layout, read_numbers

MOST_SEED = 2**63 - 1
MOST_KEPT = 256  # observations of a client
TOO_LONG = 1.5  # of a policy's period between two observations


@dataclass(frozen=True)
class Asked:
    """A request, the noise that came with it, and what its client should know."""

    request: Request
    noise: np.ndarray | None = None  # (K, H, E) in place of what the seed draws
    warnings: list[str] = field(default_factory=list)


class Session:
    """Keeps the history of one client, by the times that it gives, else those of arrival.

    The history begins anew with another episode, a pause longer than a chunk, or a time that lies
    before the last.
    """

    def __init__(self, engine: Engine, layout: Layout) -> None:
        self._spec = engine.spec
        self._shape = engine.shape
        self._seen = as_seen(engine.spec, engine.shape.side)
        self._layout = layout
        self._period = 1 / engine.spec.policy_hz
        self._episode = 0
        self._begin()

    def _begin(self) -> None:
        self._history: list[tuple[float, dict[str, np.ndarray]]] = []
        self._asked = 0

    def ask(self, content: Mapping[str, Any], arrived: float) -> Asked:
        """Return the request of a message that arrived at a time [s]; ProtocolError names a key."""
        given = flatten(content)
        time = _number(given, TIME, arrived)
        episode = _whole(given, EPISODE, self._episode)
        prefix, warnings = self._read_prefix(given)
        noise = self._read_noise(given)
        shape = self._shape
        observed = self._layout.read(given, self._seen, shape.observation_steps, shape.pictures)
        warnings += self._place(time, episode, observed)
        self._history = [*self._history[-MOST_KEPT:], (time, observed)]
        seed = _whole(given, SEED, draw_seed(0, self._asked))
        obs = {key: self._stack(key) for key in self._spec.observations}
        self._asked += 1
        return Asked(Request(self._episode, obs, seed, time, prefix), noise, warnings)

    def _place(self, time: float, episode: int, observed: Mapping[str, np.ndarray]) -> list[str]:
        """Forget what lies too far back, or was another episode; return what to say of it."""
        if episode != self._episode:
            self._episode = episode
            self._begin()
        if not self._history:
            return []
        apart = time - self._history[-1][0]
        if apart < 0:
            self._begin()
            return [f"time went back by {-apart:.3g} s: the history begins anew"]
        said = self._spacing(apart, observed)
        oldest = time - self._shape.observation_steps * self._period
        if apart > self._shape.horizon * self._period:
            self._begin()
        else:  # one of the same time is replaced
            newest = self._history[-1:] if apart else []
            recent = [kept for kept in self._history if oldest < kept[0] < time]
            self._history = recent or newest
        return said

    def _stack(self, key: str) -> np.ndarray:
        """Return the history (O, ...) of an observation, of a camera (P, h, w, 3)."""
        is_image = self._spec.observations[key].is_image
        count = self._shape.pictures if is_image else self._shape.observation_steps
        newest = self._history[-1][1][key]
        if newest.ndim > len(self._seen.observations[key].shape):  # the client keeps its own
            if len(newest) < count:
                raise ProtocolError(
                    f"{key!r} has {len(newest)} samples; the policy looks at {count}"
                )
            return newest[-count:]
        samples = []
        times = [time for time, _ in self._history]
        for place in spaced_places(times, count, self._spec.policy_hz, times[-1]):
            sample = self._history[place][1][key]
            samples.append(sample if sample.shape == newest.shape else newest)
        return np.stack(samples)

    def _spacing(self, apart: float, observed: Mapping[str, np.ndarray]) -> list[str]:
        """Return what to say where observations come too seldom for a history."""
        steps = self._shape.observation_steps
        has_own = any(
            observed[key].ndim > len(field.shape) for key, field in self._seen.states.items()
        )
        if steps == 1 or has_own or apart <= TOO_LONG * self._period:
            return []
        return [
            f"observations come {apart:.3g} s apart, and this policy looks at {steps} of them, "
            f"{self._period:.3g} s apart: send each one, or arrays of the last {steps}"
        ]

    def _read_prefix(self, given: Mapping[str, Any]) -> tuple[np.ndarray, list[str]]:
        size = self._spec.action_size
        none = np.empty((0, size))
        if PREFIX not in given:
            return none, []
        prefix = read_numbers(given[PREFIX], PREFIX)
        if prefix.ndim != 2 or prefix.shape[1] != size:
            raise ProtocolError(f"{PREFIX!r} is an array (n, {size}) of actions")
        longest = self._shape.longest_prefix
        if len(prefix) > longest:
            said = f"of {PREFIX!r} this policy heeds {longest} actions, not {len(prefix)}"
            return prefix[:longest].astype(float), [said]
        return prefix.astype(float), []

    def _read_noise(self, given: Mapping[str, Any]) -> np.ndarray | None:
        if NOISE not in given:
            return None
        noise = read_numbers(given[NOISE], NOISE)
        shape = tuple(self._shape.noise)
        if noise.shape != shape:
            raise ProtocolError(f"{NOISE!r} is an array {shape} of numbers")
        return noise


def _number(given: Mapping[str, Any], key: str, default: float) -> float:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ProtocolError(f"{key!r} is a number, not {type(value).__name__}")
    if not abs(value) < 1e15:
        raise ProtocolError(f"{key!r} is in seconds and below 1e15, not {value}")
    return float(value)


def _whole(given: Mapping[str, Any], key: str, default: int) -> int:
    value = given.get(key, default)
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not 0 <= value <= MOST_SEED:
        raise ProtocolError(f"{key!r} is a whole number from 0 to {MOST_SEED}, not {value!r:.60}")
    return int(value)
