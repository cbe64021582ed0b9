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
from .metadata import DATA, FILES, VIDEO, numbers, schema, statistics, write_meta
from .reading import CLOCK, IMAGES

LIMIT = {"data": 100.0, "video": 200.0}  # MB of a file, after which the next one begins
QUALITY = {"crf": "18"}  # of H.264


def write(
    store: DemoStore, out: str | Path, task: str = "", limit: dict[str, float] | None = None
) -> None:
    """Write all episodes to a new folder `out`; a failure leaves nothing there.

    Observations that are numbers become observation.state, end to end; images become videos, which are not exact. What
    LeRobot has no place for, as units and outcomes, lies in meta/fewstep.json, and the true times in the feature
    "time": `fewstep import` brings them back. task: in words; by default what the store says of its source.
    """
    said, limit = store.provenance, limit or LIMIT
    task = str(task or said.get("task") or "; ".join(said.get("tasks", [])) or "unknown")
    cameras = list(store.spec.images)
    with new_folder(Path(out)) as folder:
        with ExitStack() as files:
            data = files.enter_context(Data(folder, store, limit["data"]))
            videos = {
                k: files.enter_context(Video(folder, IMAGES + k, store.spec, limit["video"]))
                for k in cameras
            }
            rows, parts = [], []
            for i in range(len(store)):
                episode = store.episode(i)
                row = {"episode_index": i, "tasks": [task], "length": len(episode)} | data.add(
                    i, episode
                )
                for key, video in videos.items():
                    row |= video.add(episode.data[key])
                rows.append(row)
                parts.append(statistics(episode))
        write_meta(folder, store, task, rows, parts)


class Data:
    """The numbers: parquet, a row group an episode."""

    def __init__(self, folder: Path, store: DemoStore, limit: float) -> None:
        self._folder, self._limit, self._hz, self._schema = (
            folder,
            limit,
            store.spec.policy_hz,
            schema(store),
        )
        self._frames, self._file, self._path = 0, -1, Path()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Data:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, index: int, episode: Episode) -> dict[str, int]:
        """Write an episode; returns where."""
        if self._writer is None or _megabytes(self._path) > self._limit:
            self.__exit__()
            self._file += 1
            self._path = _place(self._folder, DATA, self._file)
            self._writer = pq.ParquetWriter(self._path, self._schema)
        first, n = self._frames, len(episode)
        self._frames += n
        count = np.arange(n)
        columns = {
            **numbers(episode),
            CLOCK: count / self._hz,
            "frame_index": count,
            "index": first + count,
        }
        columns |= {"episode_index": np.full(n, index), "task_index": np.zeros(n, int)}
        arrays = [_arrow(columns[f.name], f.type) for f in self._schema]
        self._writer.write_table(pa.table(arrays, schema=self._schema))
        where = {f"data/{k}": v for k, v in _numbered(self._file).items()}
        return where | {"dataset_from_index": first, "dataset_to_index": first + n}


class Video:
    """The pictures of one camera, many episodes in a file."""

    def __init__(self, folder: Path, feature: str, spec: Spec, limit: float) -> None:
        self._folder, self._feature, self._hz, self._limit = folder, feature, spec.policy_hz, limit
        self._file, self._frames, self._path = -1, 0, Path()
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()

    def add(self, pictures: EncodedImages) -> dict[str, Any]:
        """Write an episode's (T, height, width, 3); returns where."""
        container, stream = self._opened(*pictures.shape[1:3])
        first, self._frames = self._frames, self._frames + len(pictures)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        times = {"from_timestamp": first / self._hz, "to_timestamp": self._frames / self._hz}
        return {
            f"videos/{self._feature}/{k}": v for k, v in {**_numbered(self._file), **times}.items()
        }

    def _opened(self, height: int, width: int) -> tuple[Any, Any]:
        if self._container is not None and _megabytes(self._path) <= self._limit:
            return self._container, self._stream
        self.__exit__()
        self._file, self._frames = self._file + 1, 0
        self._path = _place(self._folder, VIDEO, self._file, video_key=self._feature)
        self._container = av.open(str(self._path), "w")
        self._stream = self._container.add_stream(
            "libx264", Fraction(self._hz).limit_denominator(1000)
        )
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        self._stream.options, self._stream.gop_size = (
            QUALITY,
            2,
        )  # two: a picture in the middle is found at once
        return self._container, self._stream


def _numbered(file: int) -> dict[str, int]:
    return {"chunk_index": file // FILES, "file_index": file % FILES}


def _place(folder: Path, pattern: str, file: int, **more: str) -> Path:
    path = folder / pattern.format(**_numbered(file), **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 2**20


def _arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values.reshape(len(values)), kind)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.ravel(), kind.value_type), kind.list_size
    )
