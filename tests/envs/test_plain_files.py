"""Nothing outside of a dataset is read in its name, and nothing that never ends.

Pipes, devices, links that leave.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz_inputs import FIELDS, TARGETS
from test_lerobot import foreign

from fewstep.demos import DemoStore
from fewstep.demos.formats import import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.formats.lerobot.files import fill_template
from fewstep.envs import DataError, FewstepError
from fewstep.envs.files import read_plain, require_plain

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def bound(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


ODD = {"a pipe": pipe, "a device": device, "a socket": bound}


def replaced(file: Path, make: Callable[[Path], None]) -> None:
    file.unlink()
    make(file)


def moved_out(file: Path, root: Path) -> None:
    """The same content, reached through a link that leaves the dataset."""
    outside = root.with_name("outside")
    shutil.copyfile(file, outside)
    file.unlink()
    file.symlink_to(outside)


FOLDERS = {
    "lerobot": [
        *("meta/info.json", "meta/fewstep.json", "meta/episodes/chunk-000/file-000.parquet"),
        *(
            "data/chunk-000/file-000.parquet",
            "videos/observation.images.top/chunk-000/file-000.mp4",
        ),
    ],
    "lerobot_v21": [
        *("meta/info.json", "meta/episodes.jsonl", "data/chunk-000/episode_000001.parquet"),
        "videos/chunk-000/observation.images.top/episode_000001.mp4",
    ],
    "buffer_of_others": [
        *(
            "data/state/.zarray",
            "data/state/0.0",
            "data/img/1.0.0.0",
            "meta/episode_ends/0",
            ".zgroup",
        ),
    ],
    "ros2_mcap": ["ros2_mcap.mcap", "metadata.yaml"],
    "ros2_sqlite": ["ros2_sqlite.db3"],
    "store": [
        *("zarr.json", "data/joints/zarr.json", "data/joints/c/0/0", "meta/episode_ends/c/0"),
        *("data/top/bytes/c/0", "data/top/ends/c/0"),
    ],
}
PLACES = [(name, file) for name, files in FOLDERS.items() for file in files]
every_place = pytest.mark.parametrize(
    ("name", "file"), PLACES, ids=[f"{name}/{file}" for name, file in PLACES]
)


def make(name: str, path: Path) -> None:
    TARGETS[name].make(path)


def use(name: str, path: Path, place: Path) -> None:
    out = place / "use"
    out.mkdir()
    TARGETS[name].use(path, out)


@every_place
@pytest.mark.parametrize("what", ODD)
def test_what_is_no_file_is_refused_and_never_waited_for(
    tmp_path: Path, name: str, file: str, what: str
) -> None:
    path = tmp_path / name
    make(name, path)
    replaced(path / file, ODD[what])
    with pytest.raises(DataError, match=f"{file} is {what} and no plain file"):
        use(name, path, tmp_path)


@every_place
def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path, name: str, file: str) -> None:
    path = tmp_path / name
    make(name, path)
    moved_out(path / file, path)
    with pytest.raises(
        DataError, match=f"{file} leads out of .*{name}: copy what it leads to .*cp -rL"
    ):
        use(name, path, tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_links_inside_the_folder_and_to_the_folder_are_followed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "real" / name
    path.parent.mkdir()
    make(name, path)
    for number, file in enumerate(FOLDERS[name]):
        if (
            name.startswith("ros2") or file == "zarr.json"
        ):  # a bag has no other files; a writer locks this one
            continue
        (path / file).rename(path / f"kept{number}")
        (path / file).symlink_to(path / f"kept{number}")
    link = tmp_path / "link"
    link.symlink_to(path)
    if name == "store":
        DemoStore.open(link).array("top")
    else:
        use(name, link, tmp_path)


@pytest.mark.parametrize(
    "name", ["archive.zip", "robomimic.hdf5", "ros1.bag", "ros2.mcap", "ros2.db3", "fields.yaml"]
)
@pytest.mark.parametrize("what", ODD)
def test_a_source_that_is_no_file_is_refused(tmp_path: Path, name: str, what: str) -> None:
    ODD[what](tmp_path / name)
    with pytest.raises(FewstepError, match=f"{name} is {what} and no plain file"):
        if name == "fields.yaml":
            TARGETS["ros2_mcap"].make(tmp_path / "a")
            import_demonstrations(
                tmp_path / "a", tmp_path / "out", Choice(fields=str(tmp_path / name))
            )
        else:
            import_demonstrations(tmp_path / name, tmp_path / "out")


def test_a_bag_that_a_folder_links_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bags").mkdir()
    (tmp_path / "f.yaml").write_text(FIELDS)
    for name in ("a", "b"):
        TARGETS["ros2_mcap"].make(tmp_path / "bags" / name)
    (tmp_path / "bags/b").rename(tmp_path / "b")
    (tmp_path / "bags/b").symlink_to(tmp_path / "b")
    with pytest.raises(DataError, match=r"bags/b leads out of .*bags"):
        import_demonstrations(
            tmp_path / "bags", tmp_path / "out", Choice(fields=str(tmp_path / "f.yaml"))
        )


# Paths that a LeRobot dataset names

BAD = [
    "/etc/passwd",
    "../other/data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "data/../../other/file-{file_index}.parquet",
    "{chunk_index.__class__}",
    "{chunk_index!r}",
    "{chunk_index:999999999d}",
    "{0}",
    "{secret}",
    "{chunk_index:{file_index}}",
    "data/{",
    7,
    None,
    ["data"],
    {"a": 1},
]


@pytest.mark.parametrize("template", BAD, ids=str)
@pytest.mark.parametrize("key", ["data_path", "video_path"])
def test_paths_of_a_dataset_stay_in_it(tmp_path: Path, key: str, template: Any) -> None:
    source = tmp_path / "in"
    TARGETS["lerobot"].make(source)
    shutil.copytree(source, tmp_path / "other")
    info = json.loads((source / "meta/info.json").read_text())
    (source / "meta/info.json").write_text(json.dumps(info | {key: template}))
    with pytest.raises(DataError, match=str(source)):
        import_demonstrations(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_absolute_path_is_refused_although_the_file_is_there(tmp_path: Path) -> None:
    source, other = foreign(tmp_path / "in"), foreign(tmp_path / "other")
    for there in (
        f"{other}/data/chunk-000/file-000.parquet",
        f"{source}/../other/data/chunk-000/file-000.parquet",
    ):
        info = json.loads((source / "meta/info.json").read_text())
        (source / "meta/info.json").write_text(json.dumps(info | {"data_path": there}))
        with pytest.raises(DataError, match=r"has a path .*, which leads out of it"):
            import_demonstrations(source, tmp_path / "out")


@pytest.mark.parametrize("index", ["../../x", "/etc/passwd", "0", None, 1.5])
def test_what_fills_a_path_in_cannot_lead_out_either(tmp_path: Path, index: Any) -> None:
    with pytest.raises((DataError, ValueError, TypeError)):
        fill_template(tmp_path / "in", "data/{chunk_index:03d}", chunk_index=index)
    with pytest.raises(DataError, match="leads out of it"):
        fill_template(tmp_path / "in", "videos/{video_key}/x.mp4", video_key="../../../x")


def test_a_video_is_a_video_and_no_list_of_other_files(tmp_path: Path) -> None:
    source = tmp_path / "in"
    TARGETS["lerobot"].make(source)
    video = next(source.rglob("*.mp4"))
    shutil.copyfile(video, tmp_path / "other.mp4")
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/other.mp4\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {tmp_path}/other.mp4\n",
    ):
        video.write_text(text)
        with pytest.raises(DataError, match=f"cannot read {video} as a video"):
            import_demonstrations(source, tmp_path / "out")


# What all of them use


def test_a_file_is_read_up_to_its_cap(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10))
    assert read_plain(tmp_path / "a", 10) == bytes(10)
    with pytest.raises(DataError, match="a has more than the 9 bytes"):
        read_plain(tmp_path / "a", 9)
    with pytest.raises(FileNotFoundError):
        read_plain(tmp_path / "b", 9)
    with pytest.raises(DataError, match=r"cannot read .*Is a directory"):
        read_plain(tmp_path, 9)


def test_links_in_a_circle_and_names_that_no_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    for path in (tmp_path / "a", tmp_path / "\0", tmp_path / ("x" * 300)):
        with pytest.raises(DataError, match="cannot read"):
            require_plain(path, tmp_path)
    require_plain(tmp_path / "nothing", tmp_path)
