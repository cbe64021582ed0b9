"""What a LeRobot dataset v3.0 says about itself: features, schemas, and its meta files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....envs import Field
from ....envs.robot import SOURCES
from ...episode import ACTION, SOURCE, TIME, Episode
from ...store import DemoStore
from .features import CLOCK, IMAGES, OURS, STATE, SUCCESS, VERSION
from .statistics import Statistics, join_statistics

DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_IN_CHUNK = 1000  # in a folder
DATA_MEGABYTES = 100  # of a file, after which the next one begins
VIDEO_MEGABYTES = 200
COUNTERS = ("frame_index", "episode_index", "index", "task_index")  # LeRobot's own book-keeping


def describe_features(store: DemoStore) -> dict[str, Any]:
    """Return the features that an export has.

    Numbers and actions each end to end, images as videos, outcomes where all are known, and who
    acted where that was said.
    """
    features = {}
    if store.spec.states:
        features[STATE] = _vector_feature(store.spec.states)
    for key, field in store.spec.images.items():
        features[IMAGES + key] = _video_feature(field, store.spec.policy_hz)
    features[ACTION] = _vector_feature(store.spec.actions)
    features[CLOCK] = _feature("float32", (1,))
    features[TIME] = _feature("float64", (1,))
    if None not in store.success:
        features[SUCCESS] = _feature("bool", (1,))
    if store.sources().any():
        features[SOURCE] = _feature("int64", (1,))
    for name in COUNTERS:
        features[name] = _feature("int64", (1,))
    return features


def episode_numbers(episode: Episode) -> dict[str, np.ndarray]:
    """Return the features of an episode, without images and LeRobot's own book-keeping."""
    frames = len(episode)
    parts = [episode.data[key].reshape(frames, -1) for key in episode.spec.states]
    numbers = {}
    if parts:
        numbers[STATE] = np.concatenate(parts, 1)
    numbers[ACTION] = episode.data[ACTION]
    numbers[TIME] = episode.data[TIME]
    numbers[SUCCESS] = np.full(frames, False)
    numbers[SUCCESS][-1] = bool(episode.success)
    numbers[SOURCE] = episode.sources
    return numbers


def data_schema(store: DemoStore) -> pa.Schema:
    """Return the schema of the data files, with what the datasets library wants to know."""
    fields = []
    described = {}
    for key, feature in describe_features(store).items():
        if feature["dtype"] == "video":
            continue
        dtype = pa.from_numpy_dtype(feature["dtype"])
        described[key] = {"dtype": feature["dtype"], "_type": "Value"}
        if key in (STATE, ACTION):
            length = feature["shape"][0]
            dtype = pa.list_(dtype, length)
            described[key] = {"feature": described[key], "length": length, "_type": "List"}
        fields.append(pa.field(key, dtype))
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": described}})})


def write_meta(
    folder: Path,
    store: DemoStore,
    task: str,
    rows: Sequence[Mapping[str, Any]],
    parts: Sequence[Statistics],
) -> None:
    """Write info, stats, tasks, episodes, and what only fewstep reads.

    rows: where each episode is; parts: the statistics of each.
    """
    ours = {
        "spec": store.spec.to_json(),
        "provenance": store.provenance,
        "success": store.success,
        "sources": SOURCES,  # by the numbers of the feature "source"
    }
    _write_json(folder / "meta/info.json", _describe_dataset(store))
    _write_json(folder / "meta/stats.json", join_statistics(parts))
    _write_json(folder / OURS, ours)
    pq.write_table(_task_table(task), folder / "meta/tasks.parquet")
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    table = pa.Table.from_pylist(_episode_rows(rows, parts))
    pq.write_table(table, folder / "meta/episodes/chunk-000/file-000.parquet")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1))


def _describe_dataset(store: DemoStore) -> dict[str, Any]:
    hz = store.spec.policy_hz
    return {
        "codebase_version": VERSION,
        "robot_type": "unknown",
        "total_episodes": len(store),
        "total_frames": store.frames,
        "total_tasks": 1,
        "chunks_size": FILES_IN_CHUNK,
        "data_files_size_in_mb": DATA_MEGABYTES,
        "video_files_size_in_mb": VIDEO_MEGABYTES,
        "fps": int(hz) if hz == int(hz) else hz,
        "splits": {"train": f"0:{len(store)}"},
        "data_path": DATA,
        "video_path": VIDEO,
        "features": describe_features(store),
    }


def _episode_rows(
    rows: Sequence[Mapping[str, Any]], parts: Sequence[Statistics]
) -> list[dict[str, Any]]:
    """Return the rows of meta/episodes: where an episode is, its statistics, where the row is."""
    full = []
    for row, statistics in zip(rows, parts, strict=True):
        flat = dict(row)
        for feature, values in statistics.items():
            for name, value in values.items():
                flat[f"stats/{feature}/{name}"] = value
        flat["meta/episodes/chunk_index"] = 0
        flat["meta/episodes/file_index"] = 0
        full.append(flat)
    return full


def _feature(
    dtype: str, shape: Sequence[int], names: Sequence[str] | None = None
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": list(names) if names else None}


def _vector_feature(fields: Mapping[str, Field]) -> dict[str, Any]:
    names: list[str] = []
    for key, field in fields.items():
        names += field.names or _element_names(key, field.size)
    return _feature("float32", (len(names),), names)


def _element_names(key: str, size: int) -> list[str]:
    return [key] if size == 1 else [f"{key}.{index}" for index in range(size)]


def _video_feature(field: Field, hz: float) -> dict[str, Any]:
    height, width, _ = field.shape
    feature = _feature("video", field.shape, ("height", "width", "channels"))
    feature["info"] = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": hz,
        "video.channels": 3,
        "has_audio": False,
    }
    return feature


def _task_table(task: str) -> pa.Table:
    """Return the one task, indexed by its words as pandas would."""
    index = {
        "name": None,
        "field_name": None,
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": {"encoding": "UTF-8"},
    }
    columns = [_pandas_column("task_index", "int64", "int64")]
    columns.append(_pandas_column("task", "unicode", "object"))
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [index],
        "columns": columns,
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.3",
    }
    table = pa.table({"task_index": [0], "task": [task]})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }
