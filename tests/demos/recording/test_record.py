import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.demos.recording.recorder import Recorder, record
from fewstep.demos.store import DemoStore
from fewstep.envs import Clock, Command, DataError, Field, Obs, Outcome, Spec, Step


def make_spec(policy_hz: float = 10, command_hz: float = 0) -> Spec:
    return Spec(
        {"q": Field((1,), "m")}, {"q": Field((1,), "m", measured_by="q")}, policy_hz, command_hz
    )


class SimClock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wait_until(self, deadline: float) -> None:
        self.time = max(self.time, deadline)


class Slider:
    """A robot that goes where it is told at once, but not beyond 0.5 m.

    It fills the same buffers again and again.
    """

    def __init__(self, spec: Spec, frames: int = 5) -> None:
        self.spec, self.frames = spec, frames
        self.clock: Clock = SimClock()
        self.q, self.buffer = np.zeros(1, np.float32), np.zeros(1, np.float32)
        self.judge: Callable[[int], Outcome] = lambda seed: Outcome(seed % 2 == 0)

    def reset(self, seed: int | None = None) -> None:
        self.seed, self.ticks = seed or 0, 0

    def observe(self) -> Obs:
        self.buffer[:] = self.q
        return Obs(self.clock.now(), {"q": self.buffer}, {"q": self.clock.now()})

    def command(self, command: Command) -> np.ndarray:
        assert command.action is not None
        self.q[:] = np.minimum(command.action, 0.5)
        self.ticks += 1
        return self.q

    def outcome(self) -> Outcome | None:
        return self.judge(self.seed) if self.ticks >= self.frames else None

    def close(self) -> None:
        pass


class Ramp:
    """Goes 0.1 m further on every tick, from 0.1 m times the seed on.

    Sometimes it has to think first.
    """

    def reset(self, seed: int | None = None) -> None:
        self.k, self.thinking = seed or 0, True

    def act(self, obs: Obs) -> Command | None:
        self.thinking = not self.thinking
        if self.thinking:
            return None
        self.k += 1
        return Command(np.array([0.1 * self.k]), "expert")

    def sent(self, action: np.ndarray) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DemoStore]:
    with DemoStore.create(tmp_path / "s", make_spec()) as store:
        yield store


def test_what_was_sent_is_recorded_not_what_was_wanted(store: DemoStore) -> None:
    assert record(Slider(store.spec), Ramp(), store, [2], max_seconds=10) == 1
    data = store.episode(0).data
    np.testing.assert_allclose(data["action"][:, 0], [0.3, 0.4, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(
        data["q"][:, 0], [0.0, 0.3, 0.4, 0.5, 0.5]
    )  # before the action, and no shared buffer
    np.testing.assert_allclose(
        data["time"], np.arange(5) / 10, atol=1e-9
    )  # since the start of the episode


def test_every_episode_starts_from_its_seed_and_keeps_its_outcome(store: DemoStore) -> None:
    seen: list[tuple[bool | None, int]] = []
    progress = lambda outcome, episode: seen.append((outcome.success, len(episode)))  # noqa: E731
    assert record(Slider(store.spec), Ramp(), store, range(3), 10, progress=progress) == 3
    assert seen == [(True, 5), (False, 5), (True, 5)]
    assert store.success == [True, False, True]
    assert store.array("action")[::5, 0] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("most, tried", [(9, 5), (2, 3)])
def test_only_what_is_wanted_is_kept_until_there_is_enough(
    store: DemoStore, most: int, tried: int
) -> None:
    seen, wanted = [], lambda outcome: bool(outcome.success)
    kept = record(
        Slider(store.spec), Ramp(), store, range(5), 10, wanted, lambda *a: seen.append(a), most
    )
    assert (kept, len(store), len(seen)) == (min(most, 3), min(most, 3), tried)
    assert store.array("action")[::5, 0] == pytest.approx([0.1, 0.3, 0.5][:most])


def test_an_episode_nobody_judged_is_of_unknown_success(store: DemoStore) -> None:
    record(Slider(store.spec, frames=1000), Ramp(), store, [0], max_seconds=0.8)
    assert (store.success, store.frames) == ([None], 8)


@pytest.mark.parametrize("command_hz", [10, 20, 25, 50, 500])
def test_a_fast_loop_is_recorded_at_the_rate_of_the_policy(
    tmp_path: Path, command_hz: float
) -> None:
    spec = make_spec(10, command_hz)
    with DemoStore.create(tmp_path / "s", spec) as store:
        record(Slider(spec, frames=10**9), Ramp(), store, [0], max_seconds=3.0)
    time = store.array("time")
    assert len(time) == 30
    assert abs(time - np.arange(30) / 10).max() <= 0.5 / command_hz + 1e-9


def test_jitter_of_the_loop_costs_no_frames(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i, (policy_hz, command_hz) in enumerate([(10, 10), (10, 50)]):
        spec = make_spec(policy_hz, command_hz)
        with DemoStore.create(tmp_path / str(i), spec) as store:
            recorder = Recorder(store)
            for k in range(command_hz * 4):
                recorder.step(step((k + rng.uniform(-0.3, 0.3)) / command_hz))
            episode = recorder.end(Outcome(True))
            assert episode is not None
            assert len(episode) == policy_hz * 4


def test_a_pause_of_the_loop_stays_visible(tmp_path: Path) -> None:
    spec = make_spec(10, 50)
    with DemoStore.create(tmp_path / "s", spec) as store:
        recorder = Recorder(store)
        for k in [*range(20), *range(40, 60)]:
            recorder.step(step(k / 50))
        recorder.end(Outcome(None))
    assert store.array("time") == pytest.approx([0, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0, 1.1])


def step(time: float, **data: Any) -> Step:
    data = data or {"q": np.zeros(1)}
    return Step(Obs(time, data, {}), Command(np.zeros(1), "operator"), np.zeros(1), 0.0)


def test_nothing_is_stored_without_steps_or_after_discard(store: DemoStore) -> None:
    recorder = Recorder(store)
    assert recorder.end(Outcome(True)) is None
    recorder.step(step(0.0))
    recorder.discard()
    assert recorder.end(Outcome(True)) is None
    assert len(store) == 0


def test_a_step_that_does_not_fit_is_refused_at_once(store: DemoStore) -> None:
    with pytest.raises(DataError, match="lacks q; it has joint"):
        Recorder(store).step(step(0.0, joint=np.zeros(1)))
    with pytest.raises(DataError, match=r"'q' has shape \(2,\), the Spec says \(1,\)"):
        Recorder(store).step(step(0.0, q=np.zeros(2)))


def test_a_robot_that_does_not_fit_is_refused_before_it_moves(store: DemoStore) -> None:
    robot = Slider(make_spec(20))
    with pytest.raises(DataError, match="policy_hz is 20"):
        record(robot, Ramp(), store, [0], 10)
    assert not hasattr(robot, "ticks")


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_every_finished_episode(store: DemoStore) -> None:
    class Stopped(Ramp):
        def act(self, obs: Obs) -> Command | None:
            if self.k == 12:
                press_ctrl_c()
            return super().act(obs)

    with pytest.raises(KeyboardInterrupt):
        record(Slider(store.spec), Stopped(), store, [0, 5, 10, 15], 10)
    assert len(store) == 2
    assert (
        record(Slider(store.spec), Ramp(), store, [3], 10) == 1
    )  # the cut one leaves nothing behind
    assert store.array("action")[::5, 0] == pytest.approx([0.1, 0.5, 0.4])


def test_ctrl_c_while_storing_waits_for_the_episode(
    store: DemoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = store.append

    def pressed(episode: Any) -> None:
        press_ctrl_c()
        append(episode)

    monkeypatch.setattr(store, "append", pressed)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        record(Slider(store.spec), Ramp(), store, [0, 1], 10)
    assert len(store) == 1
    assert signal.getsignal(signal.SIGINT) is before
