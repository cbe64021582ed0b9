"""Images of a store: compressed one by one, read one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.demos import DemoStore, Episode, Recorder
from fewstep.demos.storage.images import CHUNK, ENCODINGS, Blobs, EncodedImages
from fewstep.envs import Command, ConfigError, DataError, Field, Obs, Outcome, Spec, Step

SHAPE = (60, 80, 3)
SPEC = Spec({"camera": Field(SHAPE, kind="image")}, {"a": Field((1,))}, 10)


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, *SHAPE), np.uint8)


def smooth(frames: int) -> np.ndarray:
    y, x, k = np.mgrid[:60, :80, :frames]
    return np.stack([3 * x, 4 * y, 0 * x + 10 * k], -1).transpose(2, 0, 1, 3).astype(np.uint8)


def episode(pictures: Any) -> Episode:
    n = len(pictures)
    return Episode(
        {"camera": pictures, "action": np.zeros((n, 1)), "time": np.arange(n) / 10}, SPEC
    )


def store_with(path: Path, *parts: Any, images: str = "lossless") -> DemoStore:
    with DemoStore.create(path, SPEC, images=images) as store:
        for part in parts:
            store.append(episode(part))
    return DemoStore.open(path)


def test_lossless_pictures_come_back_to_the_last_bit_across_files(tmp_path: Path) -> None:
    parts = [
        noise(n, seed=n) for n in (40, 1, 90)
    ]  # random pixels do not shrink: 14 kB each, two files
    store = store_with(tmp_path / "s", *parts)
    assert len(list((tmp_path / "s/data/camera/bytes/c").iterdir())) == -(
        -131 * np.prod(SHAPE) // CHUNK
    )
    np.testing.assert_array_equal(store.array("camera"), np.concatenate(parts))
    np.testing.assert_array_equal(store.array("camera", 39, 42), np.concatenate(parts)[39:42])
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(store.episode(i).data["camera"], part)


def test_jpeg_is_near_and_much_smaller(tmp_path: Path) -> None:
    store = store_with(tmp_path / "s", smooth(20), images="jpeg")
    assert np.abs(store.array("camera").astype(int) - smooth(20)).mean() < 1.5
    assert store.episode(0).data["camera"].nbytes < smooth(20).nbytes / 5


def test_a_picture_in_the_middle_is_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, asked = store_with(tmp_path / "s", noise(200)).pictures("camera"), []
    read = Blobs._read
    monkeypatch.setattr(
        Blobs, "_read", lambda self, *where: asked.append(where) or read(self, *where)
    )
    np.testing.assert_array_equal(pictures[77], noise(200)[77])
    assert 0 < sum(size for _, _, size in asked) < 1.2 * np.prod(SHAPE)


def test_what_is_encoded_already_is_stored_as_it_is(tmp_path: Path) -> None:
    encoded = EncodedImages.encode(smooth(5), "jpeg")
    again = store_with(tmp_path / "s", encoded, images="jpeg").episode(0).data["camera"]
    assert list(again.encoded) == list(encoded.encoded)
    other = store_with(tmp_path / "t", encoded).array("camera")
    np.testing.assert_array_equal(other, np.asarray(encoded))


@pytest.mark.parametrize("images", ENCODINGS)
def test_a_damaged_picture_says_so(tmp_path: Path, images: str) -> None:
    store = store_with(tmp_path / "s", smooth(9), images=images)
    file = tmp_path / "s/data/camera/bytes/c/0"
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(DataError, match="damaged"):
        store.array("camera")
    file.write_bytes(b"")
    with pytest.raises(DataError, match="ends too early"):
        store.array("camera")
    file.unlink()
    with pytest.raises(DataError, match="cannot read"):
        store.array("camera")


def test_wrong_encodings_and_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'gif'; valid: jpeg, lossless"):
        DemoStore.create(tmp_path / "s", SPEC, images="gif")
    assert not (tmp_path / "s").exists()
    with pytest.raises(DataError, match=r"shape \(3, 8, 8, 3\)"):
        episode(EncodedImages.encode(np.zeros((3, 8, 8, 3), np.uint8), "jpeg"))


def test_a_recorder_keeps_pictures_encoded_and_episodes_do_not_pile_up(tmp_path: Path) -> None:
    buffer = np.zeros(SHAPE, np.uint8)
    with DemoStore.create(tmp_path / "s", SPEC, images="jpeg") as store:
        recorder = Recorder(store)
        for _ in range(3):
            for k, picture in enumerate(smooth(20)):
                buffer[:] = picture  # a driver fills the same array again
                obs = Obs(k / 10, {"camera": buffer}, {"camera": k / 10})
                recorder.step(Step(obs, Command(np.zeros(1), "operator"), np.zeros(1), 0.0))
            held = sum(len(frame["camera"]) for frame in recorder._frames)
            assert 0 < held < smooth(20).nbytes / 5
            stored = recorder.end(Outcome(True))
            assert stored
            assert not recorder._frames
    assert np.abs(np.asarray(stored.data["camera"]).astype(int) - smooth(20)).mean() < 1.5
