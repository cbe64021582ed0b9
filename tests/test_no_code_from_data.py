"""What a file names is never run.

Codecs and types are compared with closed tables before anything is read.
"""

import json
import os
import pickle
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from crash_writer import SPEC, make
from numcodecs.abc import Codec
from test_formats import buffer, numbers, zipped

from fewstep.demos.formats import import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError

ROOT = Path(__file__).parents[1]
OLD = os.environ.get(
    "FEWSTEP_OLD_NUMCODECS_PYTHON", ""
)  # an interpreter with the base install and numcodecs < 0.16.6


class Evil(Codec):
    """Records what is asked of it."""

    codec_id = "evil"
    asked: list[str]

    def __init__(self, **settings: Any) -> None:
        self.asked = type(self).asked  # a thread of zarr may go on after its test has ended
        self.asked.append("made")

    def encode(self, buf: Any) -> Any:
        return buf

    def decode(self, buf: Any, out: Any = None) -> Any:
        self.asked.append("decode")
        return buf


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    monkeypatch.setattr(Evil, "asked", [], raising=False)
    monkeypatch.setitem(numcodecs.registry.codec_registry, "evil", Evil)
    yield Evil.asked


def describe(array: Path, **changes: Any) -> None:
    """Change the description of an array of zarr v2."""
    about = json.loads((array / ".zarray").read_text())
    (array / ".zarray").write_text(json.dumps(about | changes))


@pytest.mark.parametrize("array", ["data/state", "data/action", "meta/episode_ends"])
@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"compressor": {"id": "evil"}}, "'evil' is not read; valid: blosc, bz2"),
        ({"filters": [{"id": "evil"}]}, "filter evil is not read"),
        ({"compressor": {"id": "evil"}, "dtype": "|O"}, "'evil' is not read"),
        (
            {"filters": [{"id": "vlen-utf8"}, {"id": "evil"}], "dtype": "|O"},
            "filter evil is not read",
        ),
        ({"compressor": {"id": "pickle"}, "dtype": "|O"}, "'pickle' is not read"),
        ({"filters": [{"id": "pickle"}], "dtype": "|O"}, "filter pickle is not read"),
    ],
)
def test_a_codec_that_a_buffer_names_is_never_reached(
    tmp_path: Path, evil: list[str], array: str, archive: bool, changes: dict[str, Any], named: str
) -> None:
    source = buffer(tmp_path / "in", **numbers())
    describe(source / array, **changes)
    with pytest.raises(DataError, match=named):
        import_demonstrations(zipped(source) if archive else source, tmp_path / "out")
    assert not evil
    assert not (tmp_path / "out").exists()


def test_the_codec_would_be_reached_by_zarr_itself(tmp_path: Path, evil: list[str]) -> None:
    source = buffer(tmp_path / "in", **numbers())
    describe(source / "data/state", compressor={"id": "evil"})
    with pytest.raises(ValueError):
        zarr.open_group(source, mode="r")["data/state"][:]  # pyright: ignore
    assert evil[0] == "made" and "decode" in evil, "or the tests above show nothing"


def test_copies_of_the_descriptions_are_not_believed(tmp_path: Path, evil: list[str]) -> None:
    source = buffer(tmp_path / "in", **numbers())
    zarr.consolidate_metadata(source, zarr_format=2)
    copies = json.loads((source / ".zmetadata").read_text())
    copies["metadata"]["data/state/.zarray"]["compressor"] = {"id": "evil"}
    (source / ".zmetadata").write_text(json.dumps(copies))
    import_demonstrations(source, tmp_path / "out")
    np.testing.assert_array_equal(
        DemoStore.open(tmp_path / "out").array("state"), numbers()["state"].astype("f4")
    )
    assert not evil


def test_text_beside_the_numbers_is_passed_over(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **numbers(), text=np.array(["push"] * 9))
    words = buffer(tmp_path / "words", **numbers()) / "data/state"
    words.rename(source / "data/words")
    describe(source / "data/words", dtype="|O", filters=[{"id": "vlen-utf8"}], fill_value="")
    import_demonstrations(source, tmp_path / "out")
    assert set(DemoStore.open(tmp_path / "out").spec.observations) == {"gripper", "state", "wrist"}
    for key in ("text", "words"):
        with pytest.raises(DataError, match=f"no key '{key}'; valid: gripper, keypoint"):
            import_demonstrations(source, tmp_path / "other", Choice(keys=(key,)))


@pytest.mark.parametrize("codec", ["blosc", "zstd", "lz4", "zlib", "gzip", "bz2", "lzma", None])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_codec_of_the_table_gives_what_zarr_gives(
    tmp_path: Path, codec: str | None, order: Any
) -> None:
    source, arrays = tmp_path / "in", numbers(40)
    group = zarr.open_group(source, mode="w", zarr_format=2)
    for name, values in {
        "meta/episode_ends": np.array([40]),
        **{f"data/{k}": v for k, v in arrays.items()},
    }.items():
        compressor = None if codec is None else numcodecs.get_codec({"id": codec})
        group.create_array(
            name, data=values, chunks=(7, *values.shape[1:]), compressors=compressor, order=order
        )
    import_demonstrations(
        source, tmp_path / "out", Choice(keys=("keypoint", "state"), cameras=("img", "wrist"))
    )
    store = DemoStore.open(tmp_path / "out")
    for key in ("keypoint", "state", "img", "wrist", "action"):
        np.testing.assert_array_equal(store.array(key), arrays[key].astype(store.array(key).dtype))


@pytest.mark.parametrize("codec", ["jpegxl", "jpeg2k", "png"])
def test_pictures_that_a_buffer_compresses_are_read(tmp_path: Path, codec: str) -> None:
    from imagecodecs import numcodecs as theirs

    pictures = np.random.default_rng(0).integers(0, 256, (9, 24, 32, 3), np.uint8)
    made = {"jpegxl": theirs.Jpegxl(lossless=True), "jpeg2k": theirs.Jpeg2k(), "png": theirs.Png()}[
        codec
    ]
    theirs.register_codecs(verbose=False)
    source = buffer(tmp_path / "in", **numbers())
    array = source / "data/camera"
    group = zarr.open_group(source, mode="a", zarr_format=2)
    group.create_array(
        "data/camera", shape=pictures.shape, dtype="u1", chunks=(1, 24, 32, 3), compressors=None
    )
    for frame, picture in enumerate(pictures):
        (array / f"{frame}.0.0.0").write_bytes(made.encode(picture))
    describe(array, compressor=made.get_config())
    import_demonstrations(source, tmp_path / "out", Choice(cameras=("camera",)))
    np.testing.assert_array_equal(DemoStore.open(tmp_path / "out").array("camera"), pictures)


# Our own store


def store(path: Path) -> Path:
    with DemoStore.create(path, SPEC) as out:
        out.append(make(0))
    return path


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def used(path: Path) -> None:
    found = DemoStore.open(path)
    for key in ("action", *SPEC.observations):
        found.array(key)


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


@pytest.mark.parametrize(
    "file", ["data/action/zarr.json", "meta/episode_ends/zarr.json", "data/camera/ends/zarr.json"]
)
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"zarr_format": 2}, "of zarr format 2 and not 3"),
        (
            {"zarr_format": 2, "compressor": {"id": "pickle"}, "filters": None, "dtype": "|O"},
            "of zarr format 2",
        ),
        (
            {"codecs": [{"name": "numcodecs.evil"}]},
            "codecs numcodecs.evil are not read; valid: bytes",
        ),
        ({"codecs": [BYTES, {"name": "evil"}]}, "codecs bytes, evil are not read"),
        (
            {"codecs": [{"name": "numcodecs.pickle"}, BYTES]},
            "codecs numcodecs.pickle, bytes are not read",
        ),
        ({"data_type": "object"}, "'object' is not read; valid: bool, float"),
        ({"data_type": {"name": "numpy.void", "configuration": {}}}, "is not read; valid"),
        ({"storage_transformers": [{"name": "evil"}]}, "storage transformers are not read"),
    ],
)
def test_a_store_of_ours_holds_what_fewstep_writes_and_nothing_else(
    tmp_path: Path, evil: list[str], file: str, changes: dict[str, Any], named: str
) -> None:
    path = store(tmp_path / "s")
    change(path / file, **changes)
    with pytest.raises(DataError, match=named) as caught:
        used(path)
    assert str(path) in str(caught.value)
    assert not evil


@pytest.mark.parametrize("whole", [True, False])
def test_a_store_of_format_2_is_refused_by_name(
    tmp_path: Path, evil: list[str], whole: bool
) -> None:
    path = store(tmp_path / "s")
    arrays = (
        [path / "data/action"] if not whole else [file.parent for file in path.rglob("*/zarr.json")]
    )
    for array in arrays:
        about = {
            "shape": [1],
            "chunks": [1],
            "dtype": "|O",
            "compressor": {"id": "evil"},
            "filters": None,
        }
        (array / "zarr.json").unlink()
        (array / ".zarray").write_text(
            json.dumps(about | {"fill_value": None, "order": "C", "zarr_format": 2})
        )
    if whole:
        change(path / "zarr.json", zarr_format=2)
        (path / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(DataError, match="format 2") as caught:
        used(path)
    assert str(path) in str(caught.value)
    assert not evil


# With a numcodecs that unpickles


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> Any:
        return open, (str(self.sign), "w")


TRY = """
import sys
from pathlib import Path
from fewstep.demos.formats import import_demonstrations
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError
for name in sys.argv[1:]:
    try:
        if name.startswith("store"):
            DemoStore.open(name).array("action")
        else:
            import_demonstrations(name, f"{name}.out")
    except DataError as error:
        print(name, "refused:", error)
    except Exception as error:
        print(name, "ended in", repr(error))
"""
CONTROL = "import numcodecs, sys; numcodecs.get_codec({'id': 'pickle'}).decode(open(sys.argv[1], 'rb').read())"


@pytest.mark.skipif(
    not OLD, reason="FEWSTEP_OLD_NUMCODECS_PYTHON names no interpreter with numcodecs < 0.16.6"
)
def test_an_old_numcodecs_runs_nothing_either(tmp_path: Path) -> None:
    sign, place = tmp_path / "sign", tmp_path / "fewstep"
    content = pickle.dumps(np.array([Payload(sign)] * 9, object))
    place.mkdir()
    for room in ("envs", "demos", "policy", "configs"):
        (place / room).symlink_to(ROOT / room)

    def run(*words: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [OLD, "-W", "ignore", "-c", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout

    (tmp_path / "payload").write_bytes(content)
    run(CONTROL, str(tmp_path / "payload"))
    assert sign.exists(), "this numcodecs does not unpickle: it shows nothing"
    sign.unlink()
    pickled, names, text = {"id": "pickle"}, [], {"id": "vlen-utf8"}
    for dtype in ("|O", "<f8"):
        plain = {
            "compressor": None,
            "filters": None,
            "fill_value": None,
            "dtype": dtype,
            "shape": [9],
            "chunks": [9],
        }
        mixed = {"compressor": pickled, "filters": [text]}  # what zarr takes for text
        for changes in ({"compressor": pickled}, {"filters": [pickled]}, mixed):
            for array in ("data/action", "meta/episode_ends"):
                source = buffer(tmp_path / f"buffer{len(names)}", **numbers())
                describe(source / array, **plain | changes)
                for chunk in (source / array).glob("[0-9]*"):
                    chunk.write_bytes(content)
                names += [source.name, zipped(source).name]
        path = store(tmp_path / f"store{len(names)}")
        names.append(path.name)
        for array in ("data/action", "meta/episode_ends"):
            (path / array / "zarr.json").unlink()
            (path / array / "0").write_bytes(content)
            about = plain | mixed | {"order": "C", "zarr_format": 2}
            (path / array / ".zarray").write_text(json.dumps(about))
        change(path / "zarr.json", zarr_format=2)
        (path / ".zgroup").write_text('{"zarr_format": 2}')
    said = run(TRY, *names)
    assert not sign.exists()
    assert [name for name in names if f"{name} refused" not in said] == [], said


def test_the_range_of_numcodecs_requires_one_that_unpickles_nothing() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "numcodecs>=0.16.6" in wanted
