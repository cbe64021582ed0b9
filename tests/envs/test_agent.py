from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
from fakes import FakeClock, Rail
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fewstep.envs import Command, Field, Obs, Spec, Step, run_episode
from fewstep.envs.agent import Agent, Request
from fewstep.envs.chunk import Chunk
from fewstep.envs.interpolation import interpolate
from fewstep.policy.serving.runners import DelayedRunner

FREE = Field((1,), "m")  # without bounds: actions are the times that they belong to
TIMES = Spec({"time": FREE}, {"time": FREE}, policy_hz=10)


class Oracle:
    """Answers at once; the action of a moment is that moment [s]."""

    def __init__(self, horizon: int = 8) -> None:
        self.horizon, self.asked, self.chunk = horizon, list[Request](), None

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        times = request.time + np.arange(self.horizon) / 10
        self.chunk = Chunk(request.episode, request.time, 0.1, times[:, None])

    def poll(self) -> Chunk | None:
        chunk, self.chunk = self.chunk, None
        return chunk

    def stalls(self) -> bool:
        return False


class Numbered(Oracle):
    """The n-th answer holds 100 n, 100 n + 1, ..."""

    def submit(self, request: Request) -> None:
        super().submit(request)
        self.chunk = replace(
            self.chunk, actions=100.0 * len(self.asked) + np.arange(self.horizon)[:, None]
        )


class Sleeper(Oracle):
    """Answers when it is woken, as a batch is flushed."""

    awake = False

    def poll(self) -> Chunk | None:
        return super().poll() if self.awake else None

    def stalls(self) -> bool:
        return self.chunk is not None and not self.awake


class Watch(Rail):
    """A robot that measures the time, and may be told anything."""

    def __init__(self, hz: float = 10.0, start: float = 0.0) -> None:
        super().__init__(FakeClock(start))
        self.spec = replace(TIMES, command_hz=hz)

    def observe(self) -> Obs:
        return at(self.clock.now())

    def command(self, command: Command) -> np.ndarray:
        return np.zeros(1) if command.action is None else command.action


def at(time: float) -> Obs:
    return Obs(time, {"time": np.array([time])}, {"time": time})


def agent_for(runner: Any, spec: Spec = TIMES, *, steps: int = 2, action_steps: int = 4) -> Agent:
    agent = Agent(runner, spec, observation_steps=steps, action_steps=action_steps)
    agent.reset(0)
    return agent


def live(
    robot: Watch, runner: Any, seconds: float, *, action_steps: int = 4, steps: int = 2
) -> list[Step]:
    agent = Agent(runner, robot.spec, observation_steps=steps, action_steps=action_steps)
    return [step for step in run_episode(robot, agent, seed=0, max_seconds=seconds) if step]


def wanted(step: Step) -> float | None:
    return None if step.intended.action is None else float(step.intended.action[0])


# History


def test_the_history_repeats_the_first_observation() -> None:
    oracle = Oracle()
    live(Watch(), oracle, 0.3, action_steps=1, steps=3)
    assert [r.obs["time"].ravel().tolist() for r in oracle.asked] == [
        pytest.approx([0, 0, 0]),
        pytest.approx([0, 0, 0.1]),
        pytest.approx([0, 0.1, 0.2]),
    ]


@pytest.mark.parametrize("hz", [10.0, 20.0, 50.0])
@pytest.mark.parametrize("start", [0.0, 1234.567])
def test_the_history_is_spaced_by_policy_hz_whatever_the_command_rate(
    hz: float, start: float
) -> None:
    oracle = Oracle()
    live(Watch(hz, start), oracle, 2.0, steps=4)
    for request in oracle.asked:
        wanted = np.maximum(start, request.time + np.arange(-3, 1) / 10)
        np.testing.assert_allclose(request.obs["time"].ravel(), wanted, atol=1e-9)


def test_the_history_is_picked_by_time_stamp_when_ticks_are_late() -> None:
    oracle = Oracle()
    agent = agent_for(oracle, replace(TIMES, command_hz=50.0), steps=3, action_steps=1)
    for time in (0.0, 0.02, 0.041, 0.09, 0.12, 0.161, 0.19, 0.25):
        agent.act(at(time))
    assert oracle.asked[-1].obs["time"].ravel().tolist() == [0.041, 0.161, 0.25]


def test_every_stream_has_a_history_of_its_own_stamps() -> None:
    spec = Spec(
        {"late": Field((1,)), "slow": Field((1,))}, {"a": FREE}, policy_hz=10, command_hz=50
    )
    oracle = Oracle()
    agent = agent_for(oracle, spec, steps=2, action_steps=1)
    for k in range(12):
        now = k / 50
        stamps = {
            "late": now - 0.08,
            "slow": k // 3 * 0.06,
        }  # one is always as late, one comes every third tick
        agent.act(Obs(now, {key: np.array([t]) for key, t in stamps.items()}, stamps))
    last = oracle.asked[-1]
    newest = {"late": last.time - 0.08, "slow": round(last.time * 50) // 3 * 0.06}
    assert last.obs["late"].ravel() == pytest.approx([newest["late"] - 0.1, newest["late"]])
    assert last.obs["slow"].ravel() == pytest.approx([newest["slow"] - 0.12, newest["slow"]])


def test_a_history_has_the_shape_of_the_spec_and_nothing_else() -> None:
    spec = Spec({"camera": Field((4, 4, 3), kind="image"), "joint": FREE}, {"a": FREE}, 10)
    data = {
        "camera": np.zeros((4, 4, 3), np.uint8),
        "joint": np.zeros(1, np.float32),
        "other": np.zeros(7),
    }
    oracle = Oracle()
    agent_for(oracle, spec, steps=3).act(Obs(0.0, data, {}))
    found = {k: (v.shape, v.dtype) for k, v in oracle.asked[0].obs.items()}
    assert found == {"camera": ((1, 4, 4, 3), np.uint8), "joint": ((3, 1), np.float32)}


class Counted(dict):
    """Measurements that count how often the camera is read."""

    read = 0

    def __getitem__(self, key: str) -> np.ndarray:
        self.read += key == "camera"
        return super().__getitem__(key)


@pytest.mark.parametrize(("pictures", "seen", "looked"), [(1, [4], 2), (2, [3, 4], 5)])
def test_only_pictures_that_are_asked_for_are_looked_at(
    pictures: int, seen: list[int], looked: int
) -> None:
    spec = Spec({"camera": Field((4, 4, 3), kind="image"), "joint": FREE}, {"a": FREE}, 10)
    oracle = Oracle()
    agent = Agent(oracle, spec, observation_steps=2, action_steps=4, pictures=pictures)
    agent.reset(0)
    ticks = []
    for k in range(5):
        picture = np.full((4, 4, 3), k, np.uint8)
        ticks.append(Counted(camera=picture, joint=np.zeros(1, np.float32)))
        agent.act(Obs(k / 10, ticks[-1], {}))
    assert [request.time for request in oracle.asked] == [0.0, 0.4]
    assert oracle.asked[-1].obs["camera"][:, 0, 0, 0].tolist() == seen
    assert sum(data.read for data in ticks) == looked


def test_a_driver_may_fill_the_same_array_again() -> None:
    oracle, buffer = Oracle(), np.zeros(1)
    agent = agent_for(oracle, action_steps=1)
    for time in (0.0, 0.1, 0.2):
        buffer[:] = time
        agent.act(Obs(time, {"time": buffer}, {}))
    assert oracle.asked[-1].obs["time"].ravel().tolist() == [0.1, 0.2]


def test_the_history_does_not_grow() -> None:
    agent = agent_for(Oracle(), replace(TIMES, command_hz=50.0), steps=2)
    for k in range(500):
        agent.act(at(k / 50))
    assert len(agent._history) <= 2 * 5 + 2


# Chunks


def test_action_0_belongs_to_the_tick_of_the_latest_observation() -> None:
    for step in live(Watch(), Oracle(), 3.0, steps=3):
        assert wanted(step) == pytest.approx(step.obs.time)


@pytest.mark.parametrize("hz", [10.0, 50.0])
@pytest.mark.parametrize("action_steps", [1, 3, 8])
def test_it_plans_again_every_action_steps(hz: float, action_steps: int) -> None:
    oracle = Oracle()
    live(Watch(hz), oracle, 4.8, action_steps=action_steps)
    assert [r.time for r in oracle.asked] == pytest.approx(np.arange(0, 48, action_steps) / 10)


def test_a_late_answer_begins_with_the_action_of_its_arrival() -> None:
    robot = Watch()
    steps = live(robot, DelayedRunner(Numbered(), 0.3, robot.clock), 1.6, action_steps=5)
    # Asked at ticks 0, 5 and 10, each answer is three ticks late: its actions 0, 1 and 2 are never
    # sent.
    first, second, third = (100 * n + np.arange(3, 8) for n in (1, 2, 3))
    assert [wanted(step) for step in steps] == [None] * 3 + [*first, *second, *third[:3]]


def test_the_old_chunk_goes_on_until_the_new_one_arrives_and_then_holds() -> None:
    robot = Watch()
    steps = live(robot, DelayedRunner(Numbered(), 0.6, robot.clock), 2.4, action_steps=4)
    # Asked at ticks 0, 6 and 12, as soon as the last answer is there: it has two actions left then.
    hold = [None] * 4
    assert [wanted(s) for s in steps] == [
        None,
        None,
        *hold,
        106,
        107,
        *hold,
        206,
        207,
        *hold,
        306,
        307,
        *hold,
    ]


@settings(max_examples=60)
@given(
    st.sampled_from([10.0, 20.0, 50.0]),
    st.integers(0, 30),
    st.integers(1, 8),
    st.integers(8, 12),
    st.sampled_from([0.0, 0.3, 98765.4]),
)
def test_no_action_is_sent_but_in_its_own_time(
    hz: float, delay: int, action_steps: int, horizon: int, start: float
) -> None:
    robot, oracle = Watch(hz, start), Oracle(horizon)
    steps = live(
        robot, DelayedRunner(oracle, delay / hz, robot.clock), 6.0, action_steps=action_steps
    )
    for step in steps:
        now = step.obs.time
        arrived = [r.time for r in oracle.asked if r.time + delay / hz <= now + 1e-9]
        over = not arrived or now >= arrived[-1] + horizon / 10 - 1e-6
        expected = None if over else pytest.approx(min(now, arrived[-1] + (horizon - 1) / 10))
        assert wanted(step) == expected


def test_a_chunk_that_is_over_is_not_gone_on_with() -> None:
    chunk = Chunk(0, 1.0, 0.1, np.arange(3.0)[:, None])
    spec = TIMES
    assert [chunk.at(t, spec) for t in (1.0, 1.1, 1.2, 1.25)] == pytest.approx([0, 1, 2, 2])
    assert chunk.at(1.3, spec) is None
    assert chunk.at(0.9, spec) == 0, "before its time the first action waits"


def test_a_chunk_of_another_episode_is_dropped() -> None:
    sleeper = Sleeper()
    agent = agent_for(sleeper)
    agent.act(at(0.0))
    old = sleeper.chunk
    agent.reset(1)
    agent.act(at(5.0))
    new, sleeper.chunk, sleeper.awake = sleeper.chunk, old, True
    assert agent.act(at(5.0)) is None or agent.chunk is None
    sleeper.chunk = new
    command = agent.act(at(5.0))
    assert command
    assert command.action == 5.0


def test_a_new_episode_begins_without_history_or_plan() -> None:
    oracle = Oracle()
    agent = agent_for(oracle)
    for k in range(3):
        agent.act(at(k / 10))
    agent.reset(0)
    assert agent.chunk is None
    agent.act(at(0.3))
    assert oracle.asked[-1].obs["time"].tolist() == [[0.3], [0.3]]
    assert [r.episode for r in oracle.asked] == [0, 1]


# Waiting


def test_it_asks_once_and_waits_where_time_can_stand_still() -> None:
    sleeper = Sleeper()
    agent = agent_for(sleeper)
    assert [agent.act(at(0.0)) for _ in range(3)] == [None] * 3
    sleeper.awake = True
    commands = [agent.act(at(0.0)) for _ in range(3)]
    assert [c and c.action for c in commands] == [0.0] * 3
    assert len(sleeper.asked) == 1
    assert len(agent._history) == 1


def test_it_holds_where_time_goes_on() -> None:
    sleeper = Sleeper()
    sleeper.stalls = lambda: False
    agent = agent_for(sleeper)
    commands = [agent.act(at(k / 10)) for k in range(3)]
    assert commands == [Command(None, "policy")] * 3
    assert len(sleeper.asked) == 1


# Noise


def seeds_of(
    seed: int | None, action_steps: int, spec: Spec = TIMES, episodes: int = 1
) -> list[int]:
    oracle = Oracle()
    agent = Agent(oracle, spec, observation_steps=2, action_steps=action_steps)
    for _ in range(episodes):
        oracle.asked.clear()
        agent.reset(seed)
        for k in range(40):
            agent.act(at(k / spec.command_hz))
    return [r.seed for r in oracle.asked]


def test_noise_depends_on_the_episode_seed_and_the_request_index_only() -> None:
    usual = seeds_of(7, 4)
    assert len(set(usual)) == 10
    assert seeds_of(7, 4, episodes=3) == usual
    assert seeds_of(7, 8) == usual[:5]
    assert seeds_of(7, 4, replace(TIMES, command_hz=20.0)) == usual[:5]
    assert not set(seeds_of(8, 4)) & set(usual)
    assert all(0 <= seed < 2**63 for seed in usual)


def test_without_a_seed_every_episode_has_noise_of_its_own() -> None:
    assert not set(seeds_of(None, 4)) & set(seeds_of(None, 4))


# Interpolation

MIXED = Spec(
    {},
    {
        "height": FREE,
        "yaw": Field((2,), "rad", kind="angle"),
        "rotation": Field((4,), kind="quaternion"),
        "grip": Field((1,), kind="discrete"),
    },
    10,
)


def turn(angle: float) -> list[float]:
    return [np.cos(angle / 2), 0, 0, np.sin(angle / 2)]


def action(
    height: float, yaw: tuple[float, float], rotation: list[float], grip: float
) -> np.ndarray:
    return np.array([height, *yaw, *rotation, grip])


def test_each_kind_goes_its_own_way_between_two_actions() -> None:
    a = action(1.0, (3.0, 0.1), turn(0.0), 0.0)
    b = action(2.0, (-3.0, 0.3), turn(0.8), 1.0)
    half = interpolate(MIXED, a, b, 0.5)
    assert half[0] == 1.5
    assert np.cos(half[1] - np.pi) == pytest.approx(1), "the short way round"
    assert half[2] == pytest.approx(0.2)
    np.testing.assert_allclose(half[3:7], turn(0.4), atol=1e-12)
    assert half[7] == 0.0, "held until the next action's own time"


@given(st.floats(-np.pi, np.pi), st.floats(-np.pi, np.pi), st.floats(0, 1))
@example(3.0, -1.0, 0.5)
@example(-3.0, 1.0, 0.5)
def test_angles_move_evenly_and_stay_within_one_turn(x: float, y: float, weight: float) -> None:
    a, b = action(0, (x, 0), turn(0), 0), action(0, (y, 0), turn(0), 0)
    z = interpolate(MIXED, a, b, weight)[1]
    whole = np.angle(np.exp(1j * (y - x)))
    gone = np.angle(np.exp(1j * (z - x)))
    if abs(whole) < np.pi - 1e-6:
        assert gone == pytest.approx(weight * whole, abs=1e-9)
    assert -np.pi - 1e-9 <= z <= np.pi + 1e-9


unit = (
    st.lists(st.floats(-1, 1), min_size=4, max_size=4)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
)


@given(unit, unit, st.floats(0, 1))
def test_rotations_stay_rotations_and_a_sign_means_nothing(
    p: np.ndarray, q: np.ndarray, weight: float
) -> None:
    p, q = p / np.linalg.norm(p), q / np.linalg.norm(q)
    if abs(p @ q) < 1e-6:
        return  # as far apart as rotations can be: either way is right
    between = [
        interpolate(MIXED, action(0, (0, 0), [*p], 0), action(0, (0, 0), [*r], 0), weight)[3:7]
        for r in (q, -q)
    ]
    assert np.linalg.norm(between[0]) == pytest.approx(1)
    np.testing.assert_allclose(between[0], between[1], atol=1e-9)
    assert abs(between[0] @ p) >= abs(q @ p) - 1e-9, "further from p than q is"


@given(st.integers(0, 7), st.sampled_from([0.0, 12.34, 5000.1]))
def test_at_its_own_time_an_action_is_sent_as_it_is(k: int, start: float) -> None:
    rng = np.random.default_rng(k)
    actions = np.stack(
        [action(*rng.normal(size=1), rng.normal(size=2), turn(rng.normal()), i) for i in range(8)]
    )
    sent = Chunk(0, start, 0.1, actions).at(start + k / 10, MIXED)
    np.testing.assert_allclose(sent, actions[k], atol=1e-9)


def test_interpolation_leaves_the_chunk_alone() -> None:
    chunk = Chunk(0, 0.0, 0.1, np.arange(4.0)[:, None])
    for time in (0.0, 0.05, 0.3, 0.35):
        sent: Any = chunk.at(time, TIMES)
        sent += 100
    assert chunk.actions.ravel().tolist() == [0, 1, 2, 3]


# Promises


class Keeper(Numbered):
    """Its chunks begin with the prefix, then count on."""

    def submit(self, request: Request) -> None:
        super().submit(request)
        self.chunk.actions[: len(request.prefix)] = request.prefix  # pyright: ignore


@pytest.mark.parametrize("hz", [10.0, 25.0])
@pytest.mark.parametrize("delay", [0, 1, 3])
def test_what_is_promised_is_what_is_sent_until_the_answer_comes(delay: int, hz: float) -> None:
    keeper, robot = Keeper(12), Watch(hz)
    agent = Agent(
        DelayedRunner(keeper, delay / 10, robot.clock),
        robot.spec,
        observation_steps=2,
        action_steps=5,
        prefix_length=6,
    )
    sent = {
        round(s.obs.time, 6): wanted(s)
        for s in run_episode(robot, agent, seed=0, max_seconds=6.0)
        if s
    }
    for request in keeper.asked[
        2:
    ]:  # the first has no chunk to promise from, and the delay is known after it
        assert len(request.prefix) == ceil(
            ceil(delay * hz / 10 - 1e-6) * 10 / hz - 1e-6
        )  # until the tick after it
        for k, prefix in enumerate(request.prefix[:, 0]):
            if (time := round(request.time + k / 10, 6)) in sent:
                assert sent[time] == pytest.approx(prefix)


def test_no_more_is_promised_than_the_network_takes_and_the_chunk_holds() -> None:
    for horizon, prefix_length, most in ((12, 2, 2), (6, 6, 1)):
        keeper, robot = Keeper(horizon), Watch()
        agent = Agent(
            DelayedRunner(keeper, 0.4, robot.clock),
            TIMES,
            observation_steps=2,
            action_steps=5,
            prefix_length=prefix_length,
        )
        assert list(run_episode(robot, agent, seed=0, max_seconds=6.0))
        assert max(len(r.prefix) for r in keeper.asked) == most
        assert not len(keeper.asked[0].prefix)


def test_one_that_waits_holds_still_and_then_begins_the_chunk_at_its_start() -> None:
    robot = Watch()
    agent = Agent(
        DelayedRunner(Numbered(), 0.3, robot.clock),
        TIMES,
        observation_steps=2,
        action_steps=4,
        wait=True,
    )
    steps = [s for s in run_episode(robot, agent, seed=0, max_seconds=1.5) if s]
    held = [None] * 3
    assert [wanted(s) for s in steps] == [
        *held,
        100,
        101,
        102,
        103,
        *held,
        200,
        201,
        202,
        203,
        *held[:1],
    ]


def test_an_answer_that_never_comes_is_asked_for_again() -> None:
    oracle = Sleeper()
    agent = Agent(oracle, TIMES, observation_steps=2, action_steps=4, patience=0.45)
    agent.reset(0)
    oracle.stalls = lambda: False
    for k in range(12):
        agent.act(at(k / 10))
    assert [r.time for r in oracle.asked] == pytest.approx([0.0, 0.5, 1.0])
    assert len({r.seed for r in oracle.asked}) == 3


@pytest.mark.parametrize("actuation_delay", [0.0, 0.1, 0.25])
def test_an_action_is_sent_as_much_early_as_it_takes_to_act(actuation_delay: float) -> None:
    robot = Watch(20.0)
    agent = Agent(
        Oracle(12), robot.spec, observation_steps=2, action_steps=4, actuation_delay=actuation_delay
    )
    for step in run_episode(robot, agent, seed=0, max_seconds=2.0):
        assert step is not None and wanted(step) == pytest.approx(step.obs.time + actuation_delay)


def test_what_is_sent_early_is_promised_at_its_own_time() -> None:
    """With a lead, more of the next chunk is decided already, and nothing of it is shifted."""
    oracle, robot = Oracle(12), Watch()
    runner = DelayedRunner(oracle, 0.2, robot.clock)
    agent = Agent(
        runner, TIMES, observation_steps=2, action_steps=4, prefix_length=8, actuation_delay=0.1
    )
    assert list(run_episode(robot, agent, seed=0, max_seconds=4.0))
    for request in oracle.asked[1:]:
        assert request.prefix[:, 0] == pytest.approx(request.time + np.arange(3) / 10)


def test_a_request_is_of_the_moment_of_the_last_picture_of_all_cameras() -> None:
    asked: list[Request] = []

    class Asked:
        def submit(self, request: Request) -> None:
            asked.append(request)

        def poll(self) -> None:
            return None

        def stalls(self) -> bool:
            return False

    spec = Spec({"x": Field((1,))}, {"x": Field((1,), measured_by="x")}, 10.0, 100.0)
    agent = Agent(Asked(), spec, observation_steps=2, action_steps=4, cameras=("front", "wrist"))
    agent.reset(0)
    for k in range(40):
        now = 1.0 + k / 100
        stamps = {"x": now, "front": now - 0.05, "wrist": now - 0.07}
        if k < 39:
            agent._remember(Obs(now, {"x": np.array([now])}, stamps))
        else:
            agent.act(Obs(now, {"x": np.array([now])}, stamps))
    assert asked[0].time == pytest.approx(1.39 - 0.07)
    assert asked[0].obs["x"][:, 0] == pytest.approx([1.39 - 0.17, 1.39 - 0.07])
