"""What an evaluation rolls out, and how one rollout ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...envs import ConfigError, ProtocolError, Robot
from ...envs.agent import Runner
from ...envs.control.log_reading import latencies
from ...envs.sim.registry import make_robot
from ..diffusion.samplers import Sampler
from ..engines.engine import Engine
from ..engines.loading import find_spec_of, load_engine, require_engine
from ..engines.remote import RemoteEngine, is_address
from ..serving.runners import DelayedRunner

GROUP = 25  # episodes that share a batch, which is the batch of every network evaluation


@dataclass(frozen=True)
class Rollout:
    """How one episode that a policy played ended."""

    seed: int  # of its start
    success: bool | None  # None where the environment does not say
    score: float  # the largest reward
    seconds: float  # [s] that the episode lasted
    info: dict[str, Any]  # what the environment added
    seam: float | None = None  # see Smoothness
    jerk: float | None = None  # see Smoothness


@dataclass(frozen=True)
class Job:
    """What to roll out; small enough to send to a worker process."""

    policy: str  # a run folder, a policy that comes with the package, or a server's address
    task: str  # as envs.sim.registry.find_task knows it
    sampler: Sampler
    seeds: tuple[int, ...]  # of the starts
    delay: int = 0  # [ticks] between an observation and the chunk made from it
    jitter: float = 0.0  # [ticks] at most so many more
    recorded: str = ""  # log of a run whose chunks' latencies are drawn in place of `delay`
    on_delay: str = (
        ""  # meanwhile, one of runners.ON_DELAY; by default the best that the policy can
    )
    hz: float | None = None  # [Hz] of the environment, where it does not say so itself
    seconds: float | None = None  # [s] time limit, by default the environment's
    engine: str = "eager"  # one of engines.loading.ENGINES; of a server "remote"
    options: Mapping[str, Any] = field(default_factory=dict)  # of the environment's constructor
    weights: str = ""  # SHA-256 of a server's policy, which has to be the same all the time

    def __post_init__(self) -> None:
        if not is_address(self.policy):
            require_engine(self.engine)
        if self.delay < 0:
            raise ConfigError(f"delay must be ticks, 0 or more, not {self.delay}")
        if not 0 <= self.jitter < math.inf:
            raise ConfigError(f"jitter must be ticks, 0 or more, not {self.jitter}")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"seconds must be above 0, not {self.seconds}")

    def groups(self) -> list[tuple[int, ...]]:
        """Return the seeds in groups of GROUP; a group's results depend on nothing outside it."""
        starts = range(0, len(self.seeds), GROUP)
        return [self.seeds[start : start + GROUP] for start in starts]

    def make_robot(self, pictures: bool = False) -> Robot:
        """Return a fresh robot of the task, with the cameras that the policy sees.

        pictures: it can render.
        """
        return make_robot(
            self.task,
            options=self.options,
            hz=self.hz,
            seconds=self.seconds,
            pictures=pictures,
            cameras=list(find_spec_of(self.policy).images),
        )

    def load_engine(self) -> Engine:
        """Return what computes the chunks; ProtocolError where a server has changed its policy."""
        engine = load_engine(self.policy, self.engine, self.sampler)
        if isinstance(engine, RemoteEngine) and engine.weights != self.weights:
            raise ProtocolError(f"{self.policy} serves another policy now: evaluate again")
        return engine

    def delay_runner(self, runner: Runner, robot: Robot) -> DelayedRunner:
        """Return the same Runner with answers that are late, as the job says."""
        tick = 1 / robot.spec.command_hz
        seconds = latencies(self.recorded) if self.recorded else self.delay * tick
        return DelayedRunner(runner, seconds, robot.clock, self.jitter * tick)
