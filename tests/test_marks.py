"""Marks: deleted episodes are seen by nobody, come back, and nothing of them is lost."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.demos import DemoStore, Episode
from fewstep.demos.marks import FILE, Marks
from fewstep.envs import DataError, Field, Spec

SPEC = Spec({"x": Field((2,)), "top": Field((4, 5, 3), kind="image")}, {"a": Field((1,))}, 10)


def make(number: int, frames: int) -> Episode:
    data = {"x": np.full((frames, 2), number), "action": np.arange(frames)[:, None], "time": np.arange(frames) / 10}
    return Episode(data | {"top": np.full((frames, 4, 5, 3), number, np.uint8)}, SPEC, number % 2 == 0)


def store_of(path: Path, lengths: list[int]) -> Path:
    with DemoStore.create(path, SPEC) as store:
        store.append(*(make(i, n) for i, n in enumerate(lengths)))
    return path


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.data())
def test_a_reader_sees_what_was_not_deleted(tmp_path_factory, lengths: list[int], data) -> None:
    path = store_of(tmp_path_factory.mktemp("marks") / "demos", lengths)
    gone = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    Marks(frozenset(gone)).write(path)
    kept = [i for i in range(len(lengths)) if i not in gone]
    store = DemoStore.open(path)
    assert store.numbers.tolist() == kept
    assert np.diff(store.ends, prepend=0).tolist() == [lengths[i] for i in kept]
    assert store.success == [i % 2 == 0 for i in kept]
    if not kept:
        with pytest.raises(DataError, match="holds no episodes"):
            store.array("x")
        return
    whole = np.concatenate([np.full(lengths[i], i) for i in kept])
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    np.testing.assert_array_equal(store.array("x", start, stop)[:, 0], whole[start:stop])
    np.testing.assert_array_equal(store.array("top", start, stop)[:, 0, 0, 0], whole[start:stop])
    for i, number in enumerate(kept):
        assert set(store.episode(i).data["x"].ravel()) == {number}
        assert set(np.asarray(store.episode(i).data["top"]).ravel()) == {number}


def test_what_is_deleted_comes_back_and_judgements_can_change(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2, 4])
    Marks.read(path).delete(1).judge(0, None).judge(2, False).write(path)
    store = DemoStore.open(path)
    assert (len(store), store.success, store.frames) == (2, [None, False], 7)
    assert len(DemoStore.open(path, deleted=True)) == 3
    Marks.read(path).delete(1, gone=False).write(path)
    assert DemoStore.open(path).success == [None, False, False]


def test_recording_goes_on_where_episodes_are_deleted(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    Marks().delete(1).write(path)
    with DemoStore.open(path, "a") as store:
        assert len(store) == 2
        store.append(make(2, 5))
    store = DemoStore.open(path)
    assert store.numbers.tolist() == [0, 2]
    assert set(store.array("top").ravel()) == {0, 2}


@pytest.mark.parametrize("content", ["{", "[]", '{"deleted": [0]}', '{"deleted": ["x"], "success": {}}'])
def test_damaged_marks_are_no_marks_and_say_so(tmp_path: Path, content: str) -> None:
    path = store_of(tmp_path / "demos", [3])
    (path / FILE).write_text(content)
    with pytest.raises(DataError, match=f"{FILE} is damaged"):
        DemoStore.open(path)


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        (lambda marks: marks.delete(17), "has no episode 17: it holds 3, counted from 0"),
        (lambda marks: marks.delete(-1), "has no episode -1"),
        (lambda marks: marks.judge(3, True), "has no episode 3"),
        (lambda marks: marks.delete("1"), "by its number, not '1'"),
        (lambda marks: marks.judge(1, "yes"), "True, False or None, not 'yes'"),
    ],
)
def test_marks_that_mean_nothing_are_refused(tmp_path: Path, marked, message: str) -> None:
    path = store_of(tmp_path / "demos", [3, 2, 4])
    with pytest.raises(DataError, match=message):
        marked(Marks.read(path)).write(path)
    assert not (path / FILE).exists()


def test_marks_are_written_to_a_store_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no demonstrations at"):
        Marks().write(tmp_path / "typo")
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_mark(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    Marks.read(path).delete(np.int64(1)).judge(np.int64(0), np.bool_(False)).write(path)
    assert (DemoStore.open(path).numbers.tolist(), DemoStore.open(path).success) == ([0], [False])


def test_a_store_whose_episodes_are_all_deleted_says_so(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    Marks.read(path).delete(0).delete(1).write(path)
    with pytest.raises(DataError, match="holds no episodes but deleted ones"):
        DemoStore.open(path).require()
    with DemoStore.open(path, "a") as store:
        assert store.size == "2 episodes, 5 frames, 2 of the episodes deleted"
