"""Small files that would become large.

Declared sizes are checked before anything is decoded or allocated.
"""

import json
import subprocess
import sys
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import bags
import h5py
import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from memory import at_most
from PIL import Image
from test_formats import buffer, numbers, zipped
from test_lerobot import foreign

from fewstep.demos import DemoStore, Episode
from fewstep.demos.formats import import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.envs import ConfigError, DataError, Field, Spec, caps
from fewstep.envs.tables import read_json, read_table

ROOT = Path(__file__).parents[2]
SPEC = Spec({"top": Field((16, 16, 3), kind="image"), "x": Field((2,))}, {"a": Field((1,))}, 10)
LARGE = 2**27  # bytes that a bomb would take at least
SOME = 60  # MB that refusing it may take


@pytest.fixture(autouse=True)
def little_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that bombs can be small, and tests quick."""
    monkeypatch.setattr(caps, "FREE", 2**22)


def refused(path: Path, message: str, **choice: Any) -> None:
    with at_most(SOME), pytest.raises(DataError, match=message) as caught:
        import_demonstrations(path, path.parent / "out", Choice(**choice))
    assert str(path) in str(caught.value)
    assert not (path.parent / "out").exists()


def size(path: Path) -> int:
    return (
        path.stat().st_size
        if path.is_file()
        else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    )


# HDF5


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("key", ["actions", "obs/x", "obs/view", "rewards"])
def test_hdf5_that_was_never_written_is_no_array_of_zeros(
    tmp_path: Path, key: str, chunked: bool
) -> None:
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["actions"], demo["obs/x"] = np.ones((5, 1)), np.ones((5, 1))
        file["data"].attrs["env_args"] = json.dumps({"env_kwargs": {"reward_shaping": False}})
        if key in demo:
            del demo[key]
        shape = (
            (10**5, 64, 64, 3)
            if key == "obs/view"
            else (10**8,)
            if key == "rewards"
            else (10**8, 7)
        )
        demo.create_dataset(
            key, shape, "u1" if key == "obs/view" else "f8", chunks=True if chunked else None
        )
    assert size(tmp_path / "in.hdf5") < 10**5
    refused(tmp_path / "in.hdf5", "have never been written")


def test_hdf5_of_one_chunk_that_fills_the_rest(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo.create_dataset("actions", (10**8, 1), "f8", chunks=(100, 1))[:100] = np.ones((100, 1))
        demo["obs/x"] = np.ones((5, 1))
    refused(
        tmp_path / "in.hdf5", r"actions: 800000000 bytes are too many for 800 on disk.*\(RATIO\)"
    )


def test_hdf5_compressed_twice(tmp_path: Path) -> None:
    content = zlib.compress(zlib.compress(bytes(LARGE), 9), 9)
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["obs/x"] = np.ones((5, 1))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((5, 1))
        plist.set_deflate(9)
        plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_MANDATORY, (9,))
        space, kind = h5py.h5s.create_simple((5, 1)), h5py.h5t.IEEE_F64LE
        array = h5py.h5d.create(demo.id, b"actions", kind, space, plist)
        array.write_direct_chunk((0, 0), content)
    assert size(tmp_path / "in.hdf5") < 20_000
    refused(tmp_path / "in.hdf5", r"has filters \[1, 1\] of HDF5; valid: .*gzip.*, each once")


# Replay buffers


def chunk_of(source: Path, array: str, **about: Any) -> Path:
    """Describe an array anew; returns the path of its first chunk."""
    described = source / array / ".zarray"
    described.write_text(json.dumps(json.loads(described.read_text()) | about))
    return min((source / array).glob("[0-9]*"))


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("codec", ["zlib", "gzip", "bz2", "lzma", "zstd", "blosc", "lz4"])
def test_a_chunk_that_decodes_to_more_than_its_array_says(
    tmp_path: Path, codec: str, archive: bool
) -> None:
    source, made = buffer(tmp_path / "in", **numbers()), numcodecs.get_codec({"id": codec})
    chunk = chunk_of(source, "data/state", compressor=made.get_config())
    content = made.encode(np.zeros(LARGE, np.uint8))  # pyright: ignore
    chunk.write_bytes(content)
    refused(zipped(source) if archive else source, "only a part of data/state|can belong to it")


@pytest.mark.parametrize("codec", ["zlib", "blosc"])
@pytest.mark.parametrize("parts", [1, 32])
def test_an_episode_of_nothing_in_one_chunk_or_in_many(
    tmp_path: Path, codec: str, parts: int
) -> None:
    made = numcodecs.get_codec({"id": codec})
    group = zarr.open_group(tmp_path / "in", mode="w", zarr_format=2)
    group.create_array("meta/episode_ends", data=np.array([LARGE]))
    nothing = made.encode(np.zeros(LARGE // parts, np.uint8))  # pyright: ignore
    for key in ("action", "state"):
        group.create_array(
            f"data/{key}", shape=(LARGE,), dtype="u1", chunks=(LARGE // parts,), compressors=made
        )
        for part in range(parts):
            (tmp_path / f"in/data/{key}/{part}").write_bytes(nothing)
    refused(tmp_path / "in", r"state: 134217728 bytes are too many.*\(RATIO\)")


def test_a_chunk_that_is_larger_than_any_may_be(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers())
    chunk_of(source, "data/state", chunks=[9, 2**40])
    refused(source, r"bytes at once are too many.*\(AT_ONCE\)")


def test_episode_ends_that_fill_the_memory(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers())
    chunk_of(source, "meta/episode_ends", shape=[10**9])
    refused(source, r"meta/episode_ends: 8000000000 bytes are too many.*\(RATIO\)")


def test_a_zip_of_one_large_file(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers())
    for name in ("data/state/0.0", ".zgroup", "data/state/.zarray"):
        path = tmp_path / f"{Path(name).name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in source.rglob("*"):
                if file.is_file() and str(file.relative_to(source)) != name:
                    archive.write(file, file.relative_to(source))
            archive.writestr(name, bytes(LARGE))
        refused(path, r"of 134217728 bytes, at most \d+ can belong to it")


# EncodedImages


def black(height: int, width: int, kind: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("images", "content"),
    [
        ("jpeg", black(9_000, 9_000, "JPEG")),
        ("lossless", bytes(numcodecs.Zstd(1).encode(np.zeros(LARGE, np.uint8)))),
        ("lossless", b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\0\x10" * 5000),
    ],
    ids=["jpeg", "zstd", "zstd of unknown size"],
)
def test_a_stored_picture_is_as_large_as_its_spec_says(
    tmp_path: Path, images: str, content: bytes
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    with DemoStore.create(tmp_path / "s", SPEC, images=images) as store:
        data = {
            "top": pictures,
            "x": np.ones((2, 2)),
            "action": np.ones((2, 1)),
            "time": np.arange(2),
        }
        store.append(Episode(data, SPEC))
    file, ends = tmp_path / "s/data/top/bytes/c/0", tmp_path / "s/data/top/ends"
    file.write_bytes((content + bytes(2**20))[: 2**20])
    group = zarr.open_group(tmp_path / "s", mode="r+")
    group["data/top/ends"][:] = np.array([min(len(content), 60_000), 65_000])  # pyright: ignore
    assert ends.exists()
    with at_most(SOME), pytest.raises(DataError, match="picture 0 is damaged") as caught:
        DemoStore.open(tmp_path / "s").array("top")
    assert str(tmp_path / "s") in str(caught.value)


def test_a_picture_of_a_bag_has_at_most_so_many_pixels(tmp_path: Path) -> None:
    path, content = tmp_path / "in", black(9_000, 9_000, "PNG")
    times = np.arange(10) / 10
    messages = [bags.joints(t, (t, t)) for t in times] + [bags.command(t, (t, t)) for t in times]
    bags.write(path, [*messages, *(bags.compressed(t, content, "png") for t in times[:2])])
    fields = "hz: 10\nobservations: {camera: {topic: /camera, size: [8, 8]}}\n"
    (tmp_path / "f.yaml").write_text(
        fields + "actions: {a: {topic: /joint_commands, value: data}}\n"
    )
    refused(
        path,
        r"9000 x 9000 pixels, at most 33554432 are decoded \(PIXELS\)",
        fields=str(tmp_path / "f.yaml"),
    )


def test_a_picture_beside_the_numbers_of_lerobot(tmp_path: Path) -> None:
    source = foreign(tmp_path / "in", **{"observation.state": np.ones((6, 2))})
    file = next((source / "data").rglob("*.parquet"))
    cells = pa.array([{"bytes": black(9_000, 9_000, "PNG"), "path": None}] * 6)
    pq.write_table(pq.read_table(file).append_column("observation.images.top", cells), file)
    info = json.loads((source / "meta/info.json").read_text())
    info["features"]["observation.images.top"] = {
        "dtype": "image",
        "shape": [8, 10, 3],
        "names": None,
    }
    (source / "meta/info.json").write_text(json.dumps(info))
    refused(source, "observation.images.top is 9000 x 9000 large, in place of 8 x 10")


def test_rows_of_lerobot_hold_what_the_features_say(tmp_path: Path) -> None:
    source = foreign(tmp_path / "in", **{"observation.state": np.ones((6, 2), np.float32)})
    file = next((source / "data").rglob("*.parquet"))
    table = pq.read_table(file)
    long = pa.array([np.zeros(2**23, np.float32)] * 6, pa.list_(pa.float32()))
    at = table.column_names.index("observation.state")
    pq.write_table(table.set_column(at, "observation.state", long), file, compression="zstd")
    assert size(source) < 10**6
    del table, long
    refused(source, r"has 50331648 numbers in 6 rows of 2")


# Our own store


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_store_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SPEC) as store:
        data = {
            "top": np.zeros((2, 16, 16, 3), np.uint8),
            "x": np.ones((2, 2)),
            "action": np.ones((2, 1)),
        }
        store.append(Episode(data | {"time": np.arange(2)}, SPEC))
    for file in (tmp_path / "s/data").rglob("zarr.json"):
        about = json.loads(file.read_text())
        if about["node_type"] == "array":
            change(file, shape=[10**9, *about["shape"][1:]])
    group = zarr.open_group(tmp_path / "s", mode="r+")
    group["meta/episode_ends"][:] = np.array([10**9])  # pyright: ignore
    found = DemoStore.open(tmp_path / "s")
    for key in ("x", "action", "top"):
        with (
            at_most(SOME),
            pytest.raises(DataError, match=r"bytes are too many for \d+ on disk.*\(RATIO\)"),
        ):
            found.array(key)
    with at_most(SOME), pytest.raises(DataError, match="is damaged: 1000000000 long"):
        group["meta/episode_ends"][:] = np.array([2])  # pyright: ignore
        with DemoStore.open(tmp_path / "s", "a") as writer:
            writer.append(writer.episode(0))


def test_a_chunk_of_a_store_is_no_larger_than_its_array_says(tmp_path: Path) -> None:
    with DemoStore.create(tmp_path / "s", SPEC) as store:
        data = {
            "top": np.zeros((2, 16, 16, 3), np.uint8),
            "x": np.ones((2, 2)),
            "action": np.ones((2, 1)),
        }
        store.append(Episode(data | {"time": np.arange(2)}, SPEC))
    chunk = tmp_path / "s/data/x/c/0/0"
    whole = chunk.read_bytes()
    chunk.write_bytes(numcodecs.Zstd(1).encode(np.zeros(LARGE, np.uint8)))  # pyright: ignore
    with at_most(SOME), pytest.raises(DataError, match="holds 134217728 bytes in place of"):
        DemoStore.open(tmp_path / "s").array("x")
    with open(chunk, "wb") as file:
        file.write(whole)
        file.truncate(2**32)  # a hole, which takes no place on disk
    with at_most(SOME), pytest.raises(DataError, match="has 4294967296 bytes, at most"):
        DemoStore.open(tmp_path / "s").array("x")


def test_a_deep_description_is_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000
    with DemoStore.create(tmp_path / "s", SPEC):
        pass
    (tmp_path / "s/data/x/zarr.json").write_text(deep)
    with pytest.raises(DataError, match=r"x/zarr\.json is damaged: maximum recursion depth"):
        DemoStore.open(tmp_path / "s")
    source = foreign(tmp_path / "in")
    (source / "meta/info.json").write_text(deep)
    refused(source, "cannot read .*meta/info.json as JSON")
    (tmp_path / "large.json").write_text(" " * (caps.JSON + 1))
    with pytest.raises(DataError, match=r"large\.json has more than the 16777216 bytes"):
        read_json(tmp_path / "large.json")


# YAML

LAUGHS = "\n".join(
    [
        "a0: &a0 [ha, ha, ha]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)),
    ]
)
MERGES = "\n".join(
    [
        "a0: &a0 {x: 1}",
        *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)),
    ]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "larger than 10000 values and 50 levels"),
        (MERGES, "larger than 10000 values"),
        ("a: &a [*a]", "[*]a holds itself"),
        ("[" * 1000, "50 levels"),
        ("a: " + "1:" * 30_000 + "1", "4300 digits"),
        ("a: [" + "1, " * 20_000 + "1]", "larger than 10000 values"),
        (f"a: {'x' * caps.YAML}", "more than the 65536 bytes"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: !!binary aGVsbG8=", "bytes is not JSON"),
        ("- a", "expected a table"),
        ("a: 1\nb: 2\na: 3", "it has 'a' twice"),
    ],
)
def test_yaml_has_few_values_with_its_aliases(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "limits.yaml").write_text(text)
    with at_most(SOME), pytest.raises(ConfigError, match=f"limits.yaml.*{message}"):
        read_table(tmp_path / "limits.yaml", "limits")


def test_aliases_and_numbers_are_read_as_usual(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text(
        "a: &a {velocity: 1e-1, low: [-1, 2.5]}\nb: *a\nc: {<<: *a, high: 3}\n"
    )
    a = {"velocity": 0.1, "low": [-1, 2.5]}
    assert read_table(tmp_path / "limits.yaml") == {"a": a, "b": a, "c": a | {"high": 3}}


def test_dates_are_texts_and_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("a: 2026-11-25\nb: 1e3\nc: 1.5E+2\nd: 1_0\n")
    found = read_table(tmp_path / "limits.yaml")
    assert found == {"a": "2026-11-25", "b": 1000.0, "c": 150.0, "d": 10}
    (tmp_path / "limits.yaml").write_text("# nothing\n")
    assert read_table(tmp_path / "limits.yaml") == {}


def test_the_description_of_a_bag_has_few_values_too(tmp_path: Path) -> None:
    times = np.arange(10) / 10
    path = bags.write(tmp_path / "in", [bags.command(t, (t, t)) for t in times])
    (path / "metadata.yaml").write_text(MERGES)
    refused(path, "cannot read .*as a ROS bag: .*larger than 100000 values")


# Honest data


def test_honest_data_may_be_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caps as small as these make of a small dataset one that is far larger than what may be
    decoded at once.
    """
    monkeypatch.setattr(caps, "FREE", 2**18)
    monkeypatch.setattr(caps, "AT_ONCE", 2**20)
    monkeypatch.setattr(caps, "RATIO", 20)
    pictures = np.random.default_rng(0).integers(0, 256, (1000, 64, 64, 3), np.uint8)
    assert pictures.nbytes > 10 * caps.AT_ONCE
    group = zarr.open_group(tmp_path / "in", mode="w", zarr_format=2)
    group.create_array("data/view", data=pictures, chunks=(1, 64, 64, 3))
    group.create_array(
        "data/action", data=np.random.default_rng(1).normal(size=(1000, 2)), chunks=(100, 2)
    )
    group.create_array("meta/episode_ends", data=np.arange(1, 11) * 100)
    import_demonstrations(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(DemoStore.open(tmp_path / "out").array("view"), pictures)


def test_black_pictures_are_honest(tmp_path: Path) -> None:
    """A camera that shows nothing compresses a thousandfold, whatever it is stored in."""
    black_ = np.zeros((60, 240, 320, 3), np.uint8)
    assert black_.nbytes > 3 * caps.FREE
    source = buffer(tmp_path / "in", (30, 60), view=black_, action=np.ones((60, 1)))
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        for number in range(2):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"] = np.ones((60, 1))
            demo.create_dataset(
                "obs/view", data=black_, chunks=(1, 240, 320, 3), compression="gzip"
            )
    for path in (source, tmp_path / "in.hdf5"):
        out = tmp_path / f"{path.name}.out"
        import_demonstrations(path, out)
        assert not DemoStore.open(out).array("view", 0, 3).any()


def test_the_caps_are_shown_and_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shown = subprocess.run(
        [sys.executable, "-m", "fewstep.envs.caps"], check=True, capture_output=True, text=True
    )
    documented = (ROOT / "docs/data.md").read_text()
    assert "python -m fewstep.envs.caps" in documented
    for name, meaning in caps.MEANINGS.items():
        assert f"{name:12} {getattr(caps, name):>12} {meaning}\n" in shown.stdout
        assert f"| `{name}` | {getattr(caps, name):,} | {meaning} |" in documented
