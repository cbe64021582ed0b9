"""A store as a LeRobot dataset v3.0, for lerobot and everything else that reads its format."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....envs import Spec
from ....envs.atomic_files import new_folder
from ...episode import Episode
from ...storage.images import EncodedImages
from ...store import DemoStore
from ..source import Progress, ignore_progress
from .features import CLOCK, IMAGES
from .metadata import (
    DATA,
    DATA_MEGABYTES,
    FILES_IN_CHUNK,
    VIDEO,
    VIDEO_MEGABYTES,
    data_schema,
    episode_numbers,
    write_meta,
)
from .statistics import episode_statistics

H264_OPTIONS = {"crf": "18"}
KEY_FRAMES = 2  # every second picture: one in the middle is found at once


def write(
    store: DemoStore,
    out: str | Path,
    task: str = "",
    progress: Progress = ignore_progress,
    *,
    data_megabytes: float = DATA_MEGABYTES,
    video_megabytes: float = VIDEO_MEGABYTES,
) -> None:
    """Write all episodes to a new folder `out`; a failure leaves nothing there.

    Observations that are numbers become observation.state, end to end; images become videos, which
    are not exact. What LeRobot has no place for, as units and outcomes, lies in meta/fewstep.json,
    and the true times in the feature "time": `fewstep import` brings them back.

    task: in words; by default what the store says of its source.
    progress: is told how many episodes are done, and of how many.
    data_megabytes: of a file of numbers, after which the next one begins.
    video_megabytes: likewise of a video.
    """
    rows = []
    statistics = []
    with new_folder(Path(out)) as folder:
        with ExitStack() as files:
            table = files.enter_context(TableWriter(folder, store, data_megabytes))
            videos = {}
            for key in store.spec.images:
                video = VideoWriter(folder, IMAGES + key, store.spec, video_megabytes)
                videos[key] = files.enter_context(video)
            task = task or describe_task(store)
            for index in range(len(store)):
                episode = store.episode(index)
                row: dict[str, Any] = {
                    "episode_index": index,
                    "tasks": [task],
                    "length": len(episode),
                }
                row |= table.add(index, episode)
                for key, video in videos.items():
                    row |= video.add(episode.data[key])
                rows.append(row)
                statistics.append(episode_statistics(episode, episode_numbers(episode)))
                progress(index + 1, len(store))
        write_meta(folder, store, task, rows, statistics)


def describe_task(store: DemoStore) -> str:
    """Return what a store says of what is done in it."""
    provenance = store.provenance
    return str(provenance.get("task") or "; ".join(provenance.get("tasks", [])) or "unknown")


class TableWriter:
    """The numbers: parquet, a row group an episode."""

    def __init__(self, folder: Path, store: DemoStore, megabytes: float) -> None:
        self._folder = folder
        self._megabytes = megabytes
        self._hz = store.spec.policy_hz
        self._schema = data_schema(store)
        self._frames = 0
        self._file = -1
        self._path = Path()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, index: int, episode: Episode) -> dict[str, int]:
        """Write an episode; return where it is."""
        frames = len(episode)
        first = self._frames
        self._frames += frames
        counter = np.arange(frames)
        columns = episode_numbers(episode)
        columns[CLOCK] = counter / self._hz
        columns["frame_index"] = counter
        columns["index"] = first + counter
        columns["episode_index"] = np.full(frames, index)
        columns["task_index"] = np.zeros(frames, int)
        arrays = [_to_arrow(columns[field.name], field.type) for field in self._schema]
        writer = self._open()
        writer.write_table(pa.table(arrays, schema=self._schema))
        where = {f"data/{key}": number for key, number in _place(self._file).items()}
        where["dataset_from_index"] = first
        where["dataset_to_index"] = first + frames
        return where

    def _open(self) -> pq.ParquetWriter:
        """Return the open file, or the next one where that is full."""
        if self._writer is not None and _size(self._path) <= self._megabytes:
            return self._writer
        self.__exit__()
        self._file += 1
        self._path = _new_file(self._folder, DATA, self._file)
        self._writer = pq.ParquetWriter(self._path, self._schema)
        return self._writer


class VideoWriter:
    """The pictures of one camera, many episodes in a file."""

    def __init__(self, folder: Path, feature: str, spec: Spec, megabytes: float) -> None:
        self._folder = folder
        self._feature = feature
        self._megabytes = megabytes
        self._hz = spec.policy_hz
        self._file = -1
        self._frames = 0
        self._path = Path()
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()

    def add(self, images: EncodedImages) -> dict[str, Any]:
        """Write an episode's (T, height, width, 3); return where it is."""
        container = self._open(*images.shape[1:3])
        first = self._frames
        self._frames += len(images)
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(self._stream.encode(frame))
        where: dict[str, Any] = {**_place(self._file)}
        where["from_timestamp"] = first / self._hz
        where["to_timestamp"] = self._frames / self._hz
        return {f"videos/{self._feature}/{name}": value for name, value in where.items()}

    def _open(self, height: int, width: int) -> Any:
        """Return the open file, or the next one where that is full."""
        if self._container is not None and _size(self._path) <= self._megabytes:
            return self._container
        self.__exit__()
        self._file += 1
        self._frames = 0
        self._path = _new_file(self._folder, VIDEO, self._file, video_key=self._feature)
        self._container = av.open(str(self._path), "w")
        rate = Fraction(self._hz).limit_denominator(1000)
        stream = self._container.add_stream("libx264", rate)
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.options = H264_OPTIONS
        stream.gop_size = KEY_FRAMES
        self._stream = stream
        return self._container


def _place(file: int) -> dict[str, int]:
    """Return the folder and the number in it of a file."""
    return {"chunk_index": file // FILES_IN_CHUNK, "file_index": file % FILES_IN_CHUNK}


def _new_file(folder: Path, template: str, file: int, **more: str) -> Path:
    path = folder / template.format(**_place(file), **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _size(path: Path) -> float:
    """Return the size of a file [MB]."""
    return path.stat().st_size / 2**20


def _to_arrow(values: np.ndarray, dtype: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(dtype):
        return pa.array(values.reshape(len(values)), dtype)
    flat = pa.array(values.ravel(), dtype.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, dtype.list_size)
