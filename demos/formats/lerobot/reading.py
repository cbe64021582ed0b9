"""LeRobot datasets: parquet for numbers, videos or pictures beside them, read in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ....envs import DataError, Spec
from ....envs.errors import names, refusing
from ....envs.tables import read_json
from ...episode import ACTION, SOURCE, TIME, Episode
from ...storage.image_files import open_picture
from ...storage.images import ENCODINGS, EncodedImages, Spool
from ..choosing import Choice, Offer
from ..source import Source, reader, select_observations
from .features import (
    CLOCK,
    EPISODE,
    INFO,
    OURS,
    SUCCESS,
    FeatureSlice,
    exported_slices,
    guess_field,
    guessed_slices,
    short_name,
)
from .files import read_batches
from .layouts import LAYOUTS, LENGTH, TASKS, Row, VideoPlace, choose_layout
from .video import VideoReader

Slices = Mapping[str, FeatureSlice]


@reader("a LeRobot dataset")
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """Yield the episodes of a LeRobot dataset; every observation.* becomes an observation.

    An export of ours comes back with its own Spec, times and outcomes. Otherwise numbers have no
    unit, since the format knows none, and an episode succeeded where next.success says so.
    """
    choice.refuse_fields()
    dataset = Dataset(path)
    choice.refuse_rate(dataset.spec.policy_hz)
    chosen = _choose_slices(dataset.slices, choice)
    # no field that is left out has to be valid
    observations = {key: part.field for key, part in chosen.items()}
    observations.update(dataset.spec.observations)
    spec = select_observations(replace(dataset.spec, observations=observations), chosen)
    filmed = any(dataset.is_video(part) for part in chosen.values())
    images = choice.encoding("jpeg" if filmed else "lossless")
    episodes = dataset.episodes(chosen, spec, images)
    yield Source(spec, dataset.notes, episodes, len(dataset.rows), images)


def _choose_slices(slices: Slices, choice: Choice) -> dict[str, FeatureSlice]:
    images = [key for key, part in slices.items() if part.is_image]
    numbers = [key for key in slices if key not in images]
    return {key: slices[key] for key in Offer(numbers, images).choose(choice)}


class Dataset:
    """What the meta files say.

    slices: where each observation is; spec: of all of them in an export of ours, else of the
    action alone; success: how each episode of an export of ours ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = _read_info(path)
        self.layout = choose_layout(path, self.info)
        self.features = _read_features(path, self.info)
        self.rows = self.layout.read_rows()
        self._require_whole()
        self.success: list[bool | None] | None = None
        if (path / OURS).exists():
            ours = read_json(path / OURS, inside=path)
            self.spec = Spec.from_json(ours["spec"])
            self.slices = exported_slices(self.spec)
            self.success = ours["success"]
            self.notes = ours["provenance"]
            return
        with refusing(DataError, f"cannot read {path / INFO}"):
            self.slices = guessed_slices(self.features)
            action = guess_field(self.features[ACTION])
            self.spec = Spec({}, {ACTION: action}, float(self.info["fps"]))
            self.notes = self._describe()

    def _require_whole(self) -> None:
        if ACTION not in self.features:
            raise DataError(f"{self.path} has no feature 'action'; it has {names(self.features)}")
        said = self.info.get("total_episodes", len(self.rows))
        if said != len(self.rows):
            raise DataError(
                f"{self.path} has {said} episodes, and {self.layout.index.relative_to(self.path)}"
                f" tells of {len(self.rows)}: fetch it whole"
            )

    def _describe(self) -> dict[str, Any]:
        tasks: set[str] = set()
        for row in self.rows:
            tasks.update(row.get(TASKS) or [])
        return {
            "source": self.path.name,
            "format": f"LeRobot dataset {self.info['codebase_version']}",
            "tasks": sorted(tasks),
        }

    def is_video(self, part: FeatureSlice) -> bool:
        """Return whether an observation is in videos."""
        return self.features[part.feature]["dtype"] == "video"

    def episodes(self, slices: Slices, spec: Spec, images: str) -> Iterator[Episode]:
        """Yield every episode with these observations; images: how to encode them."""
        videos = {}
        tabular = {}
        for key, part in slices.items():
            if self.is_video(part):
                videos[key] = self._open_video(part)
            else:
                tabular[key] = part
        clock = TIME if TIME in self.features and self.success else CLOCK
        wanted = {ACTION, clock, *(part.feature for part in tabular.values())}
        if SUCCESS in self.features:
            wanted.add(SUCCESS)
        if self._says_source:
            wanted.add(SOURCE)
        for index, (row, file, table) in enumerate(self._tables(wanted)):
            data: dict[str, Any] = {}
            for key, video in videos.items():
                data[key] = video.read(row, images)
            with refusing(DataError, f"cannot read episode {row[EPISODE]} in {file}", file):
                for key, part in tabular.items():
                    data[key] = self._observation(table, part, images)
                data[ACTION] = self._values(table, ACTION)
                data[TIME] = self._values(table, clock)[:, 0].astype(float)
                source = self._values(table, SOURCE)[:, 0] if self._says_source else None
                episode = Episode(data, spec, self._succeeded(index, table), source)
            yield episode

    @property
    def _says_source(self) -> bool:
        """Return whether an export of ours says who acted."""
        return self.success is not None and SOURCE in self.features

    def _open_video(self, part: FeatureSlice) -> VideoReader:
        def find(row: Row) -> VideoPlace:
            return self.layout.find_video(row, part.feature)

        camera = short_name(part.feature)
        return VideoReader(find, camera, part.field.shape, self.spec.policy_hz)

    def _succeeded(self, index: int, table: pa.Table) -> bool | None:
        if self.success is not None:
            return self.success[index]
        if SUCCESS in self.features:
            return bool(self._values(table, SUCCESS).any())
        return None

    def _observation(self, table: pa.Table, part: FeatureSlice, images: str) -> Any:
        """Return an observation of an episode, which is no video."""
        if self.features[part.feature]["dtype"] == "image":
            return _decode_images(table, part, images)
        numbers = self._values(table, part.feature)[:, part.start : part.stop]
        return numbers.reshape(-1, *part.field.shape)

    def _values(self, table: pa.Table, feature: str) -> np.ndarray:
        """Return a column as an array (T, ...)."""
        column = table[feature].combine_chunks()
        while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            column = column.flatten()
        shape = self.features[feature]["shape"]
        return column.to_numpy(zero_copy_only=False).reshape(len(table), *shape)

    def _tables(self, features: Collection[str]) -> Iterator[tuple[Row, Path, pa.Table]]:
        """Yield what is said about every episode, the file of its frames, and these, in order."""
        widths = {name: prod(self.features[name]["shape"]) for name in sorted(features)}
        widths[EPISODE] = 1
        file = Path()
        rest = RowQueue(iter(()))
        for row in self.rows:
            place = self.layout.find_table(row)
            if place != file:
                file = place
                rest = RowQueue(read_batches(file, widths))
            table = rest.take(row[LENGTH])
            numbers = {*table[EPISODE].to_pylist()}
            if len(table) != row[LENGTH] or numbers - {row[EPISODE]}:
                raise DataError(
                    f"{file} does not hold the {row[LENGTH]} frames of episode {row[EPISODE]}"
                )
            if self.layout.whole and len(rest.take(1)):
                raise DataError(
                    f"{file} has more than the {row[LENGTH]} frames of episode {row[EPISODE]}"
                )
            yield row, file, table


def _read_info(path: Path) -> dict[str, Any]:
    if not (path / INFO).exists():
        raise DataError(
            f"{path} is a LeRobot dataset of a version before v2.0; valid: {names(LAYOUTS)}."
            " lerobot itself converts others"
        )
    info = read_json(path / INFO, inside=path)
    if not isinstance(info, dict):
        raise DataError(f"{path / INFO} describes no dataset")
    return info


def _read_features(path: Path, info: Mapping[str, Any]) -> dict[str, Any]:
    features = info.get("features")
    if not isinstance(features, dict):
        raise DataError(f"{path / INFO} describes no features")
    return features


class RowQueue:
    """The rows of a file, taken some at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rest = pa.table({EPISODE: []})

    def take(self, count: int) -> pa.Table:
        """Return the next `count` rows, or as many as there are."""
        parts = [self._rest] if len(self._rest) else []
        found = len(self._rest)
        while found < count:
            batch = next(self._batches, None)
            if batch is None:
                break
            parts.append(pa.Table.from_batches([batch]))
            found += len(batch)
        table = pa.concat_tables(parts) if parts else self._rest
        self._rest = table.slice(count)
        return table.slice(0, count)


def _decode_images(table: pa.Table, part: FeatureSlice, images: str) -> EncodedImages:
    """Return pictures that lie beside the numbers."""
    shape = part.field.shape
    what = f"a picture of {part.feature}"
    encode = ENCODINGS[images].encode
    spool = Spool(len(table))
    for frame, cell in enumerate(table[part.feature]):
        pixels = open_picture(cell["bytes"].as_py(), shape[:2], ("PNG", "JPEG"), what=what)
        spool.put(encode(pixels), frame)
    return EncodedImages(spool, shape, images)
