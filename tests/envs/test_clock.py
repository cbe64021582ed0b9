from itertools import pairwise

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs import WallClock, ticks

rates = st.sampled_from([1.0, 10.0, 20.0, 30.0, 50.0, 100.0, 125.0, 1000.0]) | st.floats(1, 1000)
starts = st.sampled_from([0.0, 0.1, 1234.567]) | st.floats(0, 1e5)


def test_the_wall_clock_reaches_its_deadline_and_never_goes_back() -> None:
    clock = WallClock()
    deadline = clock.now() + 0.02
    clock.wait_until(deadline)
    late = clock.now()
    assert late >= deadline
    clock.wait_until(deadline - 1000)
    assert late <= clock.now() < late + 100


@given(starts, rates, st.integers(0, 50))
def test_a_duration_has_its_exact_number_of_ticks_and_the_last_one_ends(
    start: float, hz: float, n: int
) -> None:
    clock = FakeClock(start)
    assert len(list(ticks(clock, hz, n / hz))) == n
    assert clock.now() == pytest.approx(start + n / hz, abs=1e-9)


@given(starts, rates, st.floats(0, 0.45), st.lists(st.floats(0, 0.45), min_size=20, max_size=20))
def test_lateness_never_accumulates(
    start: float, hz: float, oversleep: float, work: list[float]
) -> None:
    clock = FakeClock(start, oversleep / hz)
    for k, (lateness, busy) in enumerate(zip(ticks(clock, hz), work, strict=False)):
        assert clock.now() == pytest.approx(start + k / hz + (oversleep / hz if k else 0), abs=1e-9)
        assert lateness == pytest.approx(clock.now() - start - k / hz, abs=1e-9)
        clock.time += busy / hz


@given(starts, rates, st.lists(st.floats(0, 5) | st.integers(0, 5), min_size=5, max_size=20))
def test_missed_ticks_are_skipped_without_a_burst(
    start: float, hz: float, work: list[float]
) -> None:
    clock, seen = FakeClock(start), []
    for lateness, busy in zip(ticks(clock, hz), work, strict=False):
        assert lateness * hz < 1 - 5e-7, "this tick is over already"
        seen.append(((clock.now() - start - lateness) * hz, (clock.now() - start) * hz))
        clock.time += busy / hz
    assert [due for due, _ in seen] == pytest.approx([round(due) for due, _ in seen], abs=1e-6)
    for (due, begun), (due_next, begun_next), busy in zip(seen, seen[1:], work, strict=False):
        assert round(due_next) > round(due)
        assert begun_next - begun <= max(1.5, busy) + 1e-5, (
            "a tick is skipped that there was time for"
        )
        assert begun_next - begun >= 0.5 - 1e-5, "two ticks follow each other too closely"


def test_work_that_takes_whole_periods_leaves_a_whole_period_between_ticks() -> None:
    clock, times = FakeClock(0.1), []
    for _ in ticks(clock, 20.0, 2.0):
        times.append(clock.now())
        clock.time += 3 / 20
    assert [b - a for a, b in pairwise(times)] == pytest.approx([3 / 20] * (len(times) - 1))


def test_the_end_is_not_put_off_by_missed_ticks() -> None:
    clock = FakeClock()
    for _ in ticks(clock, 10.0, 1.0):
        clock.time += 0.25
    assert 1.0 <= clock.now() < 1.25 + 1e-9


def test_no_tick_is_made_before_its_time_is_asked_for() -> None:
    clock = FakeClock(5.0)
    beats = ticks(clock, 10.0)
    clock.time = 9.0
    assert next(beats) == 0, "the first deadline is when the loop begins"
