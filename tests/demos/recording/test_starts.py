"""Start seeds: recording in parts gives the episodes of recording at once, whatever failed or was
killed.
"""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_record import Slider, make_spec

from fewstep.demos import DemoStore, record
from fewstep.demos.recording.experts import record_expert
from fewstep.demos.recording.recorder import Recorder
from fewstep.demos.recording.start_seeds import FILE, Starts
from fewstep.envs import Command, DataError, FewstepWarning, Obs, Outcome, Step
from fewstep.envs.seeds import DEMONSTRATION_SEEDS
from fewstep.policy.cli import record as record_verb
from fewstep.policy.cli.main import main

FIRST = DEMONSTRATION_SEEDS.start


class Turns:
    """An actor that shows each start in another way every time: its action tells seed and way."""

    def __init__(self) -> None:
        self.seed, self.repetition = -1, 0

    def reset(self, seed: int | None = None) -> None:
        assert seed is not None
        self.seed = seed

    def act(self, obs: Obs) -> Command:
        return Command(np.array([(self.seed - FIRST) / 1000 + self.repetition / 8]), "expert")

    def sent(self, action: np.ndarray) -> None:
        pass


def luck(failing: set[int]) -> Slider:
    robot = Slider(make_spec(), frames=1)
    robot.judge = lambda seed: Outcome(seed - FIRST not in failing)
    return robot


def part(path: Path, episodes: int, repeats: int = 1, failing: set[int] = frozenset()) -> int:  # pyright: ignore
    """What one `fewstep record` does, in a process of its own."""
    actor = Turns()
    with (
        DemoStore.open(path, "a") if path.exists() else DemoStore.create(path, make_spec()) as store
    ):
        seeds = islice(Starts(store).go_on(repeats), 2 * episodes)
        return record(
            luck(failing), actor, store, seeds, 10, lambda o: bool(o.success), most=episodes
        )


def shown(path: Path) -> list[float]:
    store = DemoStore.open(path)
    return store.array("action")[:, 0].tolist() if len(store) else []


def test_recording_again_goes_on_after_what_was_tried(tmp_path: Path) -> None:
    for _ in range(2):
        assert part(tmp_path / "s", 4, failing={1, 2, 6}) == 4
    assert shown(tmp_path / "s") == pytest.approx([k / 1000 for k in (0, 3, 4, 5, 7, 8, 9, 10)])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=2, max_size=3),
    st.integers(1, 3),
    st.sets(st.integers(0, 7)),
)
def test_recording_in_parts_is_recording_at_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int], repeats: int, failing: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("starts")
    kept = sum(part(folder / "parts", n, repeats, failing) for n in parts)
    least = min(kept, part(folder / "once", sum(parts), repeats, failing))
    assert shown(folder / "parts")[:least] == shown(folder / "once")[:least]


class Killed(BaseException):
    """What ends a process between two steps."""


def killed_at(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the recording before or after the n-th note or append from now on."""
    left = [n]

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            tick()
            result = function(*args, **more)
            tick()
            return result

        return call

    def tick() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(DemoStore, "append", around(DemoStore.append))
    monkeypatch.setattr(Starts, "tried", around(Starts.tried))


def test_a_recording_that_is_killed_anywhere_loses_and_repeats_no_start(tmp_path: Path) -> None:
    part(tmp_path / "once", 6, 2, {1})
    for n in range(1, 27):
        path = tmp_path / str(n)
        with pytest.MonkeyPatch.context() as patch:
            killed_at(n, patch)
            with pytest.raises(Killed):
                part(path, 6, 2, {1})
        part(path, 6 - len(DemoStore.open(path)), 2, {1})
        assert shown(path)[:6] == shown(tmp_path / "once"), n


@pytest.mark.parametrize("first", range(1, 6))
def test_an_interrupted_recording_completes_the_ways_of_a_start_when_it_goes_on(
    tmp_path: Path, first: int
) -> None:
    """Of a start that is shown twice, the way that is missing comes first."""
    notes = {"actor": "turns"}
    recorded = 0

    def press_ctrl_c(outcome: Outcome, episode: Any) -> None:
        nonlocal recorded
        recorded += 1
        if recorded == first:
            signal.raise_signal(signal.SIGINT)

    def go_on(episodes: int, on_episode: Callable[..., None]) -> None:
        record_expert(
            luck(set()),
            Turns(),
            tmp_path / "s",
            episodes,
            notes=notes,
            repeats=2,
            on_episode=on_episode,
        )

    with pytest.raises(KeyboardInterrupt):
        go_on(6, press_ctrl_c)
    assert len(shown(tmp_path / "s")) == first
    go_on(6 - first, lambda outcome, episode: None)
    pairs = [seed / 1000 + way / 8 for seed in range(3) for way in range(2)]
    assert shown(tmp_path / "s") == pytest.approx(pairs)


def test_a_store_from_before_goes_on_behind_all_that_it_may_have_tried(tmp_path: Path) -> None:
    part(tmp_path / "s", 3, failing={1})
    (tmp_path / "s" / FILE).unlink()
    part(tmp_path / "s", 2)
    assert shown(tmp_path / "s")[3:] == pytest.approx([0.006, 0.007])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"seed": 1}', '{"seed": "x", "times": 1, "episodes": 2}', "[" * 100_000],
)
def test_a_damaged_count_is_told_and_recording_goes_on(tmp_path: Path, content: str) -> None:
    part(tmp_path / "s", 2, failing={1})
    (tmp_path / "s" / FILE).write_text(content)
    with pytest.warns(FewstepWarning, match=f"{FILE} is damaged"):
        part(tmp_path / "s", 1)
    assert part(tmp_path / "s", 1) == 1
    assert len(set(shown(tmp_path / "s"))) == 4


def test_seeds_of_other_uses_are_neither_counted_nor_reached(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", make_spec()) as store:
        starts = Starts(store)
        for seed in (3, DEMONSTRATION_SEEDS.stop, DEMONSTRATION_SEEDS.stop + 5):
            starts.tried(seed, kept=False)
        assert starts.next() == (FIRST, 0)
        starts.tried(DEMONSTRATION_SEEDS.stop - 1, kept=False)
        starts.tried(FIRST, kept=False)
        assert starts.next(repeats=2) == (DEMONSTRATION_SEEDS.stop - 1, 1)
        with pytest.raises(
            DataError, match="every start seed below 100000 was tried; name one with seed="
        ):
            starts.next()


def test_a_recorder_counts_starts_that_it_is_told_of_and_a_discarded_one_is_shown_again(
    tmp_path: Path,
) -> None:
    step = Step(
        Obs(0.0, {"q": np.zeros(1)}, {}), Command(np.zeros(1), "operator"), np.zeros(1), 0.0
    )
    with DemoStore.create(tmp_path / "s", make_spec()) as store:
        recorder = Recorder(store)
        recorder.step(step)
        recorder.discard()
        assert Starts(store).next() == (FIRST, 0)
        recorder.step(step)
        recorder.end(Outcome(None), FIRST)
        assert Starts(store).next() == (FIRST + 1, 0)
        assert recorder.end(Outcome(None), FIRST + 1) is None
        assert Starts(store).next() == (FIRST + 1, 0), "an episode without steps is none"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The seeds of starts of which every third fails."""
    found: list[int] = []
    robot = luck(set(range(1, 100, 3)))
    reset = robot.reset
    robot.reset = lambda seed=None: (found.append(seed), reset(seed))[1]  # pyright: ignore
    monkeypatch.setattr(record_verb, "make_robot", lambda *_, **__: robot)
    monkeypatch.setattr(record_verb, "make_expert", lambda *_, **__: Turns())
    yield found


def test_the_verb_records_in_parts(tmp_path: Path, seen: list[int]) -> None:
    for _ in range(2):
        assert main(["record", f"data={tmp_path}/demos", "episodes=4"]) == 0
    tried = list(range(FIRST, FIRST + 12))
    assert seen == tried
    assert main(["record", f"data={tmp_path}/demos", "episodes=2", "seed=5", "repeats=2"]) == 0
    assert seen[12:] == [5, 5]
    assert main(["record", f"data={tmp_path}/demos", "episodes=1"]) == 0
    assert seen[14:] == [FIRST + 12]


def test_starts_that_are_a_pipe_are_told_and_never_waited_for(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "demos", make_spec())
    os.mkfifo(store.path / FILE)
    with pytest.warns(FewstepWarning, match=f"{FILE} is a pipe"):
        assert Starts(store).next() == (10_000, 0)
    store.close()
