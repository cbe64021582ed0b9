"""Faults in MuJoCo.

Whatever goes wrong, the arm stays within its limits, comes to rest, and the log says why.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fewstep.envs import Command, Obs, run_episode
from fewstep.envs.agent import Agent, Request
from fewstep.envs.chunk import Chunk
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import State, WatchdogConfig
from fewstep.envs.sim.registry import make_expert, make_robot

SECONDS, TROUBLE = 4.0, 1.5  # s of an episode, and when its trouble begins


class Troubled:
    """A robot on which something goes wrong."""

    def __init__(self, trouble: Callable[[Obs, Obs], Obs]) -> None:
        self.robot: Any = make_robot("pickplace")
        self.spec, self.clock, self._trouble = self.robot.spec, self.robot.clock, trouble
        self.reset, self.command = self.robot.reset, self.robot.command
        self.outcome, self.close = self.robot.outcome, self.robot.close
        self._last: Obs | None = None

    def observe(self) -> Obs:
        obs = self.robot.observe()
        if obs.time - getattr(self, "start", obs.time) < TROUBLE:
            self.start, self._last = getattr(self, "start", obs.time), obs
            return obs
        assert self._last is not None
        return self._trouble(obs, self._last)


class Wrong:
    """An expert that loses its mind."""

    def __init__(self, wrong: Callable[[np.ndarray, int], np.ndarray | None]) -> None:
        self._expert, self._wrong = make_expert("pickplace"), wrong

    def reset(self, seed: int | None = None) -> None:
        self._expert.reset(seed)
        self._ticks = 0

    def act(self, obs: Obs) -> Command | None:
        command = self._expert.act(obs)
        assert command is not None and command.action is not None
        self._ticks += 1
        late = self._ticks > TROUBLE * 20
        return (
            replace(command, action=self._wrong(command.action, self._ticks)) if late else command
        )

    def sent(self, action: np.ndarray) -> None:
        self._expert.sent(action)


class Dead:
    """A Runner that answers once, then never."""

    def __init__(self, size: int) -> None:
        self._size, self._chunk, self.asked = size, None, 0

    def submit(self, request: Request) -> None:
        self.asked += 1
        if self.asked == 1:
            at = request.obs["joints"][-1]
            actions = np.concatenate([at + 0.02 * np.arange(16)[:, None], np.zeros((16, 1))], 1)
            self._chunk = Chunk(request.episode, request.time, 0.05, actions)

    def poll(self) -> Chunk | None:
        chunk, self._chunk = self._chunk, None
        return chunk

    def stalls(self) -> bool:
        return False


def live(robot: Any, actor: Any) -> tuple[SafeRobot, np.ndarray, list[str]]:
    """An episode, until the fault has come to rest; what was sent, and what was said."""
    said: list[str] = []
    safe = SafeRobot(
        robot,
        Limits.of(robot.spec),
        WatchdogConfig(ramp_seconds=0.0, action_seconds=0.5),
        said.append,
    )
    robot.reset(3)
    safe.reset(3)
    safe.go(State.HOLD)
    safe.go(State.ACTIVE)
    sent = [s.sent for s in run_episode(safe, actor, seed=3, max_seconds=SECONDS) if s]
    for _ in range(20):  # after its end the loop goes on holding
        robot.clock.wait_until(robot.clock.now() + 1 / robot.spec.command_hz)
        safe.observe()
        sent.append(safe.command(Command(None, "operator")))
    return safe, np.stack(sent).astype(float), said


def check(sent: np.ndarray, limits: Limits, hz: float = 20.0) -> None:
    """Every limit at every tick, and rest at the end."""
    assert np.isfinite(sent).all()
    assert (sent >= limits.low - 1e-6).all() and (sent <= limits.high + 1e-6).all()
    v = np.diff(sent, axis=0) * hz
    assert (np.abs(v) <= limits.velocity + 1e-3).all()
    assert (np.abs(np.diff(v, axis=0)) * hz <= limits.acceleration + 1e-2).all()
    assert np.ptp(sent[-5:], axis=0).max() < 1e-6


def raise_(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        pytest.param(lambda obs, last: last, "observation is 0.30 s old", id="dropped"),
        pytest.param(
            lambda obs, last: Obs(obs.time, last.data, last.stamps),
            "observation is 0.30 s old",
            id="frozen",
        ),
        pytest.param(
            lambda obs, last: replace(obs, stamps=dict.fromkeys(obs.stamps, obs.time - 0.6)),
            "is 0.60 s old",
            id="late",
        ),
        pytest.param(
            lambda obs, last: raise_(OSError("cable")), "observation is 0.30 s old", id="broken"
        ),
    ],
)
def test_observations_that_fail_end_in_a_hold(trouble: Callable[[Obs, Obs], Obs], why: str) -> None:
    robot = Troubled(trouble)
    safe, sent, said = live(robot, make_expert("pickplace"))
    check(sent, Limits.of(robot.spec))
    assert safe.state is State.FAULT and why in safe.why and any(why in text for text in said)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda a, k: np.full(7, np.nan), id="NaN"),
        pytest.param(lambda a, k: np.where(np.arange(7) == 3, np.inf, a), id="one infinite"),
        pytest.param(lambda a, k: a[:3], id="too short"),
        pytest.param(lambda a, k: None, id="none"),
    ],
)
def test_actions_that_are_none_end_in_a_hold(
    wrong: Callable[[np.ndarray, int], np.ndarray | None],
) -> None:
    robot = make_robot("pickplace")
    safe, sent, said = live(robot, Wrong(wrong))
    check(sent, Limits.of(robot.spec))
    assert (
        safe.state is State.FAULT
        and "no action for 0.5" in safe.why
        and any("no action" in text for text in said)
    )


@pytest.mark.parametrize("size", [1.0, 1e9, 1e300])
def test_huge_and_alternating_actions_move_the_arm_within_limits_only(size: float) -> None:
    robot = make_robot("pickplace")
    _, sent, _ = live(robot, Wrong(lambda a, k: a.astype(float) + size * (-1) ** k))
    check(sent, Limits.of(robot.spec))


def test_an_inference_that_never_answers_again_ends_in_a_hold() -> None:
    robot, runner = make_robot("pickplace"), Dead(7)
    agent = Agent(runner, robot.spec, observation_steps=2, action_steps=8, patience=0.8)
    safe, sent, _ = live(robot, agent)
    check(sent, Limits.of(robot.spec))
    assert safe.state is State.FAULT and "no action for" in safe.why and runner.asked > 1


def test_a_wall_clock_that_is_set_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from fewstep.envs import WallClock

    clock = WallClock()
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: -1e9)
    assert before <= clock.now() < before + 60 and math.isfinite(before)
