"""LeRobot datasets.

Ours come back as they were, those of others are read as far as they say what they mean.
"""

import json
import os
import shutil
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewstep.demos import DemoStore, Episode
from fewstep.demos.formats import export_demonstrations, import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.formats.lerobot.writing import write
from fewstep.envs import ConfigError, DataError, Field, Spec, SpecError

HUMAN = Path(__file__).parents[4] / "shared/data/pusht_lerobot_v3"
LEROBOT = os.environ.get("FEWSTEP_LEROBOT_PYTHON", "")  # an interpreter that has lerobot 0.4.4
SPEC = Spec(
    {
        "joints": Field((3,), "rad", names=("a", "b", "c")),
        "top": Field((48, 64, 3), kind="image"),
        "grip": Field((1,), "m"),
        "wrist": Field((33, 47, 3), kind="image"),
    },
    {"joints": Field((3,), "rad", measured_by="joints"), "grip": Field((1,), "m", "discrete")},
    policy_hz=10,
    command_hz=50,
)
LENGTHS = (12, 5, 20, 7, 9)


def pictures(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """Smooth ones, which a video keeps well, and different at every frame."""
    y, x, k = np.mgrid[:height, :width, :frames]
    rgb = np.stack([x * 2 + k * 5, y * 2 + 20 * seed, 7 * k + 0 * x], -1)
    return rgb.transpose(2, 0, 1, 3).clip(0, 255).astype(np.uint8)


def episode(i: int, frames: int, success: bool | None) -> Episode:
    rng = np.random.default_rng(i)
    data = {
        key: rng.normal(size=(frames, n))
        for key, n in {"joints": 3, "grip": 1, "action": 4}.items()
    }
    data |= {"top": pictures(frames, 48, 64, i), "wrist": pictures(frames, 33, 47, 3 * i)}
    return Episode(
        data | {"time": np.arange(frames) / 10 + rng.uniform(0, 0.01, frames)}, SPEC, success
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DemoStore:
    path = tmp_path_factory.mktemp("lerobot") / "demos"
    with DemoStore.create(path, SPEC, {"task": "wave", "licence": "MIT"}) as out:
        out.append(*(episode(i, n, [True, False, None][i % 3]) for i, n in enumerate(LENGTHS)))
    return DemoStore.open(path)


@pytest.fixture
def export(store: DemoStore, tmp_path: Path) -> Path:
    write(store, tmp_path / "export")
    return tmp_path / "export"


def same(a: DemoStore, b: DemoStore, pixels: float = 6.0) -> None:
    """Identical, pictures as far as the codec allows."""
    assert (a.spec, a.provenance, a.success) == (b.spec, b.provenance, b.success)
    np.testing.assert_array_equal(a.ends, b.ends)
    for key in ("action", "time", *a.spec.observations):
        x, y = a.array(key), b.array(key)
        if x.dtype == np.uint8:
            off = np.abs(x.astype(int) - y).mean((1, 2, 3))
            assert off.max() < pixels, f"{key}: frame {off.argmax()}"
        else:
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("limit", [100.0, 0.0], ids=["one file", "a file an episode"])
def test_what_was_exported_comes_back(store: DemoStore, tmp_path: Path, limit: float) -> None:
    write(store, tmp_path / "export", data_megabytes=limit, video_megabytes=limit)
    files = [len(list((tmp_path / "export").rglob(f"*.{kind}"))) for kind in ("mp4", "parquet")]
    assert files == ([2, 3] if limit else [2 * len(LENGTHS), 2 + len(LENGTHS)])
    import_demonstrations(tmp_path / "export", tmp_path / "back")
    same(DemoStore.open(tmp_path / "back"), store)


@pytest.mark.parametrize("format", ["lerobot", "diffusion_policy", "robomimic"])
@pytest.mark.parametrize("said", [True, False])
def test_who_acted_comes_back_where_it_was_said(tmp_path: Path, format: str, said: bool) -> None:
    acted = [np.array([3, 3, 1, 2]), None]
    made = [episode(i, 4, True) for i in range(2)]
    with DemoStore.create(tmp_path / "demos", SPEC, {}) as out:
        for each, source in zip(made, acted, strict=True):
            out.append(replace(each, source=source) if said else each)
    store = DemoStore.open(tmp_path / "demos")
    export_demonstrations(store, tmp_path / "out.hdf5", format)
    import_demonstrations(tmp_path / "out.hdf5", tmp_path / "back")
    back = DemoStore.open(tmp_path / "back")
    assert back.sources().tolist() == ([3, 3, 1, 2, 0, 0, 0, 0] if said else [0] * 8)
    assert (back.episode(0).source is not None) == said


def test_a_second_round_changes_numbers_no_more_than_the_first(
    store: DemoStore, export: Path, tmp_path: Path
) -> None:
    import_demonstrations(export, tmp_path / "back")
    write(DemoStore.open(tmp_path / "back"), tmp_path / "again")
    import_demonstrations(tmp_path / "again", tmp_path / "third")
    same(DemoStore.open(tmp_path / "third"), store)


def test_a_replay_buffer_comes_back_to_the_last_bit(store: DemoStore, tmp_path: Path) -> None:
    export_demonstrations(store, tmp_path / "buffer", "diffusion_policy")
    import_demonstrations(tmp_path / "buffer", tmp_path / "back")
    same(DemoStore.open(tmp_path / "back"), store, pixels=1e-9)


def test_cameras_and_keys_choose(export: Path, store: DemoStore, tmp_path: Path) -> None:
    import_demonstrations(export, tmp_path / "out", Choice(("grip",), ("wrist",)))
    out = DemoStore.open(tmp_path / "out")
    assert list(out.spec.observations) == ["grip", "wrist"]
    assert out.spec.actions["joints"].measured_by == "", "what measured it is not there"
    np.testing.assert_array_equal(out.array("grip"), store.array("grip"))


def test_statistics_are_those_of_the_data(export: Path, store: DemoStore) -> None:
    found = json.loads((export / "meta/stats.json").read_text())
    state = np.concatenate([store.array("joints"), store.array("grip")], 1).astype(float)
    for name, value in {
        "min": state.min(0),
        "max": state.max(0),
        "mean": state.mean(0),
        "std": state.std(0),
    }.items():
        np.testing.assert_allclose(found["observation.state"][name], value, atol=1e-6)
    assert found["action"]["count"] == [sum(LENGTHS)]
    assert np.shape(found["observation.images.top"]["mean"]) == (3, 1, 1)
    assert (
        0
        <= np.min(found["observation.images.top"]["min"])
        <= np.max(found["observation.images.top"]["max"])
        <= 1
    )


def foreign(path: Path, names: object = None, **features: np.ndarray) -> Path:
    """A dataset as others write it: two episodes of three frames, scalars as plain numbers."""
    columns = {
        "action": np.arange(12.0).reshape(6, 2),
        "timestamp": np.arange(6) % 3 / 30,
        **features,
    }
    info = {
        "codebase_version": "v3.0",
        "fps": 30,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    }
    info["features"] = {
        k: {
            "dtype": str(v.dtype),
            "shape": list(v.shape[1:]) or [1],
            "names": names if v.ndim > 1 else None,
        }
        for k, v in columns.items()
    }
    table = {k: v.tolist() for k, v in columns.items()} | {"episode_index": [0, 0, 0, 1, 1, 1]}
    rows = [
        {
            "episode_index": i,
            "length": 3,
            "tasks": ["push"],
            "data/chunk_index": 0,
            "data/file_index": 0,
        }
        for i in (0, 1)
    ]
    for file, content in {"data": table, "meta/episodes": rows}.items():
        (path / file / "chunk-000").mkdir(parents=True)
        made = pa.table(content) if isinstance(content, dict) else pa.Table.from_pylist(content)
        pq.write_table(made, path / file / "chunk-000/file-000.parquet")
    (path / "meta/info.json").write_text(json.dumps(info))
    return path


def test_features_of_others_get_short_names_and_their_elements_theirs(tmp_path: Path) -> None:
    more = {
        "observation.state": np.ones((6, 2), np.float32),
        "observation.effort": np.arange(6.0),
        "next.reward": np.ones(6),
    }
    import_demonstrations(
        foreign(tmp_path / "in", {"motors": ["x", "y"]}, **more), tmp_path / "out"
    )
    store = DemoStore.open(tmp_path / "out")
    assert dict(store.spec.observations) == {
        "state": Field((2,), names=("x", "y")),
        "effort": Field((1,)),
    }
    assert (store.spec.policy_hz, store.success, store.provenance["tasks"]) == (
        30,
        [None, None],
        ["push"],
    )
    assert store.array("effort").ravel().tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(store.array("time"), np.arange(6) % 3 / 30)


def test_an_episode_succeeded_where_the_dataset_says_so(tmp_path: Path) -> None:
    won = np.array([False, False, True, False, False, False])
    source = foreign(tmp_path / "in", **{"observation.state": np.ones((6, 2)), "next.success": won})
    import_demonstrations(source, tmp_path / "out")
    assert DemoStore.open(tmp_path / "out").success == [True, False]


def test_images_that_lie_beside_the_numbers_are_read(tmp_path: Path) -> None:
    frames = pictures(6, 8, 10, 1)
    source = foreign(tmp_path / "in", **{"observation.state": np.ones((6, 2))})
    file = next((source / "data").rglob("*.parquet"))
    cells = [{"bytes": imagecodecs.png_encode(frame.copy()), "path": None} for frame in frames]
    pq.write_table(
        pq.read_table(file).append_column("observation.images.top", pa.array(cells)), file
    )
    info = json.loads((source / "meta/info.json").read_text())
    info["features"]["observation.images.top"] = {
        "dtype": "image",
        "shape": [3, 8, 10],
        "names": ["c", "h", "w"],
    }
    (source / "meta/info.json").write_text(json.dumps(info))
    import_demonstrations(source, tmp_path / "out")
    np.testing.assert_array_equal(DemoStore.open(tmp_path / "out").array("top"), frames)


def broken(path: Path, damage: str) -> None:
    info = json.loads((path / "meta/info.json").read_text())
    match damage:
        case "version":
            info["codebase_version"] = "v1.6"
        case "action":
            del info["features"]["action"]
        case "no json":
            (path / "meta/info.json").write_text("{")
            return
        case "half a parquet":
            file = next((path / "data").rglob("*.parquet"))
            file.write_bytes(file.read_bytes()[:-50])
        case "no data":
            shutil.rmtree(path / "data")
        case "no episodes":
            shutil.rmtree(path / "meta/episodes")
        case "lost video":
            next((path / "videos").rglob("*wrist*/*/*.mp4")).unlink()
        case "half a video":
            file = next((path / "videos").rglob("*wrist*/*/*.mp4"))
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        case "fewer episodes":
            file = next((path / "meta/episodes").rglob("*.parquet"))
            pq.write_table(pq.read_table(file).slice(0, 2), file)
        case "fewer frames":
            file = next((path / "data").rglob("*.parquet"))
            pq.write_table(pq.read_table(file).slice(0, 30), file)
    (path / "meta/info.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("version", "of version 'v1.6'; valid: v2.0, v2.1, v3.0"),
        ("action", "no feature 'action'; it has"),
        ("no json", "cannot read .*meta/info.json"),
        ("half a parquet", r"cannot read .*data/chunk-000/file-000.parquet"),
        ("fewer episodes", "has 5 episodes, and meta/episodes tells of 2: fetch it whole"),
        ("no data", "cannot read .*No such file or directory"),
        ("no episodes", "meta/episodes"),
        ("lost video", r"camera 'wrist' is missing: .* cameras=\[\]"),
        ("half a video", r"cannot read .*wrist.*mp4"),
        ("fewer frames", "does not hold the 20 frames of episode 2"),
    ],
)
def test_a_damaged_dataset_says_what_is_wrong_and_leaves_nothing(
    export: Path, damage: str, message: str
) -> None:
    broken(export, damage)
    with pytest.raises(DataError, match=message):
        import_demonstrations(export, export.parent / "out")
    assert [p.name for p in export.parent.iterdir()] == ["export"]


def test_a_rate_that_is_text_is_read_as_a_number(export: Path, tmp_path: Path) -> None:
    (export / "meta/fewstep.json").unlink()
    info = json.loads((export / "meta/info.json").read_text())
    (export / "meta/info.json").write_text(json.dumps(info | {"fps": str(info["fps"])}))
    import_demonstrations(export, tmp_path / "out")
    assert DemoStore.open(tmp_path / "out").spec.policy_hz == info["fps"]


def test_a_camera_of_another_kind_can_be_left_out(export: Path, tmp_path: Path) -> None:
    (export / "meta/fewstep.json").unlink()
    info = json.loads((export / "meta/info.json").read_text())
    info["features"]["observation.images.depth"] = {
        "dtype": "video",
        "shape": [24, 32, 1],
        "names": None,
    }
    (export / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(SpecError, match=r"'depth': an image has shape .*, not \(24, 32, 1\)"):
        import_demonstrations(export, tmp_path / "out")
    import_demonstrations(export, tmp_path / "out", Choice(cameras=("wrist",)))
    assert list(DemoStore.open(tmp_path / "out").spec.observations) == ["state", "wrist"]


def test_without_its_cameras_the_rest_is_imported(export: Path, tmp_path: Path) -> None:
    broken(export, "lost video")
    import_demonstrations(export, tmp_path / "out", Choice(cameras=()))
    assert list(DemoStore.open(tmp_path / "out").spec.observations) == ["joints", "grip"]


def test_wrong_choices_list_the_right_ones(export: Path, store: DemoStore, tmp_path: Path) -> None:
    for choice, message in {
        Choice(keys=("elbow",)): "no key 'elbow'; valid: grip, joints",
        Choice(cameras=("left",)): "no camera 'left'; valid: top, wrist",
        Choice(hz=30): "10 frames a second: leave out hz=",
    }.items():
        with pytest.raises(DataError, match=message):
            import_demonstrations(export, tmp_path / "out", choice)
    with pytest.raises(ConfigError, match="'csv'; valid: diffusion_policy, lerobot"):
        export_demonstrations(store, tmp_path / "out", "csv")
    with pytest.raises(DataError, match="exists already"):
        write(store, export)


def test_pickles_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "demos.pkl").write_bytes(b"")
    with pytest.raises(DataError, match="pickle: reading it would run"):
        import_demonstrations(tmp_path / "demos.pkl", tmp_path / "out")


def test_one_episode_at_a_time_is_in_memory(tmp_path: Path) -> None:
    spec = Spec({"top": Field((64, 64, 3), kind="image")}, {"a": Field((1,))}, 10)
    with DemoStore.create(tmp_path / "demos", spec) as out:
        for i in range(80):
            data = {
                "top": pictures(30, 64, 64, i),
                "action": np.zeros((30, 1)),
                "time": np.arange(30) / 10,
            }
            out.append(Episode(data, spec))
    tracemalloc.start()
    write(DemoStore.open(tmp_path / "demos"), tmp_path / "export")
    import_demonstrations(tmp_path / "export", tmp_path / "back")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = 80 * 30 * 64 * 64 * 3
    assert peak < 0.9 * whole, f"{peak / whole:.2f} of all pictures"


def test_human_demonstrations_are_read(tmp_path: Path) -> None:
    if not HUMAN.exists():
        pytest.skip("the human Push-T demonstrations are not here")
    with pytest.raises(DataError, match="camera 'image' is missing"):
        import_demonstrations(HUMAN, tmp_path / "out")
    import_demonstrations(HUMAN, tmp_path / "out", Choice(cameras=()))
    store = DemoStore.open(tmp_path / "out")
    assert (len(store), store.frames, store.spec.policy_hz) == (206, 25_650, 10)
    assert store.array("state", 0, 1).tolist() == [[222, 97]]


READER = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
d = LeRobotDataset("fewstep/export", root=sys.argv[1], delta_timestamps={"action": [0, 0.1, 0.2]}, video_backend="pyav")
d._query_videos = lambda *a: {}  # decoding belongs to torchvision, which has no decoder beside this torch
print(len(d), d.num_episodes, d[13]["action"].shape, d[13]["task"], float(d.meta.stats["action"]["mean"][0]))
print(np.asarray(d.hf_dataset["observation.state"]).shape)
"""


@pytest.mark.skipif(
    not LEROBOT, reason="FEWSTEP_LEROBOT_PYTHON names no interpreter that has lerobot"
)
def test_lerobot_itself_reads_an_export(export: Path) -> None:
    run = subprocess.run(
        [LEROBOT, "-c", READER, str(export)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith(f"{sum(LENGTHS)} {len(LENGTHS)} torch.Size([3, 4]) wave"), (
        run.stdout
    )
