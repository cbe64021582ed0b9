"""Agent: turns observations into requests, and chunks into one command per tick."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from .averaging import Averaging
from .chunk import Chunk
from .errors import ConfigError
from .pictures import resize
from .robot import Command, Obs
from .spec import Spec

RECENT = 20  # answers whose delay an Agent remembers
PICTURED_SECONDS = 1.0  # age of the newest pictures up to which the states of then are remembered


@dataclass(frozen=True)
class Request:
    """What a policy needs to know for one chunk.

    episode: of the Agent that asks; obs[key] (O, ...), oldest first, and of a camera the newest
    pictures (P, h, w, 3) only, or none where whoever answers takes those of `time` itself; seed: of
    the noise; time: of the latest observation [s, robot's clock]; prefix (n, A): the actions that
    will be sent from `time` on, a policy's period apart, until the answer is there.
    """

    episode: int
    obs: Mapping[str, np.ndarray]
    seed: int
    time: float
    prefix: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def stack_observations(spec: Spec, requests: Sequence[Request]) -> dict[str, np.ndarray]:
    """Return obs[key] (B, O, ...) of requests."""
    return {key: np.stack([request.obs[key] for request in requests]) for key in spec.observations}


class Runner(Protocol):
    """Whoever answers requests.

    There are some that answer inline, batched over many episodes, late on purpose, or in another
    process.
    """

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
    """An Actor that re-plans every `action_steps` actions.

    It never sends an action whose time has passed.

    Args:
        runner: Who answers its requests.
        spec: Of the policy; pictures are brought to the size that it gives them.
        observation_steps: Observations that a request holds.
        action_steps: Actions of a chunk that run before the next is asked for.
        pictures: Of each camera that a request holds; where it is the newest one alone, no
            other is looked at.
        cameras: Whose pictures are with whoever answers, and whose newest stamps are observed: a
            request is then of the moment of the newest pictures, and its states are those of then.
        prefix_length: Of the longest prefix, the actions that will be sent before the answer is
            there; as many as the slowest of the last answers took.
        wait: Hold still until the answer is there, and begin it then.
        patience: Time without an answer after which it asks again [s].
        actuation_delay: Time that a command takes to act, and is sent early [s].
        agreement: Share of the actions' ranges within which a chunk is averaged with those before
            it, as in `Averaging`; 0 for never.
    """

    def __init__(
        self,
        runner: Runner,
        spec: Spec,
        *,
        observation_steps: int,
        action_steps: int,
        pictures: int = 1,
        cameras: Sequence[str] = (),
        prefix_length: int = 0,
        wait: bool = False,
        patience: float = math.inf,
        actuation_delay: float = 0.0,
        agreement: float = 0.0,
    ) -> None:
        self._runner = runner
        self._spec = spec
        self._observation_steps = observation_steps
        self._pictures = pictures
        self._cameras = cameras
        self._remembered = spec.observations if pictures > 1 or cameras else spec.states
        self._action_steps = action_steps
        self._prefix_length = prefix_length
        self._wait = wait
        self._patience = patience
        self._actuation_delay = actuation_delay
        self._averaging = Averaging(spec, agreement) if agreement else None
        # Of the observation behind an answer, when the answer came [s].
        self._ages: deque[float] = deque(maxlen=RECENT)
        self._episode = -1
        self.chunk: Chunk | None = None  # the one being executed

    def reset(self, seed: int | None = None) -> None:
        """Start an episode whose noise comes from `seed` alone.

        Answers to an earlier one are dropped.
        """
        self._episode += 1
        self._seed = np.random.SeedSequence(seed).entropy
        self._asked = 0
        self._history: list[Obs] = []
        self.chunk = None
        self._pending = False
        self._since = 0.0  # when it asked last [s]

    def act(self, obs: Obs) -> Command | None:
        """Return the command of this tick.

        Its action comes from the chunk, and is None (hold) where the chunk is over.
        """
        self._remember(obs)
        self._receive(obs.time)
        if self._due(obs.time):
            self._ask(obs)
            self._receive(obs.time)
        if self._pending and self._runner.stalls():
            return None
        if self._pending and self._wait:
            return Command(None, "policy")
        if self.chunk is None:
            return Command(None, "policy")
        return Command(self.chunk.at(obs.time + self._actuation_delay, self._spec), "policy")

    def sent(self, action: np.ndarray) -> None:
        """Nothing to learn: the next observation shows what became of it."""

    def watch(self, obs: Obs) -> None:
        """See a tick in which somebody else acts."""
        self._remember(obs)

    def plan_anew(self) -> None:
        """Forget the chunk, and answers that are on their way; what was seen is kept."""
        self._episode += 1
        self.chunk = None
        self._pending = False

    def _remember(self, obs: Obs) -> None:
        if self._history and self._history[-1].time == obs.time:
            return
        seen = max(self._pictured(obs), obs.time - PICTURED_SECONDS)
        oldest = seen - self._observation_steps / self._spec.policy_hz
        copied = {}
        for key in self._remembered:
            copied[key] = np.array(obs.data[key])  # a driver may fill its arrays again
        self._history = [kept for kept in self._history if kept.time > oldest]
        self._history.append(Obs(obs.time, copied, obs.stamps))

    def _due(self, now: float) -> bool:
        if self._pending:
            return now > self._since + self._patience
        if self.chunk is None:
            return True
        ticks_per_action = max(1.0, self._spec.command_hz / self._spec.policy_hz)
        dt = 1 / self._spec.policy_hz
        return now > self.chunk.time + (self._action_steps - 0.5 / ticks_per_action) * dt

    def _pictured(self, obs: Obs) -> float:
        """Return the moment that is seen [s]: of the last picture that all cameras have taken."""
        return min([obs.time, *(obs.stamps[camera] for camera in self._cameras)])

    def _ask(self, obs: Obs) -> None:
        moment = self._pictured(obs)
        asked = {}
        for key in self._spec.states:
            asked[key] = np.stack(self._samples(key, self._observation_steps, moment))
        for camera, field_seen in self._spec.images.items():
            height, width, _ = field_seen.shape
            if camera in self._remembered:
                newest = self._samples(camera, self._pictures, moment)
            else:
                newest = [obs.data[camera]]
            asked[camera] = np.stack([resize(each, (height, width)) for each in newest])
        seed = draw_seed(self._seed, self._asked)  # pyright: ignore[reportArgumentType]
        self._runner.submit(Request(self._episode, asked, seed, moment, self._prefix(moment)))
        self._asked += 1
        self._pending = True
        self._since = obs.time

    def _samples(self, key: str, count: int, moment: float) -> list[np.ndarray]:
        """Return a stream's samples up to a moment [s], a policy's period apart, the newest last.

        Where no camera is waited for they end with the newest one, whenever it was measured.
        """
        stamps = [kept.stamps.get(key, kept.time) for kept in self._history]
        latest = moment if self._cameras else stamps[-1]
        places = spaced_places(stamps, count, self._spec.policy_hz, latest)
        return [self._history[place].data[key] for place in places]

    def _prefix(self, now: float) -> np.ndarray:
        """Return the actions (n, A) that will be sent until the answer is there."""
        seconds = max(self._ages, default=0.0) + self._actuation_delay
        count = math.ceil(seconds * self._spec.policy_hz - 1e-6)
        return self._following(now, min(self._prefix_length, count))

    def _following(self, now: float, count: int) -> np.ndarray:
        """Return up to `count` actions (n, A) of the chunk, a policy's period apart from `now`."""
        if self.chunk is None:
            return np.empty((0, self._spec.action_size))
        return self.chunk.following(now, self._spec)[:count]

    def _receive(self, now: float) -> None:
        chunk = self._runner.poll()
        if chunk is not None and chunk.episode == self._episode:
            self._ages.append(now - chunk.time)
            if self._wait:
                chunk = replace(chunk, time=now)
            self.chunk = self._averaging.join(chunk) if self._averaging else chunk
            self._pending = False


def require_delay(actuation_delay: float) -> None:
    """Raise ConfigError where this is no time [s] by which actions can be sent early."""
    if not 0 <= actuation_delay < math.inf:
        raise ConfigError(f"actuation_delay must be seconds, 0 or more, not {actuation_delay}")


def require_reach(horizon: int, action_steps: int, actuation_delay: float, hz: float) -> None:
    """Raise ConfigError where a chunk would be over before the next is asked for."""
    longest = (horizon - action_steps) / hz
    if actuation_delay > longest + 1e-9:
        raise ConfigError(
            f"actuation_delay={actuation_delay:g} is too long: {action_steps} of {horizon} actions "
            f"run at {hz:g} Hz, which leaves at most {longest:g} s"
        )


def draw_seed(seed: int, asked: int) -> int:
    """Return the seed of a chunk's noise, by that of its episode and the requests before it."""
    drawn = np.random.SeedSequence([seed, asked]).generate_state(1, np.uint64)[0]  # pyright: ignore
    return int(drawn >> np.uint64(1))


def spaced_places(times: Sequence[float], count: int, hz: float, latest: float) -> list[int]:
    """Return which of `times` [s] lie nearest to the `count` periods up to `latest`, it last."""
    stamps = np.array(times)
    places = []
    for age in np.arange(count - 1, -1, -1) / hz:
        places.append(int(np.abs(stamps - (latest - age)).argmin()))
    return places
