from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstep.demos.windows import Windows, make_windows, split_episodes
from fewstep.envs import ConfigError, DataError


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    """Episode ends, observation steps, horizon, action_steps.

    At least one episode is long enough.
    """
    horizon = draw(st.integers(1, 8))
    action_steps = draw(st.integers(1, horizon))
    lengths = draw(st.lists(st.integers(1, 14), min_size=1, max_size=5))
    lengths.insert(draw(st.integers(0, len(lengths))), horizon - action_steps + 1)
    return np.cumsum(lengths), draw(st.integers(1, 4)), horizon, action_steps


def histories(w: Windows) -> np.ndarray:
    return w.history(np.arange(len(w)))


def chunks(w: Windows) -> np.ndarray:
    return w.chunk(np.arange(len(w)))


def bounds(ends: np.ndarray, w: Windows) -> tuple[np.ndarray, np.ndarray]:
    """First frame and end of every window's episode."""
    episode = np.searchsorted(ends, histories(w)[:, -1], side="right")
    return np.concatenate([[0], ends])[episode], ends[episode]


@given(cases())
def test_every_frame_starts_a_window_as_long_as_its_chunk_repeats_too_little_to_matter(
    case,
) -> None:
    ends, observed, horizon, action_steps = case
    w = make_windows(ends, observed, horizon, action_steps)
    wanted = [
        frame
        for start, end in pairwise([0, *ends.tolist()])
        for frame in range(start, end)
        if frame + horizon - end <= action_steps - 1
    ]
    assert histories(w)[:, -1].tolist() == chunks(w)[:, 0].tolist() == wanted
    assert len(w) == len(wanted)


@given(cases())
def test_windows_stay_within_their_episode(case) -> None:
    w = make_windows(*case)
    start, end = bounds(case[0], w)
    assert histories(w).shape == (len(w), case[1]) and chunks(w).shape == (len(w), case[2])
    for rows in (histories(w), chunks(w)):
        assert (rows >= start[:, None]).all() and (rows < end[:, None]).all()


@given(cases())
def test_history_and_chunk_are_consecutive_frames_clamped_at_the_ends(case) -> None:
    ends, observed, horizon, _ = case
    w = make_windows(*case)
    start, end = bounds(ends, w)
    now = chunks(w)[:, :1]
    assert (
        histories(w) == np.maximum(now + np.arange(observed) - observed + 1, start[:, None])
    ).all()
    assert (chunks(w) == np.minimum(now + np.arange(horizon), end[:, None] - 1)).all()


@given(cases())
def test_the_last_action_is_repeated_at_most_executed_minus_one_times(case) -> None:
    w = make_windows(*case)
    _, end = bounds(case[0], w)
    repeats = (chunks(w) == end[:, None] - 1).sum(1) - 1
    assert repeats.max() <= case[3] - 1
    assert repeats.max() == case[3] - 1 or case[3] == 1


def test_windows_by_hand() -> None:
    w = make_windows(np.array([3, 4, 8]), observation_steps=2, horizon=3, action_steps=2)
    assert histories(w).tolist() == [[0, 0], [0, 1], [4, 4], [4, 5], [5, 6]]
    assert chunks(w).tolist() == [[0, 1, 2], [1, 2, 2], [4, 5, 6], [5, 6, 7], [6, 7, 7]]


def test_some_of_the_windows_are_the_same_as_among_all_of_them() -> None:
    w = make_windows(np.array([3, 4, 8]), observation_steps=2, horizon=3, action_steps=2)
    assert w.chunk(np.array([3, 0])).tolist() == [[5, 6, 7], [0, 1, 2]]
    kept = w.select(w.starts == 4)
    assert histories(kept).tolist() == [[4, 4], [4, 5], [5, 6]]


@pytest.mark.parametrize("ends, longest", [([8], 8), ([5, 13, 14], 8), ([], 0)])
def test_episodes_that_are_all_too_short_are_refused(ends: list[int], longest: int) -> None:
    with pytest.raises(DataError, match=f"chunk of 16 with action_steps=8.* {longest} frames"):
        make_windows(np.array(ends, np.int64), 2, 16, 8)


@given(st.integers(0, 200), st.floats(0, 0.99), st.integers(0, 2**32))
def test_split_shares_out_every_episode_once_the_same_way_every_time(
    episodes, held_out, seed
) -> None:
    kept, held = split_episodes(episodes, held_out, seed)
    assert sorted([*kept, *held]) == list(range(episodes))
    assert len(held) == round(held_out * episodes)
    assert all((np.diff(part) > 0).all() for part in (kept, held))
    again = split_episodes(episodes, held_out, seed)
    assert (again[0] == kept).all() and (again[1] == held).all()


def test_another_seed_holds_out_other_episodes() -> None:
    assert len({tuple(split_episodes(100, 0.1, seed)[1]) for seed in range(5)}) == 5


@pytest.mark.parametrize("held_out", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_share_beyond_none_and_all_is_refused(held_out: float) -> None:
    with pytest.raises(ConfigError, match="held_out"):
        split_episodes(10, held_out, 0)
