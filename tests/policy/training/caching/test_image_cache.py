"""What is cached is what the store holds, resized, whatever happens to either of them."""

import errno
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory import at_most

from fewstep.demos.episode import Episode
from fewstep.demos.storage.curation import update_curation
from fewstep.demos.storage.images import CHUNK, EncodedImages
from fewstep.demos.store import DemoStore
from fewstep.envs import ConfigError, DataError, Field, Spec
from fewstep.envs.pictures import resize, seen_size
from fewstep.policy.training.caching import image_cache, image_decoding
from fewstep.policy.training.caching.image_cache import (
    CachedImages,
    cache_folder,
    cache_images,
    needed_bytes,
)
from fewstep.policy.training.caching.image_source import ImageSource

SHAPES = {"top": (48, 64, 3), "wrist": (40, 30, 3)}
SPEC = Spec(
    {key: Field(shape, kind="image") for key, shape in SHAPES.items()},
    {"action": Field((1,))},
    policy_hz=10,
)
LENGTHS = (70, 9, 40)
SIDE = 24


def episode(frames: int, seed: int) -> Episode:
    """Noise, of which no picture takes the space of another, unless they are plain."""
    rng = np.random.default_rng(seed)
    data = {"action": np.zeros((frames, 1)), "time": np.arange(frames) / 10}
    for key, shape in SHAPES.items():
        data[key] = rng.integers(0, 256, (frames, *shape), np.uint8)
    return Episode(data, SPEC)


def plain(frames: int, colour: int) -> Episode:
    """Pictures of one colour: those of another one take as many bytes."""
    data = {"action": np.zeros((frames, 1)), "time": np.arange(frames) / 10}
    for key, shape in SHAPES.items():
        data[key] = np.full((frames, *shape), colour, np.uint8)
    return Episode(data, SPEC)


def write(path: Path, *episodes: Episode, images: str = "lossless") -> None:
    with DemoStore.create(path, SPEC, images=images) as store:
        store.append(*episodes)


def append(path: Path, *episodes: Episode) -> None:
    with DemoStore.open(path, "a") as store:
        store.append(*episodes)


def replace_store(path: Path, *episodes: Episode) -> None:
    shutil.rmtree(path)
    write(path, *episodes)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "demos"
    write(path, *(episode(frames, seed) for seed, frames in enumerate(LENGTHS)))
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A store without a cache."""
    return shutil.copytree(original, tmp_path / "demos")


class Told:
    """What a build reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.frames: list[tuple[str, int, int]] = []

    def cache(self, path: Path, side: int = SIDE, workers: int = 1) -> dict[str, CachedImages]:
        return cache_images(
            DemoStore.open(path),
            list(SHAPES),
            side,
            workers=workers,
            on_frames=lambda *report: self.frames.append(report),
            log=self.lines.append,
        )

    @property
    def decoded(self) -> int:
        """How many pictures of the first camera."""
        return max((done for camera, done, _ in self.frames if camera == "top"), default=0)


def assert_right(images: dict[str, CachedImages], path: Path, side: int = SIDE) -> None:
    """Every picture that the store shows is there, pixel by pixel."""
    store = DemoStore.open(path)
    assert images.keys() == SHAPES.keys()
    for key, cached in images.items():
        size = seen_size(SHAPES[key], side)
        expected = np.stack([resize(picture, size) for picture in store.pictures(key)])
        assert cached.shape == expected.shape
        np.testing.assert_array_equal(cached[np.arange(store.frames)], expected)


def cached_files(path: Path, ending: str = ".rgb") -> list[Path]:
    return sorted(cache_folder(path).glob(f"*{ending}"))


def description(path: Path) -> Path:
    return cache_folder(path) / "top-24x32.json"


# What is read


@pytest.mark.parametrize("side", [7, 30, 1000])
@pytest.mark.parametrize("images", ["lossless", "jpeg"])
def test_pictures_are_those_of_the_store_resized(tmp_path: Path, images: str, side: int) -> None:
    write(tmp_path / "demos", episode(5, 0), episode(66, 1), images=images)
    assert_right(Told().cache(tmp_path / "demos", side), tmp_path / "demos", side)


def test_frames_of_any_shape_are_copied(path: Path) -> None:
    cached = Told().cache(path)["top"]
    assert (len(cached), cached.dtype) == (sum(LENGTHS), np.uint8)
    rows = np.array([[5, 6], [118, 0]])
    pictures = cached[rows]
    assert pictures.shape == (2, 2, 24, 32, 3)
    assert cached[np.array([], int)].shape == (0, 24, 32, 3)
    before = cached[5]
    pictures[...] = 0
    cached[5][...] = 1
    np.testing.assert_array_equal(cached[5], before)
    np.testing.assert_array_equal(cached[rows.astype(np.uint8)][0, 0], before)


@pytest.mark.parametrize("frames", [[-1], [119], [0.0], slice(0, 2)], ids=str)
def test_frames_that_are_not_there_are_refused(path: Path, frames: Any) -> None:
    with pytest.raises(IndexError):
        Told().cache(path)["top"][frames]


def test_the_second_time_nothing_is_decoded(path: Path, monkeypatch) -> None:
    first = Told()
    first.cache(path)
    assert first.frames == [
        ("top", 64, 119),
        ("top", 119, 119),
        ("wrist", 64, 119),
        ("wrist", 119, 119),
    ]
    assert [line.split(":")[-1] for line in first.lines] == [" there are none yet"] * 2
    monkeypatch.setattr(ImageSource, "digest", None)  # nor is the store read
    again = Told()
    assert_right(again.cache(path), path)
    assert not again.frames and not again.lines


def test_the_bytes_needed_are_the_bytes_taken(path: Path) -> None:
    update_curation(path, 3, lambda curation: curation.delete(0))
    needed = needed_bytes(DemoStore.open(path), list(SHAPES), SIDE)
    Told().cache(path)
    assert needed == sum(file.stat().st_size for file in cached_files(path))


def test_an_unknown_camera_is_refused_with_those_there_are(path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown camera 'front'; valid: top, wrist"):
        cache_images(DemoStore.open(path), ["front"], SIDE)


def test_pictures_without_pixels_are_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 1 px, not 0"):
        needed_bytes(DemoStore.open(path), ["top"], 0)


def test_few_pictures_are_in_memory(tmp_path: Path) -> None:
    shape = (480, 640, 3)
    spec = Spec({"top": Field(shape, kind="image")}, {"action": Field((1,))}, policy_hz=10)
    encoded = EncodedImages.encode(np.zeros((1, *shape), np.uint8), "lossless").encoded
    data = {
        "top": EncodedImages([encoded[0]] * 100, shape, "lossless"),
        "action": np.zeros((100, 1)),
        "time": np.arange(100) / 10,
    }
    with DemoStore.create(tmp_path / "demos", spec) as store:
        store.append(Episode(data, spec))
    store = DemoStore.open(tmp_path / "demos")
    with at_most(megabytes=50):  # of 92; the pages of the pictures that are compared at last count
        cache_images(store, ["top"], 480, workers=1)


# Episodes that come and go


def test_deleted_episodes_are_not_shown_and_nothing_is_decoded_for_them(path: Path) -> None:
    for deleted in ([1], [0, 2], [0], []):
        told = Told()
        update_curation(path, 3, lambda curation: curation.delete(0, False).delete(2, False))
        for number in range(3):
            update_curation(
                path, 3, lambda curation, n=number, d=deleted: curation.delete(n, n in d)
            )
        images = told.cache(path)
        assert_right(images, path)
        assert told.decoded == (sum(LENGTHS) if deleted == [1] else 0)
    assert len(images["top"]) == sum(LENGTHS)


def test_appended_episodes_are_added_to_those_that_are_there(path: Path) -> None:
    before = Told().cache(path)
    kept = before["top"][np.arange(119)]
    files = cached_files(path)
    update_curation(path, 3, lambda curation: curation.delete(1))
    append(path, episode(80, 7), episode(3, 8))
    told = Told()
    assert_right(told.cache(path), path)
    assert told.decoded == 83
    assert "they follow those that are there" in told.lines[0]
    assert cached_files(path) == files
    np.testing.assert_array_equal(before["top"][np.arange(119)], kept)


def test_a_store_that_was_opened_before_an_append_shows_what_it_showed(path: Path) -> None:
    store = DemoStore.open(path)
    append(path, episode(30, 7))
    cached = cache_images(store, ["top"], 48, workers=1)["top"]
    np.testing.assert_array_equal(cached[np.arange(119)], store.array("top"))
    assert len(cached) == 119


# A store that is another one now


@pytest.mark.parametrize("frames", [50, 20, 90])
def test_a_store_recorded_again_is_cached_again(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "demos"
    write(path, plain(50, 3))
    Told().cache(path)
    replace_store(path, plain(frames, 5))
    told = Told()
    assert_right(told.cache(path), path)
    assert told.decoded == frames
    assert "other pictures now" in told.lines[0] or "fewer pictures than before" in told.lines[0]
    assert len(cached_files(path)) == 2


def test_a_copy_of_a_store_and_its_cache_is_used_and_from_then_on_at_once(
    path: Path, tmp_path: Path, monkeypatch
) -> None:
    Told().cache(path)
    copy = shutil.copytree(path, tmp_path / "copy")
    shutil.copytree(cache_folder(path), cache_folder(copy))
    for _ in range(2):
        told = Told()
        assert_right(told.cache(copy), copy)
        assert not told.frames
        monkeypatch.setattr(ImageSource, "digest", None)


def test_a_store_that_is_replaced_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "demos"
    write(path, plain(100, 3))

    def on_frames(camera: str, done: int, total: int) -> None:
        if done == 64:
            replace_store(path, plain(100, 5))

    store = DemoStore.open(path)
    with pytest.raises(DataError, match="was replaced while its pictures were read: start again"):
        cache_images(store, ["top"], SIDE, workers=1, on_frames=on_frames)
    assert not cached_files(path)
    replace_store(path, plain(7, 5))
    with pytest.raises(DataError, match="was replaced after it was opened: start again"):
        cache_images(store, ["top"], SIDE, workers=1)


def test_an_append_while_pictures_are_read_harms_nothing(path: Path) -> None:
    store = DemoStore.open(path)
    added = [episode(30, 7)]

    def on_frames(camera: str, done: int, total: int) -> None:
        if added:
            append(path, added.pop())

    cached = cache_images(store, ["top"], 48, workers=1, on_frames=on_frames)["top"]
    np.testing.assert_array_equal(cached[np.arange(119)], store.array("top"))
    told = Told()
    assert_right(told.cache(path, 48), path, 48)
    assert told.decoded == 30


# Files that are damaged


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(description(path).read_text()) | changes
    description(path).write_text(json.dumps(content))


def write_description(content: str, path: Path) -> None:
    description(path).write_text(content)


def cut(path: Path) -> None:
    os.truncate(cached_files(path)[0], 24 * 32 * 3 * 118)


def remove(path: Path) -> None:
    cached_files(path)[0].unlink()


def overwrite(path: Path) -> None:
    file = cached_files(path)[0]
    file.write_bytes(bytes(file.stat().st_size))


def link_out(path: Path) -> None:
    file = cached_files(path)[0]
    file.rename(path.parent / "victim")
    file.symlink_to(path.parent / "victim")


def link_description_out(path: Path) -> None:
    description(path).rename(path.parent / "victim")
    description(path).symlink_to(path.parent / "victim")


def put_pipe(path: Path) -> None:
    description(path).unlink()
    os.mkfifo(description(path))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "is cut off"),
    "removed": (remove, "No such file"),
    "overwritten": (overwrite, "other pictures than the store"),
    "no JSON": (partial(write_description, '{"version"'), "cannot read"),
    "nothing": (partial(write_description, ""), "cannot read"),
    "a list": (partial(write_description, "[]"), "damaged"),
    "deep": (partial(write_description, "[" * 100_000), "cannot read"),
    "version": (partial(edit, version=0), "version is now 1, and was 0"),
    "shape": (partial(edit, shape=[1, 2, 3]), r"shape is now \[48, 64, 3\], and was \[1, 2, 3\]"),
    "encoding": (partial(edit, encoding="jpeg"), "encoding is now lossless, and was 'jpeg'"),
    "pillow": (partial(edit, pillow="1.0"), "pillow is now"),
    "frames": (partial(edit, frames="119"), "damaged"),
    "no frames": (partial(edit, frames=0), "damaged"),
    "more frames": (partial(edit, frames=10**30), "fewer pictures than before"),
    "other frames": (partial(edit, frames=118), "other pictures now"),
    "elsewhere": (partial(edit, file="../../victim"), "damaged"),
    "absolute": (partial(edit, file="/etc/passwd"), "damaged"),
    "no name": (partial(edit, file=None), "damaged"),
    "link": (link_out, "leads out of"),
    "linked description": (link_description_out, "leads out of"),
    "pipe": (put_pipe, "is a pipe"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_built_again_and_a_line_says_why(path: Path, damage: str) -> None:
    cache_images(DemoStore.open(path), ["top"], SIDE, workers=1)
    harm, reason = DAMAGE[damage]
    harm(path)
    victim = path.parent / "victim"
    outside = victim.read_bytes() if victim.exists() else b""
    lines: list[str] = []
    cached = cache_images(DemoStore.open(path), ["top"], SIDE, workers=1, log=lines.append)["top"]
    pictures = [resize(picture, (24, 32)) for picture in DemoStore.open(path).pictures("top")]
    np.testing.assert_array_equal(cached[np.arange(119)], pictures)
    assert len(lines) == 1
    assert re.search(reason, lines[0])
    assert len(cached_files(path)) == 1
    assert not victim.exists() or victim.read_bytes() == outside


def test_a_file_taken_for_another_camera_is_built_again(path: Path) -> None:
    Told().cache(path)
    for name in ("top-24x32", "wrist-32x24"):
        assert (cache_folder(path) / f"{name}.json").exists()
    shutil.copy(cache_folder(path) / "wrist-32x24.json", description(path))
    told = Told()
    assert_right(told.cache(path), path)
    assert "camera is now top, and was 'wrist'" in told.lines[0]


# Builds that fail


def test_a_disk_without_room_is_refused_before_anything_is_decoded(path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        image_cache.shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 500_000)
    )
    told = Told()
    with pytest.raises(DataError) as refused:
        told.cache(path)
    assert "the pictures of top, wrist take 0.000548 GB more" in str(refused.value)
    assert "0.0005 GB are free; make room there, or choose a smaller size" in str(refused.value)
    assert not told.frames and not cached_files(path)


class FullDisk:
    """Opens files that the disk has no room for after so many pictures."""

    def __init__(self, pictures: int) -> None:
        self._left = pictures

    def open(self, file: Path, mode: str) -> Any:
        opened = io.open(file, mode)  # noqa: SIM115, UP020
        original = opened.write
        disk = self

        class Limited:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                opened.close()

            def seek(self, place: int) -> None:
                opened.seek(place)

            def write(self, content: bytes) -> None:
                disk._left -= 1
                if disk._left < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                original(content)

        return Limited()


def test_a_disk_that_fills_up_on_the_way_is_left_as_it_was(path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(image_decoding, "open", FullDisk(100).open, raising=False)
        with pytest.raises(DataError, match=r"No space left on device.*choose a smaller size"):
            Told().cache(path)
    assert not cached_files(path) and not cached_files(path, ".json")
    Told().cache(path)
    sizes = [file.stat().st_size for file in cached_files(path)]
    append(path, episode(80, 7))
    with monkeypatch.context() as patch:
        patch.setattr(image_decoding, "open", FullDisk(70).open, raising=False)
        with pytest.raises(DataError, match="nothing half done is left"):
            Told().cache(path)
    assert [file.stat().st_size for file in cached_files(path)] == sizes
    told = Told()
    assert_right(told.cache(path), path)
    assert told.decoded == 80


def test_a_folder_that_cannot_be_written_is_one_clear_error(path: Path) -> None:
    cache_folder(path).write_text("a file")
    with pytest.raises(DataError, match=r"cannot write to .*demos\.cache: .*ln -s"):
        Told().cache(path)


def test_the_cache_of_a_linked_store_lies_beside_the_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    link = tmp_path / "mine" / "link"
    link.symlink_to(path)
    assert_right(Told().cache(link), path)
    assert cached_files(link) and not cache_folder(path).exists()


def test_a_damaged_picture_is_named_by_every_process(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(image_cache, "WORTH_A_PROCESS", 20)
    with DemoStore.open(path) as store:
        ends = store.pictures("wrist").encoded._bounds[:, 1]  # pyright: ignore
    number, offset = divmod(int(ends[99]), CHUNK)
    file = path / "data/wrist/bytes/c" / str(number)
    content = file.read_bytes()
    file.write_bytes(content[:offset] + bytes(8) + content[offset + 8 :])
    with pytest.raises(DataError, match=r"demos, wrist: picture 100 is damaged"):
        Told().cache(path, workers=2)
    assert [file.name[:3] for file in cached_files(path)] == ["top"]
    file.write_bytes(content)
    shutil.rmtree(cache_folder(path))
    told = Told()
    assert_right(told.cache(path, workers=2), path)
    assert told.frames[-1] == ("wrist", 119, 119)


def test_a_process_that_is_ended_from_outside_is_one_clear_error(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(image_cache, "WORTH_A_PROCESS", 20)
    monkeypatch.setattr(image_decoding, "BLOCK", 4)

    def on_frames(camera: str, done: int, total: int) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(DataError, match="ended from outside"):
        cache_images(DemoStore.open(path), ["top"], SIDE, workers=2, on_frames=on_frames)
    assert not cached_files(path)


BUILDER = """
import multiprocessing, sys, time
from fewstep.demos.store import DemoStore
from fewstep.policy.training.caching import image_cache

def on_frames(camera, done, total):
    pids = [process.pid for process in multiprocessing.active_children()]
    print(camera, done, *pids, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    image_cache.WORTH_A_PROCESS = 20
    store = DemoStore.open(sys.argv[1])
    image_cache.cache_images(store, ["top"], 24, workers=int(sys.argv[2]), on_frames=on_frames)
"""


def begin_build(path: Path, workers: int) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a build in a process of its own, which stops at its first report."""
    script = path.parent / "builder.py"
    script.write_text(BUILDER)
    process = subprocess.Popen(
        [sys.executable, script, path, str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    camera, _, *pids = process.stdout.readline().split()
    assert camera == "top"
    return process, [int(pid) for pid in pids]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_build_leaves_nothing_that_counts_and_no_process(path: Path) -> None:
    process, pids = begin_build(path, workers=2)
    assert len(pids) == 2
    process.kill()
    process.communicate()
    assert len(cached_files(path)) == 1 and not cached_files(path, ".json")
    end = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.01)
    told = Told()
    assert_right(told.cache(path), path)
    assert "there are none yet" in told.lines[0]
    assert len(cached_files(path)) == 2


def test_a_killed_extension_leaves_what_was_there(path: Path) -> None:
    Told().cache(path)
    append(path, episode(80, 7))
    process, _ = begin_build(path, workers=1)
    process.kill()
    process.communicate()
    assert cached_files(path)[0].stat().st_size > 119 * 24 * 32 * 3
    told = Told()
    assert_right(told.cache(path), path)
    assert told.decoded == 80


@pytest.mark.parametrize("is_cached", [False, True])
def test_ctrl_c_leaves_all_as_it_was_and_no_process_says_a_word(
    path: Path, is_cached: bool
) -> None:
    if is_cached:
        Told().cache(path)
        append(path, episode(200, 7))
    before = {file: file.stat().st_size for file in cached_files(path)}
    process, pids = begin_build(path, workers=2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode != 0
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")
    assert not any(is_running(pid) for pid in pids)
    assert {file: file.stat().st_size for file in cached_files(path)} == before
    assert not list(cache_folder(path).glob("*.partial"))


def test_of_two_builds_at_once_one_waits_and_uses_what_the_other_built(path: Path) -> None:
    is_building = threading.Event()
    is_waiting = threading.Event()
    lines: list[str] = []
    decoded: list[int] = []
    images: list[dict[str, CachedImages]] = []

    def on_frames(camera: str, done: int, total: int) -> None:
        is_building.set()
        assert is_waiting.wait(10)

    def build_first() -> None:
        store = DemoStore.open(path)
        images.append(cache_images(store, list(SHAPES), SIDE, workers=1, on_frames=on_frames))

    def log(line: str) -> None:
        lines.append(line)
        is_waiting.set()

    def build_second() -> None:
        assert is_building.wait(10)
        store = DemoStore.open(path)
        count = lambda camera, done, total: decoded.append(done)  # noqa: E731
        images.append(cache_images(store, list(SHAPES), SIDE, workers=1, on_frames=count, log=log))

    threads = [threading.Thread(target=build) for build in (build_first, build_second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines == [f"waits for another process that caches pictures in {cache_folder(path)}"]
    assert not decoded
    assert len(images) == 2
    for found in images:
        assert_right(found, path)
