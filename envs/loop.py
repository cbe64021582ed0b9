"""THE control loop.

Recording, evaluation and deployment differ only in who acts and whose clock ticks.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from .clock import ticks
from .robot import Command, Obs, Robot, Step


class Actor(Protocol):
    """Whoever decides: a scripted expert, a teleoperator, an Agent with a policy."""

    def reset(self, seed: int | None = None) -> None:
        """Forget the last episode; all randomness of the next one comes from `seed`."""
        ...

    def act(self, obs: Obs) -> Command | None:
        """The command of this tick.

        None where the answer is not there yet and time must not go on without it.
        """
        ...

    def sent(self, action: np.ndarray) -> None:
        """Hear what really went out, (A,): limits may have changed it."""
        ...


def run_episode(
    robot: Robot,
    actor: Actor,
    *,
    seed: int | None = None,
    max_seconds: float,
    grid: Iterator[float] | None = None,
) -> Iterator[Step | None]:
    """Run one episode, yielding a Step a tick until it is over.

    The robot reports an outcome, or its time has passed; after the last Step, `robot.outcome()`
    says how it ended. Yields None while the actor waits for an answer that the caller has to bring
    about (a batch of many episodes' requests): resume the generator once it is there.

    Args:
        robot: What moves.
        actor: Who decides.
        seed: Of the start state, and of the actor.
        max_seconds: Of the episode [s, robot's clock].
        grid: Ticks that go on before and after the episode, by default some of its own; nothing is
            sent on that which ends it.
    """
    robot.reset(seed)
    actor.reset(seed)
    end = robot.clock.now() + max_seconds - 0.5 / robot.spec.command_hz
    for lateness in grid or ticks(robot.clock, robot.spec.command_hz, max_seconds):
        if robot.outcome() is not None or (grid and robot.clock.now() >= end):
            return
        obs = robot.observe()
        command = actor.act(obs)
        while command is None:
            yield None
            command = actor.act(obs)
        sent = robot.command(command)
        actor.sent(sent)
        yield Step(obs, command, sent, lateness)
