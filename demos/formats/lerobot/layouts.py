"""Where the versions of the format keep what: the list of episodes, their rows, their pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from ....envs import DataError, caps
from ....envs.errors import names, refusing
from ....envs.files import require_plain
from .features import EPISODE, INFO, VERSION
from .files import fill_template, read_batches

LENGTH = "length"
TASKS = "tasks"
EPISODES_IN_CHUNK = 1000  # where the dataset does not say it
Row = Mapping[str, Any]  # what the dataset says about one episode


@dataclass(frozen=True)
class VideoPlace:
    """Where the pictures of an episode are: in a file, from a time [s] on.

    whole: the file holds nothing else.
    """

    file: Path
    start: float
    whole: bool


class Layout(Protocol):
    """Where one version keeps what.

    index: what lists the episodes, a file or a folder; whole: a file of rows or of pictures holds
    one episode and nothing else.
    """

    index: Path
    whole: bool

    def read_rows(self) -> list[Row]:
        """Return what is said about every episode, in their order."""
        ...

    def find_table(self, row: Row) -> Path:
        """Return the parquet file of an episode."""
        ...

    def find_video(self, row: Row, feature: str) -> VideoPlace:
        """Return where the pictures of a feature are."""
        ...


class SharedFiles:
    """v3.0: a file holds many episodes, and parquet says which."""

    whole = False

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        self._folder = folder
        self._info = info
        self.index = folder / "meta/episodes"

    def read_rows(self) -> list[Row]:
        """Return what is said about every episode, statistics left out."""
        rows: list[Row] = []
        for file in sorted(self.index.rglob("*.parquet")):
            require_plain(file, self._folder)
            with refusing(DataError, f"cannot read {file} as parquet", file):
                columns = pq.read_schema(file).names
                kept = [name for name in columns if not name.startswith("stats/")]
                size = 0
                for batch in read_batches(file, dict.fromkeys(kept, caps.FREE)):
                    size += batch.nbytes
                    caps.require_ratio(size, file.stat().st_size, str(file))
                    rows += batch.to_pylist()
        return sort_rows(rows, self.index)

    def find_table(self, row: Row) -> Path:
        """Return the parquet file of an episode."""
        return self._find("data_path", row, "data")

    def find_video(self, row: Row, feature: str) -> VideoPlace:
        """Return where the pictures of a feature are."""
        video = f"videos/{feature}"
        file = self._find("video_path", row, video, video_key=feature)
        return VideoPlace(file, row[f"{video}/from_timestamp"], self.whole)

    def _find(self, template: str, row: Row, place: str, **more: str) -> Path:
        return fill_template(
            self._folder,
            self._info[template],
            chunk_index=row[f"{place}/chunk_index"],
            file_index=row[f"{place}/file_index"],
            **more,
        )


class EpisodeFiles:
    """v2.1 and v2.0: files of its own for every episode, and JSON lines that list them."""

    whole = True

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        self._folder = folder
        self._info = info
        self.index = folder / "meta/episodes.jsonl"
        size = info.get("chunks_size", EPISODES_IN_CHUNK)
        if not _is_count(size, 1):
            raise DataError(f"{folder / INFO} says that chunks_size is {size!r:.50}")
        self._chunk = size

    def read_rows(self) -> list[Row]:
        """Return what is said about every episode: its number, length and tasks."""
        rows: list[Row] = []
        for line in read_json_lines(self.index, self._folder):
            rows.append({key: line[key] for key in (EPISODE, LENGTH, TASKS) if key in line})
        return sort_rows(rows, self.index)

    def find_table(self, row: Row) -> Path:
        """Return the parquet file of an episode."""
        return self._find("data_path", row)

    def find_video(self, row: Row, feature: str) -> VideoPlace:
        """Return where the pictures of a feature are."""
        return VideoPlace(self._find("video_path", row, video_key=feature), 0.0, self.whole)

    def _find(self, template: str, row: Row, **more: str) -> Path:
        path = self._info[template]
        number = row[EPISODE]
        chunk = number // self._chunk
        file = fill_template(self._folder, path, episode_chunk=chunk, episode_index=number, **more)
        if f"{{{EPISODE}" not in path:
            raise DataError(f"{self._folder / INFO}: {template} {path!r} lacks {{{EPISODE}}}")
        return file


LAYOUTS: Mapping[str, type[SharedFiles] | type[EpisodeFiles]] = {
    "v2.0": EpisodeFiles,
    "v2.1": EpisodeFiles,
    VERSION: SharedFiles,
}


def choose_layout(folder: Path, info: Mapping[str, Any]) -> Layout:
    """Return the layout of a dataset; DataError lists the versions that are read."""
    version = info.get("codebase_version")
    if not isinstance(version, str) or version not in LAYOUTS:
        said = "that does not say its version"
        if version is not None:
            said = f"of version {version!r:.50}"
        raise DataError(
            f"{folder / INFO} is of a LeRobot dataset {said}; valid: {names(LAYOUTS)}."
            " lerobot itself converts others"
        )
    return LAYOUTS[version](folder, info)


def sort_rows(rows: Iterable[Row], index: Path) -> list[Row]:
    """Return the rows by number of episode; DataError where there are none, or one cannot be."""
    found: dict[int, Row] = {}
    for row in rows:
        _require_row(row, index)
        number = row[EPISODE]
        if number in found:
            raise DataError(f"{index} has episode {number} twice")
        found[number] = row
    if not found:
        raise DataError(f"{index} lists no episodes")
    return [found[number] for number in sorted(found)]


def _require_row(row: Row, index: Path) -> None:
    for key, least in ((EPISODE, 0), (LENGTH, 1)):
        if not _is_count(row.get(key), least):
            raise DataError(f"{index} has an episode whose {key} is {row.get(key)!r:.50}")
    tasks = row.get(TASKS) or []
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise DataError(f"{index}, episode {row[EPISODE]}: its tasks are no list of texts")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def read_json_lines(file: Path, inside: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the tables in a file that has one in each line; DataError names file and line."""
    require_plain(file, inside)
    with refusing(DataError, f"cannot read {file}", file), file.open("rb") as lines:
        number = 0
        while True:
            line = lines.readline(caps.JSON)
            number += 1
            if len(line) == caps.JSON:
                raise DataError(f"line {number} of {file} is longer than {caps.JSON} bytes")
            if not line:
                return
            if not line.strip():
                continue
            with refusing(DataError, f"cannot read line {number} of {file} as JSON"):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise DataError(f"line {number} of {file} holds no table, but {row!r:.50}")
            yield row
