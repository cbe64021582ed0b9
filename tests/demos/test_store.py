import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import zarr
from crash_writer import SPEC, make
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewstep.demos.curating import curate
from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError, FewstepError, Field, Spec

SMALL = Spec(
    {"q": Field((2,), "rad")}, {"arm": Field((2,), "rad"), "grip": Field((1,), kind="discrete")}, 20
)


def small(n: int = 5, **changes: Any) -> Episode:
    data = {"q": np.ones((n, 2)), "action": np.zeros((n, 3)), "time": np.arange(n) / 20} | changes
    return Episode(data, SMALL, success=True)


def assert_equal(store: DemoStore, episodes: list[Episode]) -> None:
    assert store.ends.tolist() == np.cumsum([len(e) for e in episodes]).tolist()
    assert store.success == [e.success for e in episodes]
    for key in episodes[0].data if episodes else ():
        wanted = np.concatenate([e.data[key] for e in episodes])
        found = store.array(key)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


# Episode


def test_an_episode_has_the_types_of_its_spec() -> None:
    episode = small(q=np.ones((5, 2), int), time=np.arange(5))
    assert {key: str(values.dtype) for key, values in episode.data.items()} == {
        "q": "float32",
        "action": "float32",
        "time": "float64",
    }
    assert len(episode) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": np.ones((4, 2))}, "differ in length.*'q': 4"),
        ({"q": np.ones((5, 3))}, r"'q' has shape \(5, 3\), expected \(T, 2\)"),
        ({"q": np.ones((5, 2), complex)}, "'q' holds complex128"),
        ({"q": np.full((5, 2), "x")}, "'q' holds <U1"),
        ({"time": np.array(3.0)}, "'time' has shape"),
        ({"torque": np.ones((5, 2))}, "unknown entries torque; valid: action, q, time"),
    ],
)
def test_an_episode_that_does_not_fit_says_where(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(**changes)


@pytest.mark.parametrize("success", ["", 1, 0.5, [True]])
def test_an_episode_succeeded_failed_or_is_unknown(success: Any) -> None:
    with pytest.raises(
        DataError, match=r"succeeded .True., failed .False. or is unknown .None., not"
    ):
        Episode(small().data, SMALL, success)


def test_an_episode_names_what_is_missing() -> None:
    with pytest.raises(DataError, match="lacks action, time; it needs action, q, time"):
        Episode({"q": np.ones((5, 2))}, SMALL)


def test_float_pictures_are_refused() -> None:
    data = {key: values.astype(float) for key, values in make(0).data.items()}
    with pytest.raises(DataError, match="'camera' is an image field of uint8"):
        Episode(data, SPEC)


@pytest.mark.parametrize("key", ["action", "time", "../up", "a/b", "", ".hidden", "zarr.json"])
def test_a_name_that_cannot_be_stored_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match="observation"):
        DemoStore.create(tmp_path / "s", Spec({key: Field((2,))}, {"a": Field((1,))}, 10))
    assert not any(tmp_path.iterdir())


# Reading back


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.data())
def test_what_is_appended_reads_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], draw: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "demos"
    floats = st.floats(
        width=32
    )  # NaN and infinity too: `check` finds them, storing must not hide them
    with DemoStore.create(path, SMALL) as store:
        episodes = [
            small(n, action=draw.draw(arrays(np.float32, (n, 3), elements=floats))) for n in lengths
        ]
        for episode in episodes:
            store.append(episode)
        assert_equal(store, episodes)
    again = DemoStore.open(path)
    assert_equal(again, episodes)
    for i, episode in enumerate(episodes):
        for key, values in episode.data.items():
            np.testing.assert_array_equal(again.episode(i - len(episodes)).data[key], values)


def test_several_episodes_in_one_append_are_one_each(tmp_path: Path) -> None:
    episodes = [make(seed) for seed in range(4)]
    with DemoStore.create(tmp_path / "s", SPEC) as store:
        store.append(*episodes[:3])
        store.append()
        store.append(episodes[3])
        assert_equal(store, episodes)
        with pytest.raises(DataError, match="without frames"):
            store.append(make(5), Episode({k: v[:0] for k, v in make(6).data.items()}, SPEC))
    assert_equal(DemoStore.open(store.path), episodes)


def test_who_acted_reads_back_frame_by_frame(tmp_path: Path) -> None:
    said = Episode(small(3).data, SMALL, source=np.array([1, 2, 2]))
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        store.append(small(5))
        assert not (tmp_path / "s/meta/source").exists(), "nobody has said anything yet"
        store.append(said, small(2))
    with DemoStore.open(tmp_path / "s", "a") as store:
        store.append(small(1), said)
        assert store.sources().tolist() == [0] * 5 + [1, 2, 2, 0, 0, 0, 1, 2, 2]
    curate(store.path, lambda curation: replace(curation, deleted=frozenset({1})))
    store = DemoStore.open(store.path)
    assert store.sources().tolist() == [0] * 8 + [1, 2, 2] and store.sources(9).tolist() == [2, 2]
    assert store.episode(0).source is None and store.episode(-1).sources.tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    "source", [[1, 1], [1, 1, 9], [1, -1, 0], [[1], [1], [1]], ["a", "b", "c"]]
)
def test_who_acted_is_one_of_those_known(source: list[Any]) -> None:
    with pytest.raises(DataError, match="of numbers below 4, for "):
        Episode(small(3).data, SMALL, source=np.array(source))


def test_the_spec_and_provenance_read_back(tmp_path: Path) -> None:
    DemoStore.create(tmp_path / "s", SMALL, {"licence": "MIT"}).close()
    store = DemoStore.open(tmp_path / "s")
    assert (store.spec, store.provenance, len(store), store.frames) == (
        SMALL,
        {"licence": "MIT"},
        0,
        0,
    )


def test_any_zarr_reads_the_documented_layout(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        store.append(small(5))
        store.append(Episode(small(3).data, SMALL))
    group: Any = zarr.open_group(tmp_path / "s", mode="r")
    assert group["data/q"].shape == (8, 2)
    assert group["meta/episode_ends"][:].tolist() == [5, 8]
    assert group["meta/success"][:].tolist() == [1, -1]


@given(st.integers(-12, 12), st.none() | st.integers(-12, 12))
@settings(max_examples=30)
def test_array_slices_as_python_does(shared: DemoStore, start: int, stop: int | None) -> None:
    np.testing.assert_array_equal(
        shared.array("time", start, stop), shared.array("time")[start:stop]
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DemoStore:
    with DemoStore.create(tmp_path_factory.mktemp("shared") / "s", SMALL) as store:
        store.append(small(6))
        store.append(small(4))
    return DemoStore.open(store.path)


def test_unknown_keys_and_episodes_are_named(shared: DemoStore) -> None:
    with pytest.raises(DataError, match="no array 'tool'; valid: action, q, time"):
        shared.array("tool")
    for index in (2, -3):
        with pytest.raises(DataError, match=f"no episode {index}: it holds 2"):
            shared.episode(index)


def test_a_reader_keeps_its_view_while_others_append(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        store.append(small(5))
        reader = DemoStore.open(store.path)
        store.append(small(7, q=np.zeros((7, 2))))
        assert len(reader) == 1
        assert_equal(reader, [small(5)])


# Refusals


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SMALL):
        with pytest.raises(DataError, match="being written already"):
            DemoStore.open(tmp_path / "s", "a")
        DemoStore.open(tmp_path / "s")
    with DemoStore.open(tmp_path / "s", "a") as store:
        store.append(small())


def test_a_reader_and_a_closed_writer_cannot_append(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        pass
    for closed in (store, DemoStore.open(store.path)):
        with pytest.raises(DataError, match='mode="a"'):
            closed.append(small())


def test_an_episode_of_another_robot_is_refused(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        with pytest.raises(DataError, match=r"does not fit .*'q' is missing"):
            store.append(make(0))
        with pytest.raises(DataError, match="without frames"):
            store.append(small(0))
        assert len(store) == 0


def test_a_robot_may_measure_more_than_the_store_keeps(tmp_path: Path) -> None:
    spec = Spec({**SMALL.observations, "extra": Field((1,))}, SMALL.actions, 20)
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        store.append(Episode({**small().data, "extra": np.ones((5, 1))}, spec, success=True))
        assert_equal(store, [small()])


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        DemoStore.create(tmp_path / "s", SMALL)
    assert [p.name for p in tmp_path.rglob("*")] == ["s", "thesis.txt"]


def test_a_place_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="has no name of its own"):
        DemoStore.create(".", SMALL)


def test_provenance_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="plain JSON"):
        DemoStore.create(tmp_path / "s", SMALL, {"when": object()})


def test_reading_an_empty_store_says_that_it_is_empty(tmp_path: Path) -> None:
    with (
        DemoStore.create(tmp_path / "s", SMALL) as store,
        pytest.raises(DataError, match="no episodes yet"),
    ):
        store.array("action")


@pytest.mark.parametrize("mode", ["r", "a"])
@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, "", "no demonstrations at"),
        ("notes.txt", "", "is not a fewstep store"),
        ("zarr.json", "{", "is not a fewstep store"),
        ("zarr.json", '{"attributes": {"format": "other"}}', "is not a fewstep store"),
        (
            "zarr.json",
            '{"attributes": {"format": "fewstep-demos", "version": 2}}',
            "version 2 .* reads 1: update",
        ),
        (
            "zarr.json",
            '{"attributes": {"format": "fewstep-demos", "version": 1, "spec": {}}}',
            "is damaged",
        ),
        ("meta/episode_ends/.zarray", "", "is a Diffusion Policy replay buffer; import it"),
        ("meta/info.json", "", "is a LeRobot dataset; import it"),
    ],
)
def test_what_is_no_store_is_recognised(
    tmp_path: Path, file: str | None, content: str, message: str, mode: Any
) -> None:
    if file:
        (tmp_path / "s" / file).parent.mkdir(parents=True)
        (tmp_path / "s" / file).write_text(content)
    with pytest.raises(DataError, match=message):
        DemoStore.open(tmp_path / "s", mode)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("data/q/zarr.json", None),
        ("data/q/zarr.json", b"{"),
        ("data/q/c/0/0", b"rubbish"),
        ("meta/episode_ends/zarr.json", None),
        ("meta/episode_ends/c/0", b"rubbish"),
        ("meta/success/zarr.json", b"[]"),
    ],
)
def test_damage_is_reported_as_damage(tmp_path: Path, file: str, content: bytes | None) -> None:
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        store.append(small())
    if content is None:
        (store.path / file).unlink()
    else:
        (store.path / file).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        DemoStore.open(store.path).episode(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": False}, "unknown encoding of images False; valid: jpeg, lossless"),
        ({"images": ["jpeg"]}, "unknown encoding of images"),
        ({"spec": {"observations": []}}, "not a Spec"),
        ({"spec": 5}, "not a Spec"),
        ({"shape": [10**9]}, "a frame of shape .* would take more than 67108864 bytes"),
        ({"shape": [10**50]}, "would take more than"),
        ({"shape": [-1]}, "no shape can be"),
        ({"shape": [True]}, "expected int, not True"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    DemoStore.create(tmp_path / "s", SMALL).close()
    head = json.loads((tmp_path / "s/zarr.json").read_text())
    if "shape" in changes:
        head["attributes"]["spec"]["observations"]["q"] |= changes
    else:
        head["attributes"] |= changes
    (tmp_path / "s/zarr.json").write_text(json.dumps(head))
    with pytest.raises(FewstepError, match=message) as caught:
        DemoStore.open(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value)


def test_a_chunk_has_at_least_one_frame(tmp_path: Path) -> None:
    DemoStore.create(tmp_path / "s", SMALL).close()
    file = tmp_path / "s/data/q/zarr.json"
    about = json.loads(file.read_text())
    about["chunk_grid"]["configuration"]["chunk_shape"][0] = 0
    file.write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"q/zarr\.json is damaged: no chunk can have the shape"):
        DemoStore.open(tmp_path / "s")


def test_a_lost_chunk_reads_as_nan(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SMALL) as store:
        store.append(small())
    (store.path / "data/q/c/0/0").unlink()
    assert np.isnan(DemoStore.open(store.path).array("q")).all()


# Crashes


@pytest.fixture(scope="module")
def writer() -> Iterator[Callable[..., dict[str, Any]]]:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", Path(__file__).parents[1] / "crash_writer.py"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        requests, replies = process.stdin, process.stdout
        assert requests and replies

        def ask(**request: Any) -> dict[str, Any]:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            return json.loads(replies.readline())

        yield ask
        requests.close()


def survivors(path: Path, before: list[Episode], seeds: list[int], appended: int) -> list[Episode]:
    """Check a store whose writer was killed, from the episode before the last good one on.

    Returns its episodes.
    """
    store = DemoStore.open(path)
    new = len(store) - len(before)
    assert (
        appended <= new <= appended + 1
    )  # what append returned from is there; the one under way may be
    after = before + [make(seed) for seed in seeds[:new]]
    for i in range(max(0, len(before) - 2), len(after)):
        for key, values in store.episode(i).data.items():
            np.testing.assert_array_equal(values, after[i].data[key])
    return after


def test_a_writer_killed_at_any_write_loses_at_most_its_episode(
    tmp_path: Path, writer: Callable[..., Any]
) -> None:
    DemoStore.create(tmp_path / "s", SPEC).close()
    episodes, boundary, code = [], 0, -9
    while code == -9:
        boundary += 1
        result = writer(path=str(tmp_path / "s"), seeds=[3], boundary=boundary)
        code = result["code"]
        episodes = survivors(tmp_path / "s", episodes, [3], result["appended"])
    assert code == 0
    assert boundary > 60  # or the bomb no longer sees the writes
    assert len(episodes) > 1
    assert_equal(DemoStore.open(tmp_path / "s"), episodes)


def test_a_writer_killed_at_any_time_loses_at_most_its_episode(
    tmp_path: Path, writer: Callable[..., Any]
) -> None:
    DemoStore.create(tmp_path / "s", SPEC).close()
    start = perf_counter()
    writer(path=str(tmp_path / "s"), seeds=[0, 1, 2])
    longest = min(perf_counter() - start, 0.4)  # a few appends of this machine, today
    rng, episodes, seed = np.random.default_rng(0), [make(0), make(1), make(2)], 3
    for _ in range(100):
        seeds = list(range(seed, seed + 100))
        result = writer(path=str(tmp_path / "s"), seeds=seeds, seconds=rng.uniform(0.0, longest))
        assert result["code"] == -9
        episodes = survivors(tmp_path / "s", episodes, seeds, result["appended"])
        seed += 100
    assert len(episodes) > 5  # or none lived long enough to write
    assert_equal(DemoStore.open(tmp_path / "s"), episodes)


def test_a_full_disk_keeps_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, left = os.fsync, [0]

    def full(handle: int) -> None:
        left[0] -= stat.S_ISREG(os.fstat(handle).st_mode)
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with DemoStore.create(tmp_path / "s", SPEC) as store:
        store.append(make(0))
        monkeypatch.setattr(os, "fsync", full)
        for n in range(1, 100):
            left[0] = n
            if len(store) > 1:
                break
            try:
                store.append(make(n))
            except DataError as error:
                assert "No space left on device" in str(error)
                assert "nothing was added, all 1 from before are safe" in str(error)
                assert_equal(DemoStore.open(store.path), [make(0)])
            else:
                assert n > 10
                assert_equal(DemoStore.open(store.path), [make(0), make(n)])
        assert len(store) == 2
        assert not list(store.path.rglob("*.partial"))
