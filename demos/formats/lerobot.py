"""LeRobot datasets v3.0: parquet for numbers, many episodes per video; read in order, one episode at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import av.error
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...envs import DataError, Field, Spec
from ...envs.errors import names
from ..episode import ACTION, TIME, Episode
from ..pictures import ENCODINGS, Pictures, Spool
from .source import Choice, Source, observing

VERSION = "v3.0"
OURS = "meta/fewstep.json"  # in an export of ours: Spec, provenance, and how each episode ended
STATE, IMAGES, SUCCESS, CLOCK = "observation.state", "observation.images.", "next.success", "timestamp"
BROKEN = (OSError, ValueError, TypeError, IndexError, AttributeError)  # what reading a damaged file raises
ROWS = 512  # of parquet that are read at once


@dataclass(frozen=True)
class Column:
    """Where the numbers or pictures of a field are: a feature, or a part of one."""

    feature: str
    field: Field
    start: int = 0
    stop: int | None = None


@contextmanager
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """The episodes of a LeRobot dataset; every feature called observation.* becomes an observation.

    An export of ours comes back with its own Spec, times and outcomes. Otherwise numbers have no unit, since the format
    knows none, and an episode succeeded where next.success says so.
    """
    with _reading(path):
        data = Dataset(path)
        if choice.hz not in (0, data.spec.policy_hz):
            raise DataError(f"{path} says itself that it has {data.spec.policy_hz:g} frames a second: leave out hz=")
        chosen = _choose(path, data.columns, choice)
        known = {k: c.field for k, c in chosen.items()}  # no field that is left out has to be valid
        known.update(data.spec.observations)
        spec = observing(replace(data.spec, observations=known), chosen)
    filmed = any(data.features[c.feature]["dtype"] == "video" for c in chosen.values())
    images = choice.images or ("jpeg" if filmed else "lossless")
    yield Source(spec, data.notes, data.episodes(chosen, spec, images), images)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the libraries say into DataError."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"{path} is no complete LeRobot dataset {VERSION}: it lacks {error}") from error
    except (*BROKEN, pa.ArrowException, av.error.FFmpegError) as error:
        raise DataError(f"cannot read {path} as a LeRobot dataset {VERSION}: {error}") from error


class Dataset:
    """What the meta files say: Spec, where each observation is, notes, and the episodes."""

    def __init__(self, path: Path) -> None:
        self.path, self.info = path, _json(path / "meta/info.json")
        if (found := self.info.get("codebase_version")) != VERSION:
            raise DataError(f"{path} is a LeRobot dataset {found}, only {VERSION} is read: lerobot itself converts it")
        self.features, self.rows = self.info["features"], _rows(path)
        if ACTION not in self.features:
            raise DataError(f"{path} has no feature 'action'; it has {names(self.features)}")
        if (said := self.info.get("total_episodes", len(self.rows))) != len(self.rows):
            raise DataError(f"{path} has {said} episodes, and meta/episodes tells of {len(self.rows)}: fetch it whole")
        ours = _json(path / OURS) if (path / OURS).exists() else None
        self.columns = _known(Spec.from_json(ours["spec"])) if ours else _guessed(self.features)
        self.success = ours["success"] if ours else None
        if ours:
            self.spec, self.notes = Spec.from_json(ours["spec"]), ours["provenance"]
            return
        self.spec = Spec({}, {ACTION: _field(self.features[ACTION])}, float(self.info["fps"]))
        tasks = sorted({task for row in self.rows for task in row.get("tasks") or []})
        self.notes = {"source": path.name, "format": f"LeRobot dataset {VERSION}", "tasks": tasks}

    def episodes(self, columns: Mapping[str, Column], spec: Spec, images: str) -> Iterator[Episode]:
        """Every episode with these observations; images: how to encode them."""
        videos = {
            key: Video(self, c.feature, images)
            for key, c in columns.items()
            if self.features[c.feature]["dtype"] == "video"
        }
        clock = TIME if TIME in self.features and self.success else CLOCK
        wanted = {ACTION, clock, *(c.feature for k, c in columns.items() if k not in videos)}
        wanted |= {SUCCESS} & self.features.keys()
        tables = self._tables(wanted)
        for i, row in enumerate(self.rows):
            with _reading(self.path):
                table = next(tables)
                data: dict[str, Any] = {key: video.take(row) for key, video in videos.items()}
                for key, c in columns.items():
                    if key not in videos:
                        data[key] = self._values(table, c.feature)[:, c.start : c.stop].reshape(-1, *c.field.shape)
                data |= {ACTION: self._values(table, ACTION), TIME: self._values(table, clock)[:, 0].astype(float)}
                episode = Episode(data, spec, self._succeeded(i, table))
            yield episode

    def _succeeded(self, index: int, table: pa.Table) -> bool | None:
        if self.success is not None:
            return self.success[index]
        return bool(self._values(table, SUCCESS).any()) if SUCCESS in self.features else None

    def _values(self, table: pa.Table, feature: str) -> np.ndarray:
        """A column as an array (T, ...)."""
        column, shape = table[feature].combine_chunks(), self.features[feature]["shape"]
        if self.features[feature]["dtype"] == "image":
            return np.stack([imagecodecs.imread(cell["bytes"]) for cell in column.to_pylist()])
        while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            column = column.flatten()
        return column.to_numpy(zero_copy_only=False).reshape(len(table), *shape)

    def _tables(self, features: set[str]) -> Iterator[pa.Table]:
        """The rows of every episode, in order."""
        rest, batches, opened = None, iter(()), None
        for row in self.rows:
            place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
            if (file := self.path / self.info["data_path"].format(**place)) != opened:
                opened, rest = file, None
                batches = _batches(file, [*sorted(features), "episode_index"])
            parts, have = [rest] if rest else [], len(rest or ())
            while have < row["length"] and (batch := next(batches, None)) is not None:
                parts.append(pa.Table.from_batches([batch]))
                have += len(batch)
            table = pa.concat_tables(parts) if parts else pa.table({"episode_index": []})
            table, rest = table.slice(0, row["length"]), table.slice(row["length"])
            if table["episode_index"].to_pylist() != [row["episode_index"]] * row["length"]:
                raise DataError(f"{file} does not hold the {row['length']} frames of episode {row['episode_index']}")
            yield table


class Video:
    """The pictures of one camera, decoded in order."""

    def __init__(self, dataset: Dataset, feature: str, encoding: str) -> None:
        self._dataset, self._feature, self._file, self._encoding = dataset, feature, Path(), encoding
        self._period = 1 / dataset.spec.policy_hz
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._time = 0.0

    def take(self, row: Mapping[str, Any]) -> Pictures:
        """Those of an episode."""
        where = {k: row[f"videos/{self._feature}/{k}"] for k in ("chunk_index", "file_index", "from_timestamp")}
        start = where.pop("from_timestamp")
        file = self._dataset.path / self._dataset.info["video_path"].format(video_key=self._feature, **where)
        if file != self._file or start < self._time:
            self._file, self._frames = file, _decoded(file, self._feature)
        found, count = Spool(row["length"]), 0
        encode = ENCODINGS[self._encoding].encode
        for frame in self._frames if row["length"] else ():
            self._time = (frame.time or 0.0) + self._period / 2
            if self._time < start:
                continue
            if self._time > start + (count + 1) * self._period:
                raise DataError(f"{file} lacks a picture at {start + count * self._period:.3f} s")
            picture = frame.to_ndarray(format="rgb24")
            found.put(encode(picture), count)
            count += 1
            if count == row["length"]:
                return Pictures(found, picture.shape, self._encoding)
        raise DataError(f"{file} ends before episode {row['episode_index']} does")


def _decoded(file: Path, feature: str) -> Iterator[av.VideoFrame]:
    if not file.is_file():
        short = feature.removeprefix(IMAGES).removeprefix("observation.")
        raise DataError(
            f"the video {file} of camera {short!r} is missing: fetch it, or import the rest with cameras=[]"
        )
    with _reading(file), av.open(str(file)) as container:
        yield from container.decode(video=0)


def _batches(file: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with _reading(file):
        yield from pq.ParquetFile(file).iter_batches(ROWS, columns=columns)


def _json(file: Path) -> Any:
    with _reading(file):
        return json.loads(file.read_text(encoding="utf-8"))


def _rows(path: Path) -> list[dict[str, Any]]:
    """What the dataset says about every episode, statistics left out."""
    out: list[dict[str, Any]] = []
    for file in sorted((path / "meta/episodes").rglob("*.parquet")):
        with _reading(file):
            kept = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
            out += pq.read_table(file, columns=kept).to_pylist()
    if not out:
        raise DataError(f"{path} has no episodes: meta/episodes holds none")
    return sorted(out, key=lambda row: row["episode_index"])


def _known(spec: Spec) -> dict[str, Column]:
    """Where an export of ours has put its observations."""
    out, start = {}, 0
    for key, f in spec.observations.items():
        if f.kind == "image":
            out[key] = Column(IMAGES + key, f)
        else:
            out[key] = Column(STATE, f, start, start := start + f.size)
    return out


def _guessed(features: Mapping[str, Any]) -> dict[str, Column]:
    """Every observation by its short name, where that is not another's as well."""
    found = {k: _field(f) for k, f in features.items() if k.startswith("observation.") and f["dtype"] != "string"}
    short = [k.removeprefix(IMAGES).removeprefix("observation.") for k in found]
    names_ = [s if short.count(s) == 1 else k for s, k in zip(short, found, strict=True)]
    return {name: Column(k, f) for name, (k, f) in zip(names_, found.items(), strict=True)}


def _field(feature: Mapping[str, Any]) -> Field:
    shape, given = tuple(feature["shape"]), feature.get("names")
    if feature["dtype"] in ("video", "image"):
        return Field((*shape[1:], 3) if shape[0] == 3 != shape[-1] else shape, kind="image")
    listed = next(iter(given.values()), []) if isinstance(given, dict) else given or []
    fits = isinstance(listed, list) and len(listed) == np.prod(shape)
    return Field(shape, names=tuple(map(str, listed)) if fits else ())


def _choose(path: Path, columns: Mapping[str, Column], choice: Choice) -> dict[str, Column]:
    out = {}
    for what, pictures, wanted in (("key", False, choice.keys), ("camera", True, choice.cameras)):
        table = {k: c for k, c in columns.items() if (c.field.kind == "image") == pictures}
        for key in table if wanted is None else wanted:
            if key not in table:
                raise DataError(f"{path} has no {what} {key!r}; valid: {names(table)}")
            out[key] = table[key]
    return out
