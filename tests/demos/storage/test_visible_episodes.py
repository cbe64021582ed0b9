"""Episodes that are seen, and where their frames lie among those of all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fewstep.demos.storage.visible_episodes import VisibleEpisodes


@given(st.lists(st.integers(1, 5), max_size=6), st.data())
def test_ranges_give_the_frames_of_seen_episodes_in_order(lengths, data) -> None:
    ends = np.cumsum(np.array(lengths, int))
    hidden = data.draw(st.sets(st.integers(0, 7)))
    visible = VisibleEpisodes(ends, hidden)
    episode_of_frame = np.repeat(np.arange(len(lengths)), lengths)
    seen = np.flatnonzero(~np.isin(episode_of_frame, list(hidden)))
    start = data.draw(st.integers(0, len(seen)))
    stop = data.draw(st.integers(start, len(seen)))
    frames: list[int] = []
    for first, last in visible.recorded_ranges(start, stop):
        frames.extend(range(first, last))
    np.testing.assert_array_equal(frames, seen[start:stop])
    assert not set(visible.numbers.tolist()) & hidden
