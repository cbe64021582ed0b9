"""LeRobot datasets v2.1 and v2.0: a file an episode, read like those of v3.0."""

import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from older_lerobot import change_info, read_info, read_lines, write_lines, write_older
from test_lerobot import pictures
from test_view import ask, serving, summary

from fewstep.demos import DemoStore, Episode
from fewstep.demos.doctor.check import broken, check
from fewstep.demos.formats import import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.formats.lerobot.features import guess_field
from fewstep.envs import DataError, Field, Spec

G1 = Path(__file__).parents[4] / "shared/data/g1_teleop_lerobot_v21"
SPEC = Spec(
    {"state": Field((2,), names=("pan", "tilt")), "top": Field((32, 48, 3), kind="image")},
    {"action": Field((2,), names=("pan", "tilt"))},
    policy_hz=10,
)
LENGTHS = (6, 4, 9)
OUTCOMES = (True, False, True)
DATA = "data/chunk-000/episode_000001.parquet"
VIDEO = "videos/chunk-000/observation.images.top/episode_000001.mp4"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DemoStore:
    path = tmp_path_factory.mktemp("older") / "demos"
    rng = np.random.default_rng(0)
    with DemoStore.create(path, SPEC, {"task": "wave"}) as out:
        for number, (frames, success) in enumerate(zip(LENGTHS, OUTCOMES, strict=True)):
            data = {
                "state": rng.normal(size=(frames, 2)),
                "action": rng.normal(size=(frames, 2)),
                "top": pictures(frames, 32, 48, number),
                "time": np.arange(frames) / 10,
            }
            out.append(Episode(data, SPEC, success))
    return DemoStore.open(path)


@pytest.fixture
def source(store: DemoStore, tmp_path: Path) -> Path:
    write_older(store, tmp_path / "in")
    return tmp_path / "in"


@pytest.mark.parametrize("version", ["v2.1", "v2.0"])
@pytest.mark.parametrize("chunk", [1000, 2], ids=["one folder", "two folders"])
def test_all_that_is_recorded_comes_in(
    store: DemoStore, tmp_path: Path, version: str, chunk: int
) -> None:
    write_older(store, tmp_path / "in", version, chunk)
    assert len(list((tmp_path / "in/data").iterdir())) == (1 if chunk == 1000 else 2)
    import_demonstrations(tmp_path / "in", tmp_path / "out")
    found = DemoStore.open(tmp_path / "out")
    assert found.spec == SPEC
    assert found.success == list(OUTCOMES)
    assert found.provenance == {
        "source": "in",
        "format": f"LeRobot dataset {version}",
        "tasks": ["wave"],
    }
    np.testing.assert_array_equal(found.ends, store.ends)
    for key in ("state", "action"):
        np.testing.assert_array_equal(found.array(key), store.array(key))
    np.testing.assert_allclose(found.array("time"), store.array("time"), atol=1e-6)
    assert found.pictures("top").encoding == "jpeg"
    off = np.abs(found.array("top").astype(int) - store.array("top")).mean((1, 2, 3))
    assert off.max() < 6, f"frame {off.argmax()}"


def test_pictures_beside_the_numbers_come_in_lossless(source: Path, store: DemoStore) -> None:
    shutil.rmtree(source / "videos")
    for number in range(len(LENGTHS)):
        file = source / f"data/chunk-000/episode_{number:06d}.parquet"
        shown = np.asarray(store.episode(number).data["top"])
        cells = [{"bytes": imagecodecs.png_encode(picture), "path": "x.png"} for picture in shown]
        table = pq.read_table(file).append_column("observation.images.top", pa.array(cells))
        pq.write_table(table, file)
    features = read_info(source)["features"]
    features["observation.images.top"]["dtype"] = "image"
    change_info(source, features=features, video_path=None)
    import_demonstrations(source, source.parent / "out")
    found = DemoStore.open(source.parent / "out")
    assert found.pictures("top").encoding == "lossless"
    np.testing.assert_array_equal(found.array("top"), store.array("top"))


def test_episodes_and_tasks_may_be_listed_in_any_order(source: Path, store: DemoStore) -> None:
    told = read_lines(source / "meta/episodes.jsonl")
    for number, row in enumerate(told):
        row["tasks"] = [f"task {number}", "all"]
    del told[1]["tasks"]
    write_lines(source / "meta/episodes.jsonl", told[::-1])
    import_demonstrations(source, source.parent / "out", Choice(cameras=()))
    found = DemoStore.open(source.parent / "out")
    assert found.provenance["tasks"] == ["all", "task 0", "task 2"]
    np.testing.assert_array_equal(found.array("state"), store.array("state"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["x", "y"], ("x", "y")),
        ([["x", "y"]], ("x", "y")),
        ([["x"], ["y"]], ("x", "y")),
        ({"motors": ["x", "y"]}, ("x", "y")),
        ({"arm": ["x"], "hand": ["y"]}, ("x", "y")),
        ({"y": 1, "x": 0}, ("x", "y")),
        (["x", "x"], ()),
        (["x"], ()),
        ([[["x", "y"]]], ()),
        ([None, {}], ()),
        ("xy", ()),
        (None, ()),
    ],
    ids=str,
)
def test_elements_have_names_where_each_has_its_own(
    given: object, expected: tuple[str, ...]
) -> None:
    feature = {"dtype": "float32", "shape": [2], "names": given}
    assert guess_field(feature).names == expected


# What is wrong, and which file


def rewrite(source: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(source / DATA)), source / DATA)


def retell(source: Path, **changes: Any) -> None:
    """Say something else about episode 1."""
    file = source / "meta/episodes.jsonl"
    told = read_lines(file)
    told[1] |= changes
    write_lines(file, told)


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


EPISODES = "meta/episodes.jsonl"
INFO = "meta/info.json"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no rows": (lambda s: (s / DATA).unlink(), f"{DATA}.*No such file"),
    "half a parquet": (lambda s: cut(s / DATA, 0.9), f"cannot read .*{DATA} as parquet"),
    "fewer rows": (
        lambda s: rewrite(s, lambda table: table.slice(1)),
        f"{DATA} does not hold the 4 frames of episode 1",
    ),
    "more rows": (
        lambda s: rewrite(s, lambda table: pa.concat_tables([table, table])),
        f"{DATA} has more than the 4 frames of episode 1",
    ),
    "rows of another": (
        lambda s: shutil.copyfile(s / DATA.replace("1.", "2."), s / DATA),
        f"{DATA} does not hold the 4 frames of episode 1",
    ),
    "no action": (
        lambda s: rewrite(s, lambda table: table.drop_columns(["action"])),
        f"{DATA} lacks action; it has .*observation.state",
    ),
    "text for numbers": (
        lambda s: rewrite(
            s, lambda table: table.set_column(1, "action", pa.array([["a", "b"]] * len(table)))
        ),
        DATA,
    ),
    "no video": (
        lambda s: (s / VIDEO).unlink(),
        rf"the video .*{VIDEO} of camera 'top' is missing: .* cameras=\[\]",
    ),
    "half a video": (lambda s: cut(s / VIDEO, 0.5), f"cannot read .*{VIDEO} as a video"),
    "more pictures": (
        lambda s: shutil.copyfile(s / VIDEO.replace("1.", "0."), s / VIDEO),
        f"{VIDEO} has more pictures than the 4 frames of episode 1",
    ),
    "fewer pictures": (
        lambda s: shutil.copyfile(s / VIDEO, s / VIDEO.replace("1.", "2.")),
        "000002.mp4 ends before episode 2 does: it has 4 pictures for 9 frames",
    ),
    "no list": (lambda s: (s / EPISODES).unlink(), f"cannot read .*{EPISODES}"),
    "empty list": (lambda s: (s / EPISODES).write_text("\n"), f"{EPISODES} lists no episodes"),
    "torn list": (lambda s: cut(s / EPISODES, 0.95), f"cannot read line 3 of .*{EPISODES} as JSON"),
    "no table": (
        lambda s: (s / EPISODES).write_text("[1]\n"),
        rf"line 1 of .*{EPISODES} holds no table, but \[1\]",
    ),
    "fewer episodes": (
        lambda s: write_lines(s / EPISODES, [{"episode_index": 0, "length": 6}]),
        f"has 3 episodes, and {EPISODES} tells of 1: fetch it whole",
    ),
    "twice": (lambda s: retell(s, episode_index=0), f"{EPISODES} has episode 0 twice"),
    "negative length": (lambda s: retell(s, length=-4), f"{EPISODES} has .* whose length is -4"),
    "no length": (lambda s: retell(s, length=None), f"{EPISODES} has .* whose length is None"),
    "endless": (lambda s: retell(s, length=10**9), f"{DATA} does not hold the 1000000000 frames"),
    "negative index": (lambda s: retell(s, episode_index=-1), f"{EPISODES} .* episode_index is -1"),
    "text for an index": (lambda s: retell(s, episode_index="1"), "episode_index is '1'"),
    "fraction for a length": (lambda s: retell(s, length=4.0), "length is 4.0"),
    "text for tasks": (lambda s: retell(s, tasks="wave"), "episode 1: its tasks are no list"),
    "numbers for tasks": (lambda s: retell(s, tasks=[{}]), "episode 1: its tasks are no list"),
    "no folders": (lambda s: change_info(s, chunks_size=0), f"{INFO} says that chunks_size is 0"),
    "text for folders": (lambda s: change_info(s, chunks_size="9"), f"{INFO} .*chunks_size is '9'"),
    "features": (lambda s: change_info(s, features=[]), f"{INFO} describes no features"),
    "feature": (lambda s: change_info(s, features={"action": 1}), f"cannot read .*{INFO}"),
    "rate": (lambda s: change_info(s, fps="fast"), f"cannot read .*{INFO}.*'fast'"),
    "path out": (lambda s: change_info(s, data_path="../{episode_index}"), "leads out of it"),
    "path of v3.0": (
        lambda s: change_info(s, data_path="data/{file_index}"),
        "valid fields: episode_chunk, episode_index, also",
    ),
    "one path for all": (
        lambda s: change_info(s, video_path=VIDEO),
        f"{INFO}: video_path '{VIDEO}' lacks {{episode_index}}",
    ),
    "no path": (lambda s: change_info(s, video_path=None), "says of a path that it is None"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_said_of_its_file_and_nothing_is_left(source: Path, damage: str) -> None:
    do, message = DAMAGES[damage]
    do(source)
    with pytest.raises(DataError, match=re.escape(str(source))) as refused:
        import_demonstrations(source, source.parent / "out")
    assert re.search(message, str(refused.value)), refused.value
    assert [path.name for path in source.parent.iterdir()] == ["in"]


@pytest.mark.parametrize("version", ["v1.6", "v2.2", "v4.0", None, 3, ["v2.1"]], ids=str)
def test_other_versions_are_refused_with_those_that_are_read(source: Path, version: object) -> None:
    change_info(source, codebase_version=version)
    with pytest.raises(DataError, match=r"info.json .* valid: v2.0, v2.1, v3.0\. lerobot itself"):
        import_demonstrations(source, source.parent / "out")


def test_a_dataset_from_before_v2_is_known_as_such(tmp_path: Path) -> None:
    (tmp_path / "in/meta_data").mkdir(parents=True)
    (tmp_path / "in/meta_data/info.json").write_text('{"codebase_version": "v1.6"}')
    with pytest.raises(DataError, match=r"before v2.0; valid: v2.0, v2.1, v3.0"):
        import_demonstrations(tmp_path / "in", tmp_path / "out")


def test_without_its_videos_the_rest_is_imported(source: Path) -> None:
    shutil.rmtree(source / "videos")
    import_demonstrations(source, source.parent / "out", Choice(cameras=()))
    assert list(DemoStore.open(source.parent / "out").spec.observations) == ["state"]


def test_more_episodes_take_no_more_memory(tmp_path: Path) -> None:
    spec = Spec({"top": Field((64, 64, 3), kind="image")}, {"a": Field((1,))}, 10)
    frames = 30
    data = {"action": np.zeros((frames, 1)), "time": np.arange(frames) / 10}
    with DemoStore.create(tmp_path / "demos", spec) as out:
        for number in range(12):
            out.append(Episode(data | {"top": pictures(frames, 64, 64, number)}, spec))
    write_older(DemoStore.open(tmp_path / "demos"), tmp_path / "in")
    told = read_lines(tmp_path / "in" / EPISODES)
    peaks = []
    for count in (2, 12):
        write_lines(tmp_path / "in" / EPISODES, told[:count])
        change_info(tmp_path / "in", total_episodes=count)
        tracemalloc.start()
        import_demonstrations(tmp_path / "in", tmp_path / f"out {count}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = 10 * frames * 64 * 64 * 3
    assert peaks[1] - peaks[0] < 0.2 * more, f"{peaks} bytes for 2 and 12 episodes"


# A real one


def first_episodes(path: Path, count: int) -> Path:
    """Copy the first episodes of the real dataset."""
    rows = read_lines(G1 / EPISODES)[:count]
    (path / "meta").mkdir(parents=True)
    shutil.copyfile(G1 / INFO, path / INFO)
    change_info(path, total_episodes=count)
    write_lines(path / EPISODES, rows)
    for number in range(count):
        for file in G1.rglob(f"episode_{number:06d}.*"):
            to = path / file.relative_to(G1)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)
    return path


def test_real_teleoperation_is_read_checked_and_shown(tmp_path: Path) -> None:
    if not G1.exists():
        pytest.skip("the teleoperated episodes of a G1 are not here")
    source = first_episodes(tmp_path / "in", 2)
    import_demonstrations(source, tmp_path / "out")
    store = DemoStore.open(tmp_path / "out")
    assert (len(store), store.frames, store.spec.policy_hz) == (2, 290 + 297, 30)
    assert store.provenance["tasks"] == ["Pick up the yellow bottle on the table."]
    assert store.spec.observations["cam_high"] == Field((480, 640, 3), kind="image")
    assert store.spec.observations["state"].names[::25] == (
        "kLeftShoulderPitch",
        "kRightHandThumbRotation",
    )
    assert store.spec.actions["action"].names == store.spec.observations["state"].names
    said = read_lines(G1 / "meta/episodes_stats.jsonl")[0]["stats"]
    for key, feature in {"state": "observation.state", "action": "action"}.items():
        mean = store.episode(0).data[key].mean(0)
        np.testing.assert_allclose(mean, said[feature]["mean"], atol=1e-5)
    shown = np.asarray(store.episode(0).data["cam_high"][::29]).mean((0, 1, 2)) / 255
    mean = np.ravel(said["observation.images.cam_high"]["mean"])
    np.testing.assert_allclose(shown, mean, atol=0.02)
    assert store.pictures("cam_high").encoding == "jpeg"
    assert not broken(check(store))
    with serving(tmp_path / "out") as server:
        assert summary(server)["frames"] == [290, 297]
        assert ask(server, "/picture/1/0/296")[0].status == 200
