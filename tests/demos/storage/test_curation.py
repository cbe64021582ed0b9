"""Curation: deleted episodes are seen by nobody, come back, and nothing of them is lost."""

import multiprocessing
import os
import stat
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewstep.demos import DemoStore, Episode
from fewstep.demos.curating import curate
from fewstep.demos.doctor.check import check
from fewstep.demos.storage.curation import FILE, Curation, read_curation
from fewstep.demos.viewer.server import Server
from fewstep.envs import DataError, FewstepWarning, Field, Spec
from fewstep.envs.atomic_files import new_file, new_folder, replace
from fewstep.envs.locks import turn
from fewstep.policy.cli.main import main

SPEC = Spec({"x": Field((2,)), "top": Field((4, 5, 3), kind="image")}, {"a": Field((1,))}, 10)


def make(number: int, frames: int) -> Episode:
    data = {
        "x": np.full((frames, 2), number),
        "action": np.arange(frames)[:, None],
        "time": np.arange(frames) / 10,
    }
    return Episode(
        data | {"top": np.full((frames, 4, 5, 3), number, np.uint8)}, SPEC, number % 2 == 0
    )


def store_of(path: Path, lengths: list[int]) -> Path:
    with DemoStore.create(path, SPEC) as store:
        store.append(*(make(i, n) for i, n in enumerate(lengths)))
    return path


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.data())
def test_a_reader_sees_what_was_not_deleted(tmp_path_factory, lengths: list[int], data) -> None:
    path = store_of(tmp_path_factory.mktemp("curation") / "demos", lengths)
    gone = data.draw(st.sets(st.integers(0, len(lengths) - 1)))
    curate(path, lambda curation: Curation(frozenset(gone)))
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
    curate(path, lambda curation: curation.delete(1).judge(0, None).judge(2, False))
    store = DemoStore.open(path)
    assert (len(store), store.success, store.frames) == (2, [None, False], 7)
    assert len(DemoStore.open(path, deleted=True)) == 3
    curate(path, lambda curation: curation.delete(1, deleted=False))
    assert DemoStore.open(path).success == [None, False, False]


def test_recording_goes_on_where_episodes_are_deleted(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    curate(path, lambda curation: curation.delete(1))
    with DemoStore.open(path, "a") as store:
        assert len(store) == 2
        store.append(make(2, 5))
    store = DemoStore.open(path)
    assert store.numbers.tolist() == [0, 2]
    assert set(store.array("top").ravel()) == {0, 2}


def warned(text: str) -> Any:
    return pytest.warns(FewstepWarning, match=text)


DAMAGED = [
    b"{",
    b"[]",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"deleted": [0]}',
    b'{"deleted": "01", "success": {}}',
    b'{"deleted": [0.5], "success": {}}',
    b'{"deleted": [true], "success": {}}',
    b'{"deleted": [-1], "success": {}}',
    b'{"deleted": [], "success": {"0": 1}}',
    b'{"deleted": [], "success": {"x": true}}',
    b'{"deleted": [], "success": []}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_curation_is_told_and_kept(tmp_path: Path, content: bytes) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    (path / FILE).write_bytes(content)
    for mode in ("r", "a"):
        with warned(f"{FILE} is damaged: .*nothing is curated"):
            store = DemoStore.open(path, mode)
        assert store.numbers.tolist() == [0, 1]
        assert str(path / FILE) in store.curation.damage
        store.close()
    assert (path / FILE).read_bytes() == content, "reading changes nothing"
    with warned("is kept as"), warned("nothing is curated"):
        curate(path, lambda curation: curation.delete(1))
    assert DemoStore.open(path).numbers.tolist() == [0]
    assert (path / f"{FILE}.damaged").read_bytes() == content
    (path / FILE).write_bytes(b"again")
    with warned("is kept as"), warned("nothing is curated"):
        curate(path, lambda curation: curation)
    assert (path / f"{FILE}.damaged").read_bytes() == content
    assert (path / f"{FILE}.damaged-2").read_bytes() == b"again"


def test_a_curation_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    (path / FILE).mkdir()
    with warned(f"cannot read .*{FILE}"):
        assert len(DemoStore.open(path)) == 2
    with pytest.raises(DataError, match=f"cannot read .*{FILE}"), warned("cannot read"):
        curate(path, lambda curation: curation.delete(1))
    (path / FILE).rmdir()
    os.mkfifo(path / FILE)
    with warned(f"{FILE} is a pipe"):
        assert len(DemoStore.open(path)) == 2, "it waits for nobody who writes into the pipe"


SMALL = "steps=1 threads=1 export=false model.net.channels=[8,16] model.net.groups=4 model.horizon=4 model.action_steps=2"


@pytest.mark.parametrize("verb", ["check", "train", "view", "export"])
@pytest.mark.filterwarnings("default::fewstep.envs.FewstepWarning")
def test_whoever_uses_a_store_is_told_that_its_curation_is_damaged(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    path, spec = tmp_path / "demos", Spec({"x": SPEC.observations["x"]}, SPEC.actions, 10)
    with DemoStore.create(path, spec) as store:
        for i in range(3):
            numbers = {key: value for key, value in make(i, 30).data.items() if key != "top"}
            store.append(Episode(numbers, spec))
    (path / FILE).write_text("{")
    more = {"train": [f"out={tmp_path}/out", *SMALL.split()], "view": ["port=0"]}
    more["export"] = [f"out={tmp_path}/out", "format=diffusion_policy"]
    assert main([verb, f"data={path}", *more.get(verb, [])]) in (0, 1)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(f"fewstep: {path / FILE} is damaged: ") == 1
    assert "nothing is curated, deleted episodes are back" in said


def test_the_doctor_reports_a_damaged_curation(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    (path / FILE).write_text("{")
    with warned("is damaged"):
        found = check(DemoStore.open(path))
    assert [f.level for f in found if f.key == FILE and str(path / FILE) in f.message] == [
        "warning"
    ]


def test_a_full_disk_keeps_the_old_curation_damaged_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_of(tmp_path / "demos", [3, 2])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for content in (b'{"deleted": [1], "success": {}}', b"{"):
        (path / FILE).write_bytes(content)
        with (
            warnings.catch_warnings(),
            pytest.raises(DataError, match=r"No space left.*the old curation stays"),
        ):
            warnings.simplefilter("ignore")
            curate(path, lambda curation: curation.delete(0))
        assert (path / FILE).read_bytes() == content
    assert {file.name for file in path.glob("*curation*")} == {FILE, f".{FILE}.lock"}


# Several at once


def mark(number: int, curation: Curation) -> Curation:
    return curation.delete(number) if number % 2 else curation.judge(number, True)


def mark_some(path: Path, numbers: range, begin: Any) -> None:
    begin.wait()
    for number in numbers:
        curate(path, partial(mark, number))


def test_everything_that_several_processes_curate_takes_effect(tmp_path: Path) -> None:
    path, context = store_of(tmp_path / "demos", [1] * 18), multiprocessing.get_context("spawn")
    begin = context.Barrier(3)
    parts = [range(first, first + 6) for first in range(0, 18, 6)]
    writers = [context.Process(target=mark_some, args=(path, part, begin)) for part in parts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert not read_curation(path).damage
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 3
    assert read_curation(path) == Curation(
        frozenset(range(1, 18, 2)), dict.fromkeys(range(0, 18, 2), True)
    )
    assert not list(path.glob(f"{FILE}.*")) and not list(path.glob(".*partial"))


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    contents, failed = [bytes([65 + i]) * (50_000 + i) for i in range(8)], []

    def write(content: bytes) -> None:
        try:
            for _ in range(10):
                replace(tmp_path / "file", content)
                assert (tmp_path / "file").read_bytes() in contents
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_writer_that_stays_away_keeps_nobody_waiting_for_ever(tmp_path: Path) -> None:
    with (
        turn(tmp_path / "lock"),
        pytest.raises(DataError, match=r"another process has held .*lock for 0\.05 s"),
        turn(tmp_path / "lock", seconds=0.05),
    ):
        pass


def test_what_killed_writers_began_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    old, new, other = (
        tmp_path / name for name in (".a.1.x.partial", ".a.2.y.partial", ".b.1.x.partial")
    )
    for file in (old, new, other):
        file.write_bytes(b"half")
    for file in (old, other):
        os.utime(file, (0, 0))
    replace(tmp_path / "a", b"whole")
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


# Power fails


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What happened to names and to the disk, in order."""
    done: list[tuple[str, Path]] = []

    def renamed(source: Any, to: Any, original: Callable[..., None] = os.replace) -> None:
        original(source, to)
        done.append(("named", Path(to)))

    def synced(handle: int, original: Callable[[int], None] = os.fsync) -> None:
        original(handle)
        what = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        done.append((what, Path(os.readlink(f"/proc/self/fd/{handle}"))))

    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    return done


def test_a_replaced_file_is_on_disk_under_its_name(
    tmp_path: Path, disk: list[tuple[str, Path]]
) -> None:
    replace(tmp_path / "new" / "file", b"content")
    kinds = [kind for kind, _ in disk]
    assert disk[0] == ("folder", tmp_path), "which has a new folder in it"
    assert kinds[1:] == ["file", "named", "folder"]
    assert disk[2:] == [("named", tmp_path / "new" / "file"), ("folder", tmp_path / "new")]


def test_a_new_folder_is_on_disk_before_it_has_its_name(
    tmp_path: Path, disk: list[tuple[str, Path]]
) -> None:
    with new_folder(tmp_path / "made") as folder:
        (folder / "in").mkdir()
        (folder / "in" / "a").write_bytes(b"a")
    with new_file(tmp_path / "one") as file:
        file.write_bytes(b"b")
    folder_named = disk.index(("named", tmp_path / "made"))
    assert {(kind, path.name) for kind, path in disk[:folder_named]} >= {
        ("file", "a"),
        ("folder", "in"),
    }
    assert disk[folder_named + 1] == ("folder", tmp_path)
    assert [kind for kind, _ in disk[folder_named + 2 :]] == ["file", "named", "folder"]


def test_an_episode_counts_only_once_the_disk_knows_all_of_it(
    tmp_path: Path, disk: list[tuple[str, Path]]
) -> None:
    path = store_of(tmp_path / "demos", [3])
    disk.clear()
    with DemoStore.open(path, "a") as store:
        store.append(store.episode(0))
    counts = disk.index(("named", path / "meta" / "episode_ends" / "c" / "0"))
    written = {
        to.parent
        for kind, to in disk[:counts]
        if kind == "named" and to.parent.name != "episode_ends"
    }
    assert len(written) > 3 and written <= {
        folder for kind, folder in disk[:counts] if kind == "folder"
    }
    assert ("folder", path / "meta" / "episode_ends" / "c") in disk[counts:]


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        (lambda curation: curation.delete(17), "has no episode 17: it holds 3, counted from 0"),
        (lambda curation: curation.delete(-1), "has no episode -1"),
        (lambda curation: curation.judge(3, True), "has no episode 3"),
        (lambda curation: curation.delete("1"), "by its number, not '1'"),
        (lambda curation: curation.judge(1, "yes"), "True, False or None, not 'yes'"),
    ],
)
def test_a_curation_that_means_nothing_is_refused(tmp_path: Path, marked, message: str) -> None:
    path = store_of(tmp_path / "demos", [3, 2, 4])
    with pytest.raises(DataError, match=message):
        curate(path, marked)
    assert not (path / FILE).exists()


def test_a_curation_is_written_to_a_store_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no demonstrations at"):
        curate(tmp_path / "typo", lambda curation: curation)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_curate(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    curate(path, lambda curation: curation.delete(np.int64(1)).judge(np.int64(0), np.bool_(False)))
    assert (DemoStore.open(path).numbers.tolist(), DemoStore.open(path).success) == ([0], [False])


def test_a_store_whose_episodes_are_all_deleted_says_so(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 2])
    curate(path, lambda curation: curation.delete(0).delete(1))
    with pytest.raises(DataError, match="holds no episodes but deleted ones"):
        DemoStore.open(path).require()
    with DemoStore.open(path, "a") as store:
        assert store.size == "2 episodes, 5 frames, 2 of the episodes deleted"


def test_a_curation_under_its_old_name_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", [3, 4, 5])
    curate(path, lambda curation: curation.delete(1))
    (path / FILE).rename(path / "marks.json")
    with pytest.raises(DataError, match=r"marks\.json was written by an older.*rename it to"):
        DemoStore.open(path)
    (path / "marks.json").rename(path / FILE)
    assert DemoStore.open(path).numbers.tolist() == [0, 2]
