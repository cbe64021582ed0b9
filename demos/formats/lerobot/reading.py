"""LeRobot datasets v3.0: parquet for numbers, many episodes per video; read in order, one episode at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....envs import DataError, Field, Spec
from ....envs.errors import names
from ....envs.tables import read_json
from ...episode import ACTION, TIME, Episode
from ...storage.image_files import open_picture
from ...storage.images import ENCODINGS, EncodedImages, Spool
from ..source import Choice, Source, observing, reader
from .files import Video, batches, episode_rows, filled

VERSION = "v3.0"
OURS = "meta/fewstep.json"  # in an export of ours: Spec, provenance, and how each episode ended
STATE, IMAGES, SUCCESS, CLOCK = (
    "observation.state",
    "observation.images.",
    "next.success",
    "timestamp",
)
NUMBER = "episode_index"


@dataclass(frozen=True)
class Column:
    """Where the numbers or pictures of a field are: a feature, or a part of one."""

    feature: str
    field: Field
    start: int = 0
    stop: int | None = None


@reader(f"a LeRobot dataset {VERSION}")
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """The episodes of a LeRobot dataset; every feature called observation.* becomes an observation.

    An export of ours comes back with its own Spec, times and outcomes. Otherwise numbers have no unit, since the format
    knows none, and an episode succeeded where next.success says so.
    """
    data = Dataset(path)
    if choice.hz not in (0, data.spec.policy_hz):
        raise DataError(
            f"{path} says itself that it has {data.spec.policy_hz:g} frames a second: leave out hz="
        )
    chosen = _choose(path, data.columns, choice)
    known = {k: c.field for k, c in chosen.items()}  # no field that is left out has to be valid
    known.update(data.spec.observations)
    spec = observing(replace(data.spec, observations=known), chosen)
    filmed = any(data.features[c.feature]["dtype"] == "video" for c in chosen.values())
    images = choice.images or ("jpeg" if filmed else "lossless")
    yield Source(spec, data.notes, data.episodes(chosen, spec, images), images)


class Dataset:
    """What the meta files say: Spec, where each observation is, notes, and the episodes."""

    def __init__(self, path: Path) -> None:
        self.path, self.info = path, read_json(path / "meta/info.json", inside=path)
        if (found := self.info.get("codebase_version")) != VERSION:
            raise DataError(
                f"{path} is a LeRobot dataset {found}, only {VERSION} is read: lerobot itself converts it"
            )
        self.features, self.rows = self.info["features"], episode_rows(path)
        if ACTION not in self.features:
            raise DataError(f"{path} has no feature 'action'; it has {names(self.features)}")
        if (said := self.info.get("total_episodes", len(self.rows))) != len(self.rows):
            raise DataError(
                f"{path} has {said} episodes, and meta/episodes tells of {len(self.rows)}: fetch it whole"
            )
        ours = read_json(path / OURS, inside=path) if (path / OURS).exists() else None
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
            key: self._video(c)
            for key, c in columns.items()
            if self.features[c.feature]["dtype"] == "video"
        }
        clock = TIME if TIME in self.features and self.success else CLOCK
        wanted = {ACTION, clock, *(c.feature for k, c in columns.items() if k not in videos)}
        wanted |= {SUCCESS} & self.features.keys()
        for i, (row, table) in enumerate(zip(self.rows, self._tables(wanted), strict=True)):
            data: dict[str, Any] = {key: video.take(row, images) for key, video in videos.items()}
            data |= {
                key: self._part(table, c, images) for key, c in columns.items() if key not in videos
            }
            data |= {
                ACTION: self._values(table, ACTION),
                TIME: self._values(table, clock)[:, 0].astype(float),
            }
            yield Episode(data, spec, self._succeeded(i, table))

    def _video(self, column: Column) -> Video:
        camera = column.feature.removeprefix(IMAGES).removeprefix("observation.")
        shape, hz = column.field.shape, self.spec.policy_hz
        place = partial(filled, self.path, self.info["video_path"], video_key=column.feature)
        return Video(place, column.feature, camera, shape, hz)

    def _succeeded(self, index: int, table: pa.Table) -> bool | None:
        if self.success is not None:
            return self.success[index]
        return bool(self._values(table, SUCCESS).any()) if SUCCESS in self.features else None

    def _part(self, table: pa.Table, column: Column, images: str) -> Any:
        """An observation of an episode, which is no video."""
        if self.features[column.feature]["dtype"] != "image":
            return self._values(table, column.feature)[:, column.start : column.stop].reshape(
                -1, *column.field.shape
            )
        shape, found = column.field.shape, Spool(len(table))
        for number, cell in enumerate(table[column.feature]):
            picture = open_picture(
                cell["bytes"].as_py(),
                shape[:2],
                ("PNG", "JPEG"),
                what=f"a picture of {column.feature}",
            )
            found.put(ENCODINGS[images].encode(picture), number)
        return EncodedImages(found, shape, images)

    def _values(self, table: pa.Table, feature: str) -> np.ndarray:
        """A column as an array (T, ...)."""
        column, shape = table[feature].combine_chunks(), self.features[feature]["shape"]
        while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            column = column.flatten()
        return column.to_numpy(zero_copy_only=False).reshape(len(table), *shape)

    def _tables(self, features: set[str]) -> Iterator[pa.Table]:
        """The rows of every episode, in order."""
        rest, unread, opened = None, iter(()), None
        for row in self.rows:
            place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
            if (file := filled(self.path, self.info["data_path"], **place)) != opened:
                opened, rest = file, None
                unread = batches(
                    file,
                    {f: prod(self.features[f]["shape"]) for f in sorted(features)} | {NUMBER: 1},
                )
            parts, have = [rest] if rest else [], len(rest or ())
            while have < row["length"] and (batch := next(unread, None)) is not None:
                parts.append(pa.Table.from_batches([batch]))
                have += len(batch)
            table = pa.concat_tables(parts) if parts else pa.table({NUMBER: []})
            table, rest = table.slice(0, row["length"]), table.slice(row["length"])
            if len(table) != row["length"] or {*table[NUMBER].to_pylist()} - {row[NUMBER]}:
                raise DataError(
                    f"{file} does not hold the {row['length']} frames of episode {row['episode_index']}"
                )
            yield table


def _known(spec: Spec) -> dict[str, Column]:
    """Where an export of ours has put its observations."""
    out, start = {}, 0
    for key, f in spec.observations.items():
        if f.is_image:
            out[key] = Column(IMAGES + key, f)
        else:
            out[key] = Column(STATE, f, start, start := start + f.size)
    return out


def _guessed(features: Mapping[str, Any]) -> dict[str, Column]:
    """Every observation by its short name, where that is not another's as well."""
    found = {
        k: _field(f)
        for k, f in features.items()
        if k.startswith("observation.") and f["dtype"] != "string"
    }
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
        table = {k: c for k, c in columns.items() if c.field.is_image == pictures}
        for key in table if wanted is None else wanted:
            if key not in table:
                raise DataError(f"{path} has no {what} {key!r}; valid: {names(table)}")
            out[key] = table[key]
    return out
