"""Limits: whatever is commanded, what is sent keeps all of them, and what keeps them is sent as it
is.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fewstep.envs import Field, RobotError, Spec
from fewstep.envs.safety.limiter import Limiter
from fewstep.envs.safety.limits import Limits

DT = 0.02
JOINT = Field(
    (2,), "rad", low=(-1.0, -2.0), high=(1.0, 0.5), velocity=(1.0, 3.0), acceleration=(4.0, 30.0)
)
SPEC = Spec(
    {"joints": Field((2,), "rad"), "yaw": Field((1,), "rad", kind="angle")},
    {
        "joints": replace(JOINT, measured_by="joints"),
        "yaw": Field(
            (1,), "rad", kind="angle", measured_by="yaw", velocity=(2.0,), acceleration=(10.0,)
        ),
        "grip": Field((1,), kind="discrete", low=(0.0,), high=(1.0,)),
    },
    policy_hz=1 / DT,
)
SMOOTH = np.array([True, True, True, False])
START = np.array([0.1, 0.2, 3.0, 0.0])
LIMITS = Limits.of(SPEC)

numbers = st.one_of(st.floats(-3, 3), st.floats(allow_nan=True, allow_infinity=True), st.just(1e30))
commands = st.lists(
    st.one_of(st.none(), st.lists(numbers, min_size=4, max_size=4).map(np.array)), max_size=60
)


def limiter(at: np.ndarray = START) -> Limiter:
    made = Limiter(SPEC, LIMITS)
    made.start(at)
    return made


def turn(d: np.ndarray) -> np.ndarray:
    """Differences of setpoints, the yaw the short way round."""
    return np.where([False, False, True, False], (d + math.pi) % (2 * math.pi) - math.pi, d)


def check(sent: list[np.ndarray]) -> None:
    """Every limit, over a whole sequence that began at rest."""
    x = np.stack([sent[0], *sent])
    assert np.isfinite(x).all()
    assert (x >= LIMITS.low).all() and (x <= LIMITS.high).all()
    v = turn(np.diff(x, axis=0)) / DT
    assert (np.abs(v)[:, SMOOTH] <= LIMITS.velocity[SMOOTH] * (1 + 1e-9) + 1e-9).all()
    a = np.diff(v, axis=0) / DT
    assert (np.abs(a)[:, SMOOTH] <= LIMITS.acceleration[SMOOTH] * (1 + 1e-9) + 1e-6).all()


@settings(max_examples=300)
@given(commands)
@example([np.full(4, 1e30)] * 60)
@example([np.full(4, 9.0)] * 30 + [np.full(4, -9.0)] * 30)
def test_no_sequence_of_commands_exceeds_a_limit(sequence: list[np.ndarray | None]) -> None:
    made = limiter()
    check([START, *(made.next(c) for c in sequence)])


@settings(max_examples=300)
@given(commands, commands)
def test_nor_does_it_whatever_is_measured(
    sequence: list[np.ndarray | None], measured: list[np.ndarray | None]
) -> None:
    made = limiter()
    pairs = [(c, measured[i % len(measured)] if measured else None) for i, c in enumerate(sequence)]
    check([START, *(made.next(c, m) for c, m in pairs)])


@given(st.integers(0, 2**32))
def test_what_keeps_the_limits_is_sent_as_it_is(seed: int) -> None:
    rng, made, x, v = np.random.default_rng(seed), limiter(), START.copy(), np.zeros(4)
    for _ in range(50):
        v = np.where(SMOOTH, np.clip(v + rng.uniform(-0.9, 0.9, 4) * 4 * DT, -0.9, 0.9), 0)
        x = x + v * DT
        x[2], x[3] = (x[2] + math.pi) % (2 * math.pi) - math.pi, rng.integers(2)
        if (np.abs(x[:2] - [0, -0.75]) > [0.6, 0.8]).any():
            return  # too near an end stop to be sure of it
        np.testing.assert_allclose(turn(made.next(x, x) - x), 0, atol=1e-12)


def test_a_far_target_is_reached_in_time_and_without_overshoot() -> None:
    made, goal = limiter(), np.array([0.9, -1.9, -2.5, 1.0])
    path = np.stack([made.next(goal) for _ in range(150)])
    np.testing.assert_allclose(path[-1], goal, atol=1e-9)
    assert (path[:, 0] <= 0.9 + 1e-9).all() and (path[:, 1] >= -1.9 - 1e-9).all()
    assert path[-1, 2] == pytest.approx(-2.5) and np.abs(path[:, 2]).min() > 2.4, (
        "the short way round"
    )
    fastest = 0.8 / 1.0 + 1.0 / 4.0  # s: distance over velocity, and half of it again for each ramp
    assert np.flatnonzero(np.abs(path[:, 0] - 0.9) < 1e-6)[0] * DT < fastest + 3 * DT


def test_without_a_command_it_brakes_and_stays() -> None:
    made = limiter()
    for _ in range(20):
        made.next(np.array([5.0, 0.2, 3.0, 1.0]))
    path = np.stack([made.next(None) for _ in range(50)])
    assert (np.diff(path[:, 0]) >= -1e-12).all() and (path[20:] == path[-1]).all()
    assert path[-1, 3] == 1.0, "a gripper stays as it is"


def test_a_soft_start_is_slow_and_keeps_all_limits() -> None:
    made, goal = limiter(), np.array([0.9, -1.9, 2.0, 1.0])
    path = [START, *(made.next(goal, pace=min(1.0, k / 50)) for k in range(100))]
    check(path)
    speed = np.abs(np.diff(np.stack(path)[:, 1])) / DT
    assert (
        speed[:50] <= np.maximum(np.arange(50) / 50, 1e-3) * 3 + 1e-9
    ).all() and speed.max() > 1.5


def test_an_arm_that_is_held_fast_is_not_left_behind() -> None:
    made, stuck = limiter(), START.copy()
    path = np.stack([made.next(np.array([1.0, 0.5, 3.0, 0.0]), stuck) for _ in range(200)])
    assert np.abs(path[-1] - stuck)[0] == pytest.approx(LIMITS.max_following_error[0], abs=1e-6)


readings = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=40)


@settings(max_examples=200)
@given(readings)
@example([START[0] - 0.3] * 40)
@example([1e6] * 40)
def test_the_setpoint_never_goes_towards_a_measurement(measured: list[float]) -> None:
    made = limiter()
    held = [made.next(None, np.array([x, math.nan, math.nan, math.nan])) for x in measured]
    assert (np.stack(held) == START).all()
    wanting = [made.next(START, np.array([x, math.nan, math.nan, math.nan])) for x in measured]
    assert (np.stack(wanting) == START).all()


@pytest.mark.parametrize(
    ("at", "why"), [(5.0, r"outside its limits in elements \[0\]"), (math.nan, "is not known")]
)
def test_a_pose_outside_the_limits_is_no_place_to_start(at: float, why: str) -> None:
    with pytest.raises(RobotError, match=why):
        limiter(np.array([at, 0, 0, 0]))


@pytest.mark.parametrize("begin", [1.2, -1.24])
def test_from_just_outside_it_stays_until_commanded_and_comes_inside_within_all_limits(
    begin: float,
) -> None:
    start = np.array([begin, 0.2, 0.0, 0.0])
    made = limiter(start)
    assert all((made.next(None) == start).all() for _ in range(20)), "held, it does not move at all"
    path = np.stack(
        [start, start, *(made.next(np.array([9 * begin, 0.2, 0.0, 0.0])) for _ in range(100))]
    )
    v = np.diff(path[:, 0]) / DT
    assert (np.abs(v) <= LIMITS.velocity[0] + 1e-9).all() and (
        np.abs(np.diff(v)) <= LIMITS.acceleration[0] * DT + 1e-9
    ).all()
    assert (
        path[-1, 0] == pytest.approx(np.sign(begin))
        and (np.abs(np.diff(np.abs(path[:, 0]))) >= 0).all()
    )
    back = np.stack([made.next(np.array([9 * begin, 0.2, 0.0, 0.0])) for _ in range(20)])
    assert (np.abs(back[:, 0]) <= 1.0).all(), "once inside, it stays inside"


@given(st.lists(st.one_of(st.none(), st.floats(-3, 3)), max_size=40))
def test_differences_keep_their_bounds_and_hold_by_zero(sequence: list[float | None]) -> None:
    field = Field(
        (1,), "m", low=(-0.05,), high=(0.05,), velocity=(2.0,), acceleration=(40.0,), relative=True
    )
    spec = Spec({}, {"move": field}, policy_hz=1 / DT)
    made = Limiter(spec, Limits.of(spec))
    made.start(np.array([math.nan]))
    wanted = [None if x is None else np.array([x]) for x in sequence]
    sent = np.concatenate(
        [[0.0], *(made.next(x) for x in wanted), *(made.next(None) for _ in range(20))]
    )
    assert (np.abs(sent) <= 2.0 * DT + 1e-12).all()
    assert (np.abs(np.diff(sent)) <= 40.0 * DT**2 + 1e-12).all()
    assert sent[-1] == 0.0 and made.resting


def test_limits_are_the_tightest_of_spec_and_file() -> None:
    found = Limits.of(
        SPEC, {"joints": {"velocity": 0.5, "low": [-3, -1], "max_following_error": 0.1}}
    )
    assert found.velocity.tolist() == [0.5, 0.5, 2.0, np.inf]
    assert found.low.tolist() == [-1, -1, -np.inf, 0] and found.max_following_error.tolist()[
        :2
    ] == [0.1, 0.1]
    assert LIMITS.max_following_error.tolist()[:2] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("change", "table", "message"),
    [
        ({"velocity": ()}, {}, "'joints' has no limit on velocity"),
        ({"low": ()}, {}, "'joints' has no limit on low"),
        ({"measured_by": ""}, {}, "nothing measures action 'joints'"),
        ({}, {"elbow": {}}, "elbow, which are no actions; valid: grip, joints, yaw"),
        (
            {},
            {"joints": {"speed": 1}},
            "unknown speed; valid: acceleration, high, low, max_following_error, velocity",
        ),
        ({}, {"joints": {"velocity": -1}}, "velocity must be positive"),
        ({}, {"joints": {"low": 2}}, "nothing lies between"),
        (
            {},
            {"joints": {"low": math.nan}},
            "'joints': low must be a number, or 2 of them, not nan",
        ),
        (
            {},
            {"joints": {"velocity": "fast"}},
            "velocity must be a number, or 2 of them, not 'fast'",
        ),
        (
            {},
            {"joints": {"low": [1, 2, 3]}},
            r"low must be a number, or 2 of them, not \[1, 2, 3\]",
        ),
        ({}, {"joints": {"low": None}}, "low must be a number, or 2 of them, not None"),
        (
            {},
            {"joints": 3},
            "limits of 'joints' must be a table of acceleration, high, low, max_following_error, velocity, not 3",
        ),
    ],
)
def test_missing_and_impossible_limits_are_refused(change: dict, table: dict, message: str) -> None:
    actions = {**SPEC.actions, "joints": replace(SPEC.actions["joints"], **change)}
    spec = replace(SPEC, actions=actions)
    with pytest.raises(RobotError, match=message):
        Limits.of(spec, table)
    if "has no limit" in message:
        assert np.isinf(Limits.of(spec, unlimited=["joints"]).velocity[:2]).all() or change == {
            "low": ()
        }


def test_a_rotation_is_refused_unless_it_is_let_go() -> None:
    spec = Spec(
        {"pose": Field((4,), kind="quaternion")}, {"pose": Field((4,), kind="quaternion")}, 10
    )
    with pytest.raises(RobotError, match="a rotation, which cannot be bounded"):
        Limits.of(spec)
    assert Limits.of(spec, unlimited=["pose"]).low.shape == (4,)
    with pytest.raises(RobotError, match="unlimited=tool is no action; valid: pose"):
        Limits.of(spec, unlimited=["tool"])
