"""Calibration: one joint after the other moves a little, and the delays of a robot are found again."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.envs import Field, Obs, RobotError, Spec, Step, run_episode
from fewstep.envs.hardware.simulated_arm import SimulatedArm
from fewstep.envs.safety.calibration import GRID, PAUSE, SECONDS, Sweep, delay, delays, wave
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import State, WatchdogConfig

HAND = math.radians(2), 0.25  # m and m/s of the hand of an arm of 1 m, for a motion of one joint
SLACK = 1e-6  # of float32


class Seen(SimulatedArm):
    """An arm beside whose prompt joints a camera is late."""

    def __init__(self, camera: float, **options: Any) -> None:
        super().__init__(**options)
        self._camera, images = camera, {"camera": Field((2, 2, 3), kind="image")}
        self.spec = replace(self.spec, observations=images | dict(self.spec.observations))

    def observe(self) -> Obs:
        obs = super().observe()
        data = {"camera": np.zeros((2, 2, 3), np.uint8), **obs.data}
        return Obs(obs.time, data, {"camera": obs.time - self._camera, **obs.stamps})


def ticks_of(spec: Spec, steps: list[Step]) -> np.ndarray:
    """The part of the log that calibration reads."""
    n, streams = spec.action_size, list(spec.observations)
    ticks = np.zeros(
        len(steps),
        [
            ("time", "f8"),
            *((k, "f4", (n,)) for k in ("sent", "measured")),
            ("ages", "f4", (len(streams),)),
        ],
    )
    ticks["time"] = [s.obs.time for s in steps]
    ticks["sent"] = [s.sent for s in steps]
    ticks["measured"] = [s.obs.data["joints"] for s in steps]
    ticks["ages"] = [[s.obs.time - s.obs.stamps[key] for key in streams] for s in steps]
    return ticks


def calibrate(arm: SimulatedArm, limits: Limits | None = None) -> np.ndarray:
    """The ticks of a sweep within limits."""
    limits = limits or Limits.of(arm.spec)
    safe, sweep = (
        SafeRobot(arm, limits, WatchdogConfig(observation_seconds=1.0)),
        Sweep(arm.spec, limits),
    )
    safe.go(State.HOLD)
    safe.go(State.ACTIVE)
    steps = [s for s in run_episode(safe, sweep, seed=1, max_seconds=sweep.seconds) if s]
    assert safe.state is State.ACTIVE
    return ticks_of(arm.spec, steps)


def poses(sweep: Sweep, start: np.ndarray, hz: float = 200.0) -> np.ndarray:
    """Where a robot is told to be that does what it is told at once (T, A)."""
    sweep.reset()
    out = [start]
    sweep.act(Obs(0.0, {}, {}))
    sweep.sent(start)
    for k in range(1, round(sweep.seconds * hz) + 1):
        out.append(np.asarray(sweep.act(Obs(k / hz, {}, {})).action))
    return np.stack(out)


# The motion


def test_one_joint_after_the_other_moves_a_little_and_comes_back() -> None:
    arm = SimulatedArm(joints=3, hz=100.0, clock=FakeClock())
    ticks = calibrate(arm)
    away = np.abs(ticks["sent"] - ticks["sent"][0])
    assert (np.sort(away, axis=1)[:, :-1] <= SLACK).all(), "two joints move at once"
    assert away.max() <= HAND[0] + SLACK
    assert np.abs(np.diff(ticks["sent"], axis=0)).max() * 100 <= HAND[1] + 1e-3
    assert (np.ptp(ticks["sent"], axis=0) > 0.8 * HAND[0]).all(), "a joint was left out"
    np.testing.assert_array_equal(ticks["sent"][-1], ticks["sent"][0])
    assert ticks["time"][-1] - ticks["time"][0] == pytest.approx(
        PAUSE + 3 * (SECONDS + PAUSE), abs=0.02
    )


number = st.floats(0.01, 10.0)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(["rad", "m", "deg", "", "turns"]),
    st.lists(
        st.tuples(st.floats(-4, 4), number, number, number, number, st.floats(0, 1)),
        min_size=1,
        max_size=3,
    ),
)
def test_from_wherever_it_begins_it_keeps_half_the_limits_and_comes_back(
    unit: str, rows: list[tuple]
) -> None:
    low, span, velocity, acceleration, step, place = np.array(rows).T
    limits, n = Limits(low, low + span, velocity, acceleration, step), len(rows)
    spec = Spec({"q": Field((n,))}, {"q": Field((n,), unit, measured_by="q")}, 20)
    start, hz = low + place * span, 200.0
    path = poses(Sweep(spec, limits), start, hz)
    assert (path >= limits.low - 1e-9).all() and (path <= limits.high + 1e-9).all()
    speed = np.diff(path, axis=0) * hz
    assert (np.abs(speed).max(0) <= velocity / 2 * (1 + 1e-6)).all()
    assert (np.abs(np.diff(speed, axis=0)).max(0) * hz <= acceleration / 2 * (1 + 1e-3)).all()
    assert (np.abs(path - start).max(0) <= step / 2 + 1e-9).all()
    largest = {"rad": math.radians(2), "m": 0.01, "deg": 2.0}.get(unit, 0.01 * span)
    assert (np.abs(path - start).max(0) <= largest + 1e-9).all()
    np.testing.assert_allclose(path[-1], start, atol=1e-9)
    assert (np.ptp(path, axis=0) > 0).all(), "it can move away from an end stop"


def test_a_motion_begins_and_ends_at_rest() -> None:
    for side in (-1, 0, 1):
        ends = wave(np.array([0, 1e-6, SECONDS - 1e-6, SECONDS]), side)
        np.testing.assert_allclose(ends, 0, atol=1e-9)
        along = wave(np.linspace(0, SECONDS, 1000), side)
        assert 0.5 < np.abs(along).max() <= 1
        assert side == 0 or (side * along >= -1e-12).all()


def test_an_angle_at_a_full_turn_goes_on_within_it() -> None:
    spec = Spec({"q": Field((1,))}, {"q": Field((1,), kind="angle", measured_by="q")}, 20)
    path = poses(
        Sweep(spec, Limits.of(spec, {"q": {"velocity": 1, "acceleration": 9}})), np.array([3.14])
    )
    assert np.abs(path).max() <= math.pi
    assert np.ptp(np.unwrap(path, axis=0)) > HAND[0]


def test_what_cannot_be_calibrated_is_left_where_it_is_and_the_reason_said() -> None:
    actions = {
        "arm": Field((1,), "rad", measured_by="arm"),
        "wrist": Field((4,), kind="quaternion", measured_by="wrist"),
        "lamp": Field((1,), kind="discrete", measured_by="arm"),
        "move": Field((1,), "m", relative=True),
        "vacuum": Field((1,), "bar"),
        "wheel": Field((1,), "counts", measured_by="arm"),
        "bolt": Field((1,), "m", low=(1.0,), high=(1.0,), measured_by="arm"),
    }
    spec = Spec({"arm": Field((1,), "rad"), "wrist": Field((4,), kind="quaternion")}, actions, 20)
    limits = Limits(*(np.full(10, x) for x in (-np.inf, np.inf, np.inf, np.inf, np.inf)))
    limits.low[9] = limits.high[9] = 1.0
    sweep = Sweep(spec, limits)
    assert sweep.moved == ("arm",)
    assert sweep.seconds == 2 * PAUSE + SECONDS
    told = {name: reason for name, reason in sweep.skipped.items() if "wrist" not in name}
    assert told == {
        "lamp": "it is discrete, of which no part moves a little",
        "move": "it is a difference, which nothing measures",
        "vacuum": "nothing measures it",
        "wheel": "no motion is known to be small: it needs low and high, or one of the units deg, m, mm, rad",
        "bolt": "its limits leave no room",
    }
    assert sweep.skipped["wrist[2]"] == "it is a rotation, of which no part moves a little"
    assert np.ptp(poses(sweep, np.zeros(10)), axis=0)[1:].tolist() == [0] * 9


def test_where_nothing_can_be_moved_all_reasons_are_said() -> None:
    spec = Spec({"x": Field((1,))}, {"x": Field((1,), measured_by="x"), "y": Field((1,))}, 10)
    with pytest.raises(
        RobotError,
        match=r"nothing that calibration could move: x: .*low and high.*; y: nothing measures it",
    ):
        Sweep(spec, Limits.of(spec, unlimited=["x", "y"]))


# The delays


@pytest.mark.parametrize("hz", [50.0, 500.0])
@pytest.mark.parametrize(
    ("observing", "acting"), [(0.0, 0.0), (0.05, 0.1), (0.1, 0.033), (0.02, 0.4)]
)
def test_known_delays_are_recovered_within_half_a_tick(
    hz: float, observing: float, acting: float
) -> None:
    arm = SimulatedArm(
        joints=2, hz=hz, observing=observing, acting=acting, lag=0.0, clock=FakeClock()
    )
    found = delays(arm.spec, calibrate(arm))
    assert found.observation == {"joints": pytest.approx(observing, abs=0.5 / hz + 1e-6)}
    assert list(found.actuation) == ["joints[0]", "joints[1]"]
    for one in (*found.actuation.values(), found.median, found.worst):
        assert one == pytest.approx(acting, abs=0.5 / hz + GRID)


@pytest.mark.parametrize("camera", [0.08, 0.2])
@pytest.mark.parametrize("hz", [50.0, 500.0])
def test_a_late_camera_beside_prompt_joints_is_told_and_changes_nothing_else(
    camera: float, hz: float
) -> None:
    arm = Seen(camera, joints=1, hz=hz, observing=0.01, acting=0.1, lag=0.0, clock=FakeClock())
    found = delays(arm.spec, calibrate(arm))
    assert found.actuation == {"joints": pytest.approx(0.1, abs=0.5 / hz + GRID)}
    assert found.observation["camera"] == pytest.approx(camera, abs=1e-6)
    assert found.observation["joints"] == pytest.approx(0.01, abs=0.5 / hz + 1e-6)


def lagging(*lags: float, hz: float = 100.0) -> tuple[Spec, np.ndarray]:
    """The ticks of an arm each of whose joints does what it is told `lag` [s] later.

    Never where it is infinite.
    """
    arm = SimulatedArm(joints=len(lags), clock=FakeClock())
    sent = poses(Sweep(arm.spec, Limits.of(arm.spec)), np.linspace(-1, 1, len(lags)), hz)
    ticks = np.zeros(
        len(sent),
        [
            ("time", "f8"),
            *((k, "f4", sent.shape[1:]) for k in ("sent", "measured")),
            ("ages", "f4", (1,)),
        ],
    )
    ticks["time"], ticks["sent"] = np.arange(len(sent)) / hz, sent
    for k, lag in enumerate(lags):
        ticks["measured"][:, k] = (
            sent[0, k]
            if np.isinf(lag)
            else np.interp(ticks["time"] - lag, ticks["time"], sent[:, k])
        )
    return arm.spec, ticks


def test_joints_with_different_lags_have_a_median_and_a_worst() -> None:
    found = delays(*lagging(0.02, 0.05, 0.3))
    assert list(found.actuation.values()) == pytest.approx([0.02, 0.05, 0.3], abs=0.005 + GRID)
    assert found.median == found.actuation["joints[1]"]
    assert found.worst == found.actuation["joints[2]"]


def test_a_joint_that_is_stuck_is_named_and_the_others_are_measured() -> None:
    found = delays(*lagging(0.02, np.inf, 0.04))
    assert found.still == ("joints[1]",)
    assert list(found.actuation) == ["joints[0]", "joints[2]"]


def test_an_arm_that_does_not_follow_has_no_delay() -> None:
    spec, ticks = lagging(0.0, 0.0)
    for measured in (
        0.0,
        np.nan,
        np.random.default_rng(0).normal(size=ticks["measured"].shape),
        -ticks["sent"],
    ):
        ticks["measured"] = measured
        with pytest.raises(
            RobotError, match=r"does not follow what is sent \(joints\[0\], joints\[1\]\)"
        ):
            delays(spec, ticks)


def test_stamps_that_come_twice_or_late_are_told_apart_from_motion() -> None:
    spec, ticks = lagging(0.1, hz=500.0)
    fresh = np.arange(len(ticks)) // 10 * 10  # joints that are read at 50 Hz
    ticks["measured"], ticks["ages"][:, 0] = (
        ticks["measured"][fresh],
        (np.arange(len(ticks)) - fresh) / 500,
    )
    assert delays(spec, ticks).actuation["joints"] == pytest.approx(0.1, abs=0.01 + GRID)


def test_a_motion_that_was_broken_off_tells_no_delay() -> None:
    spec, ticks = lagging(0.0, 0.0)
    middle = round((PAUSE + SECONDS / 3) * 100)
    for n in (0, middle):
        with pytest.raises(RobotError, match="broken off"):
            delays(spec, ticks[:n])
    with pytest.raises(RobotError, match="which was nothing"):
        delays(spec, ticks[: round(PAUSE / 2 * 100)])
    time, x = np.arange(100) / 100, np.sin(np.arange(100.0))
    with pytest.raises(RobotError, match="broken off"):
        delay(time, x, time, x)


def test_only_what_is_sent_counts_and_not_what_was_wanted() -> None:
    spec = SimulatedArm(joints=2, clock=FakeClock()).spec
    slow = Limits.of(spec, {"joints": {"velocity": 0.02, "acceleration": 0.5}})
    arm = SimulatedArm(joints=2, hz=100.0, acting=0.15, lag=0.0, clock=FakeClock())
    ticks = calibrate(arm, slow)
    assert np.abs(np.diff(ticks["sent"], axis=0)).max() * 100 <= 0.01 + 1e-4
    assert delays(spec, ticks).median == pytest.approx(0.15, abs=0.005 + GRID)
