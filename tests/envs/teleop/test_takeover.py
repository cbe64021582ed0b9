"""An operator takes the robot from its policy and gives it back, at any moment, without a jump."""

from dataclasses import replace

import numpy as np
from fakes import RAIL, FakeClock, Rail
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs import Command, Obs
from fewstep.envs.agent import Agent, Request
from fewstep.envs.chunk import Chunk
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import State, WatchdogConfig
from fewstep.envs.teleop.takeover import Takeover

HZ, VELOCITY, ACCELERATION = 50.0, 1.0, 5.0
SPEC = replace(
    RAIL,
    actions={
        "position": replace(
            RAIL.actions["position"], velocity=(VELOCITY,), acceleration=(ACCELERATION,)
        )
    },
    command_hz=HZ,
)
ROUNDING = 1e-9


class FastRail(Rail):
    """A rail with limits, which remembers what it was told before any rounding."""

    spec = SPEC

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.told: list[float] = []

    def command(self, command: Command) -> np.ndarray:
        self.told += [] if command.action is None else [float(command.action[0])]
        return super().command(command)


class Answering:
    """A Runner that answers each request some polls later, with what `plan` says."""

    def __init__(self, plan, late: int = 0) -> None:
        self.requests: list[Request] = []
        self._plan, self._late, self._waiting = plan, late, []

    def submit(self, request: Request) -> None:
        self.requests.append(request)
        self._waiting.append([self._late, request])

    def poll(self) -> Chunk | None:
        for entry in self._waiting:
            entry[0] -= 1
        if not self._waiting or self._waiting[0][0] >= 0:
            return None
        request = self._waiting.pop(0)[1]
        actions = self._plan(len(self.requests), request)
        return Chunk(request.episode, request.time, 1 / SPEC.policy_hz, actions)

    def stalls(self) -> bool:
        return False


class Hand:
    """An operator who wants the robot at `place`."""

    def __init__(self) -> None:
        self.place = 0.0
        self.heard: list[float] = []

    def reset(self, seed: int | None = None) -> None:
        self.heard = []

    def act(self, obs: Obs) -> Command:
        return Command(np.array([self.place]), "operator")

    def sent(self, action: np.ndarray) -> None:
        self.heard.append(float(action[0]))


class Cell:
    """A safe rail with a policy and an operator, one tick at a time."""

    def __init__(self, plan, late: int = 0) -> None:
        self.taken, self.said = False, []
        self.runner = Answering(plan, late)
        self.hand = Hand()
        agent = Agent(self.runner, SPEC, observation_steps=2, action_steps=4)
        self.actor = Takeover(agent, self.hand, lambda obs: self.taken, self.said.append)
        self.robot = FastRail()
        self.robot.reset(1)
        patient = WatchdogConfig(action_seconds=1e9, ramp_seconds=0.0)
        self.safe = SafeRobot(self.robot, Limits.of(SPEC), patient)
        self.safe.reset(1)
        self.actor.reset(1)
        self.safe.go(State.HOLD)
        self.safe.go(State.ACTIVE)
        self.tick()

    def tick(self) -> tuple[str, float]:
        """Return who acts, and what is sent."""
        self.robot.clock.wait_until(self.robot.clock.now() + 1 / HZ)
        command = self.actor.act(self.safe.observe())
        assert command is not None
        sent = self.safe.command(command)
        self.actor.sent(sent)
        return command.source, float(sent[0])


places = st.floats(-3, 3)


@given(
    st.lists(st.tuples(st.booleans(), places, st.integers(3, 25)), min_size=1, max_size=8),
    st.lists(places, min_size=8, max_size=8),
    st.integers(0, 6),
)
def test_whoever_acts_position_and_velocity_are_continuous(
    hands: list[tuple[bool, float, int]], plans: list[float], late: int
) -> None:
    cell = Cell(lambda count, request: np.full((8, 1), plans[count % len(plans)]), late)
    for cell.taken, cell.hand.place, count in hands:
        for _ in range(count):
            assert cell.tick()[0] == ("operator" if cell.taken else "policy")
    velocity = np.diff(cell.robot.told) * HZ
    assert np.abs(cell.robot.told).max() <= 1 + ROUNDING
    assert np.abs(velocity).max() <= VELOCITY + ROUNDING
    assert np.abs(np.diff(velocity)).max() <= ACCELERATION / HZ + ROUNDING


def test_the_operator_goes_on_from_what_was_sent_and_the_policy_plans_from_what_it_saw() -> None:
    cell = Cell(lambda count, request: np.full((8, 1), 0.5))
    for _ in range(40):
        policys_last = cell.tick()[1]
    asked = len(cell.runner.requests)
    cell.taken, cell.hand.place = True, -0.5
    cell.tick()
    assert cell.hand.heard[0] == policys_last
    for _ in range(80):
        place = cell.tick()[1]
    assert place == -0.5 and len(cell.runner.requests) == asked, "nobody asks a policy that waits"
    cell.taken = False
    cell.tick()
    request = cell.runner.requests[asked]
    assert request.obs["position"][:, 0].tolist() == [-0.5, -0.5], "it has seen the operator act"
    assert len(request.prefix) == 0, "what it had planned before is forgotten"
    assert cell.said == ["the operator has taken the robot", "the policy has the robot again"]


def test_an_answer_from_before_the_takeover_is_not_played_after_it() -> None:
    plans = {1: 0.9, 2: -0.9}
    cell = Cell(lambda count, request: np.full((8, 1), plans[min(count, 2)]), late=3)
    cell.taken, cell.hand.place = True, 0.0
    for _ in range(10):
        cell.tick()
    cell.taken = False
    before = cell.tick()[1]
    after = [cell.tick()[1] for _ in range(20)]
    assert min(after) < before and max(after) <= before + ROUNDING
