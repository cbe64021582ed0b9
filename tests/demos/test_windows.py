import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstep.demos.windows import Windows, make_windows, split_episodes
from fewstep.envs import ConfigError, DataError


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Episode ends, observation steps, horizon."""
    lengths = draw(st.lists(st.integers(1, 14), min_size=1, max_size=5))
    return np.cumsum(lengths), draw(st.integers(1, 4)), draw(st.integers(1, 8))


def histories(w: Windows) -> np.ndarray:
    return w.history(np.arange(len(w)))


def chunks(w: Windows) -> np.ndarray:
    return w.chunk(np.arange(len(w)))


def bounds(ends: np.ndarray, w: Windows) -> tuple[np.ndarray, np.ndarray]:
    """First frame and end of every window's episode."""
    episode = np.searchsorted(ends, histories(w)[:, -1], side="right")
    return np.concatenate([[0], ends])[episode], ends[episode]


@given(cases())
def test_every_frame_starts_a_window(case) -> None:
    w = make_windows(*case)
    assert histories(w)[:, -1].tolist() == chunks(w)[:, 0].tolist() == list(range(case[0][-1]))


@given(cases())
def test_what_fills_a_chunk_up_was_not_recorded(case) -> None:
    w = make_windows(*case)
    _, end = bounds(case[0], w)
    recorded = w.recorded(np.arange(len(w)))
    assert recorded[:, 0].all() and (np.diff(recorded.astype(int), axis=1) <= 0).all()
    assert (recorded.sum(1) == np.minimum(case[2], end - w.frames)).all()
    filled = chunks(w)[~recorded]
    assert (filled == np.repeat(end - 1, (~recorded).sum(1))).all()


@given(cases())
def test_windows_stay_within_their_episode(case) -> None:
    w = make_windows(*case)
    start, end = bounds(case[0], w)
    assert histories(w).shape == (len(w), case[1]) and chunks(w).shape == (len(w), case[2])
    for rows in (histories(w), chunks(w)):
        assert (rows >= start[:, None]).all() and (rows < end[:, None]).all()


@given(cases())
def test_history_and_chunk_are_consecutive_frames_clamped_at_the_ends(case) -> None:
    ends, observed, horizon = case
    w = make_windows(*case)
    start, end = bounds(ends, w)
    now = chunks(w)[:, :1]
    assert (
        histories(w) == np.maximum(now + np.arange(observed) - observed + 1, start[:, None])
    ).all()
    assert (chunks(w) == np.minimum(now + np.arange(horizon), end[:, None] - 1)).all()


def test_windows_by_hand() -> None:
    w = make_windows(np.array([3, 4, 6]), observation_steps=2, horizon=3)
    assert histories(w).tolist() == [[0, 0], [0, 1], [1, 2], [3, 3], [4, 4], [4, 5]]
    assert chunks(w).tolist() == [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 3, 3], [4, 5, 5], [5, 5, 5]]
    assert w.recorded(np.array([1, 3])).tolist() == [[True, True, False], [True, False, False]]


def test_some_of_the_windows_are_the_same_as_among_all_of_them() -> None:
    w = make_windows(np.array([3, 4, 8]), observation_steps=2, horizon=3)
    assert w.chunk(np.array([5, 0])).tolist() == [[5, 6, 7], [0, 1, 2]]
    kept = w.select(w.starts == 4)
    assert histories(kept).tolist() == [[4, 4], [4, 5], [5, 6], [6, 7]]


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="no frame"):
        make_windows(np.array([], np.int64), 2, 16)


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
