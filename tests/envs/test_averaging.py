"""Chunks that agree are averaged; those that do not take over alone."""

from dataclasses import replace

import numpy as np
import pytest

from fewstep.envs import ConfigError, Field, Spec
from fewstep.envs.agent import Agent, Request
from fewstep.envs.averaging import FADING, Averaging, require_agreement
from fewstep.envs.chunk import Chunk
from fewstep.envs.robot import Obs

LINE = Spec({"x": Field((1,))}, {"x": Field((1,), low=(0.0,), high=(100.0,))}, policy_hz=10)
TURN = Spec({"x": Field((1,))}, {"yaw": Field((1,), "rad", kind="angle")}, policy_hz=10)


def chunk(time: float, *actions: float) -> Chunk:
    return Chunk(0, time, 0.1, np.array(actions, float)[:, None])


def plan(spec: Spec, agreement: float, *chunks: Chunk) -> list[float]:
    averaging = Averaging(spec, agreement)
    return [averaging.join(each) for each in chunks][-1].actions[:, 0].tolist()


def test_a_plan_is_the_mean_of_all_chunks_that_have_the_moment_the_older_the_less() -> None:
    first, second, third = chunk(0.0, 10, 10, 10, 10), chunk(0.1, 12, 12, 12, 12), chunk(0.3, 9, 9)
    once, thrice = FADING, FADING**3
    assert plan(LINE, 0.05, first, second) == pytest.approx(
        [(12 + 10 * once) / (1 + once)] * 3 + [12]
    )
    assert plan(LINE, 0.05, first, second, third) == pytest.approx(
        [
            (9 + 12 * FADING**2 + 10 * thrice) / (1 + FADING**2 + thrice),
            (9 + 12 * FADING**2) / (1 + FADING**2),
        ]
    )


def test_of_two_ways_around_an_obstacle_only_the_newest_one_counts() -> None:
    left, right = chunk(0.0, 50, 30, 20, 20), chunk(0.1, 70, 80, 80, 80)
    assert plan(LINE, 0.05, left, right) == [70, 80, 80, 80]
    back = chunk(0.2, 20, 20, 10, 10)
    assert plan(LINE, 0.05, left, right, back) == pytest.approx([20, 20, 10, 10])
    other = chunk(0.2, 24, 24, 10, 10)
    twice = FADING**2
    mixed = (24 + 20 * twice) / (1 + twice)
    assert plan(LINE, 0.05, left, right, other) == pytest.approx([mixed, mixed, 10, 10])


def test_chunks_begun_between_two_actions_are_compared_at_the_same_moments() -> None:
    rising, later = chunk(0.0, 0, 2, 4, 6), chunk(0.05, 1, 3, 5, 7)
    assert plan(LINE, 0.05, rising, later) == [1, 3, 5, 7]  # past 6 nothing was planned
    relative = replace(LINE.actions["x"], relative=True)
    steps = replace(LINE, actions={"x": relative})
    same, alike = chunk(0.0, 3, 3, 3, 3), chunk(0.25, 3, 3)
    assert plan(steps, 0.01, same, alike) == pytest.approx([3, 3])


def test_angles_are_averaged_the_short_way_round() -> None:
    joined = plan(TURN, 0.05, chunk(0.0, 0, 3.1, 3.1), chunk(0.1, -3.1, -3.1))
    assert np.cos(joined) == pytest.approx([-1, -1], abs=1e-3)


def test_discrete_actions_are_those_of_the_newer_and_rotations_stay_rotations() -> None:
    spec = Spec(
        {"x": Field((1,))},
        {"rotation": Field((4,), kind="quaternion"), "grip": Field((1,), kind="discrete")},
        policy_hz=10,
    )
    closed = np.array([[1.0, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1]])
    turned = np.array([[-np.cos(0.05), 0, 0, -np.sin(0.05), 0]] * 3)
    averaging = Averaging(spec, 0.05)
    averaging.join(Chunk(0, 0.0, 0.1, closed))
    joined = averaging.join(Chunk(0, 0.1, 0.1, turned)).actions
    assert joined[:, 4].tolist() == [0, 0, 0]
    assert np.linalg.norm(joined[:, :4], axis=1) == pytest.approx([1, 1, 1])
    assert np.abs(joined[0, 3]) == pytest.approx(np.sin(0.05) / (1 + FADING), rel=0.01)


def test_differences_are_averaged_too() -> None:
    relative = replace(LINE.actions["x"], relative=True)
    spec = replace(LINE, actions={"x": relative})
    first, second = chunk(0.0, 1, 2, 3), chunk(0.1, 3, 3, 3)
    once = FADING
    expected = [(3 + 2 * once) / (1 + once), 3, 3]
    assert plan(spec, 0.05, first, second) == pytest.approx(expected)


class Answers:
    """Answers each request at once, with the next of its chunks."""

    def __init__(self, *actions: float) -> None:
        self.actions, self.chunk = list(actions), None

    def submit(self, request: Request) -> None:
        self.chunk = Chunk(request.episode, request.time, 0.1, np.full((4, 1), self.actions.pop(0)))

    def poll(self) -> Chunk | None:
        answer, self.chunk = self.chunk, None
        return answer

    def stalls(self) -> bool:
        return False


def sent(agent: Agent, time: float) -> float:
    command = agent.act(Obs(time, {"x": np.zeros(1)}, {}))
    assert command is not None and command.action is not None
    return float(command.action[0])


def test_an_agent_averages_and_forgets_what_was_planned_when_it_begins_anew() -> None:
    agent = Agent(
        Answers(10.0, 12.0, 10.0, 12.0, 10.0),
        LINE,
        observation_steps=1,
        action_steps=1,
        agreement=0.05,
    )
    mean = pytest.approx((12 + 10 * FADING) / (1 + FADING))
    agent.reset(0)
    assert sent(agent, 0.0) == 10 and sent(agent, 0.1) == mean
    agent.plan_anew()
    assert sent(agent, 0.2) == 10 and sent(agent, 0.3) == mean
    agent.reset(0)
    assert sent(agent, 0.0) == 10


@pytest.mark.parametrize(
    "agreement, action, message",
    [
        (-0.1, Field((1,), low=(0.0,), high=(1.0,)), "share from 0 to 1, not -0.1"),
        (5, Field((1,), low=(0.0,), high=(1.0,)), "from 0 to 1, not 5"),
        (float("nan"), Field((1,), low=(0.0,), high=(1.0,)), "agreement must be a share"),
        (
            0.05,
            Field((1,), "m"),
            "give grip a low and a high with `fewstep spec`, or set model.agreement=0",
        ),
        (0.05, Field((1,), low=(0.0,), high=(float("inf"),)), "give grip a low and a high"),
        (0.05, Field((1,), kind="discrete"), "nothing to compare"),
    ],
)
def test_an_agreement_that_cannot_be_is_refused(
    agreement: float, action: Field, message: str
) -> None:
    spec = replace(LINE, actions={"grip": action})
    with pytest.raises(ConfigError, match=message):
        require_agreement(agreement, spec)
    with pytest.raises(ConfigError, match=message):
        Averaging(spec, agreement)
