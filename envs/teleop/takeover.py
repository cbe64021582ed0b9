"""Takeover: a policy acts until an operator takes the robot, and again once it is given back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..agent import Agent
from ..loop import Actor
from ..robot import Command, Obs


class Takeover:
    """An Actor of two, of whom one has the robot at a time.

    The operator goes on from what was sent last. The policy sees what happens meanwhile, and plans
    anew once it has the robot again: until its answer is there the robot holds. That neither way is
    a jump is up to the limits behind it, which are continuous whoever acts.

    Args:
        policy: Has the robot at first.
        operator: Has it while `takes` says so.
        takes: Whether the operator wants the robot, given what is observed.
        on_change: Is told, in words, who has it from now on.
    """

    def __init__(
        self,
        policy: Agent,
        operator: Actor,
        takes: Callable[[Obs], bool],
        on_change: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._policy = policy
        self._operator = operator
        self._takes = takes
        self._on_change = on_change
        self._last: np.ndarray | None = None  # what was sent
        self._taken = False

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode, which is the policy's at first."""
        self._policy.reset(seed)
        self._operator.reset(seed)
        self._last = None
        self._taken = False

    def act(self, obs: Obs) -> Command | None:
        """Return the command of whoever has the robot."""
        taken = self._takes(obs)
        if taken != self._taken:
            self._taken = taken
            self._hand_over()
        if not taken:
            return self._policy.act(obs)
        self._policy.watch(obs)
        return self._operator.act(obs)

    def _hand_over(self) -> None:
        if self._taken:
            self._operator.reset()
            if self._last is not None:
                self._operator.sent(self._last)
            self._on_change("the operator has taken the robot")
        else:
            self._policy.plan_anew()
            self._on_change("the policy has the robot again")

    def sent(self, action: np.ndarray) -> None:
        """Tell both what went out."""
        self._last = np.array(action, float)
        self._policy.sent(action)
        self._operator.sent(action)
