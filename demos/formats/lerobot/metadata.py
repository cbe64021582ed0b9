"""What a LeRobot dataset v3.0 says about itself: features, schemas, statistics, and its meta files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....envs import Field
from ...episode import ACTION, TIME, Episode
from ...store import DemoStore
from .reading import CLOCK, IMAGES, OURS, STATE, SUCCESS, VERSION

DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES = 1000  # in a chunk folder
BOOKS = ("frame_index", "episode_index", "index", "task_index")
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
PICTURES = 20  # of an episode, from which its statistics are made
Statistics = dict[
    str, dict[str, list]
]  # feature -> statistic -> one value an element, or a channel (3, 1, 1)


def features(store: DemoStore) -> dict[str, Any]:
    """The features that an export has: numbers and actions each end to end, images as videos; outcomes where known."""
    spec = store.spec
    observed = spec.states
    out = {STATE: _vector(observed)} if observed else {}
    for key, field in spec.images.items():
        out[IMAGES + key] = _video(field, spec.policy_hz)
    single = {name: _feature("int64", (1,)) for name in BOOKS}
    clocks = {CLOCK: _feature("float32", (1,)), TIME: _feature("float64", (1,))}
    judged = {} if None in store.success else {SUCCESS: _feature("bool", (1,))}
    return out | {ACTION: _vector(spec.actions)} | clocks | judged | single


def numbers(episode: Episode) -> dict[str, np.ndarray]:
    """What the features of an episode are, images and LeRobot's own book-keeping left out."""
    n, spec = len(episode), episode.spec
    parts = [episode.data[k].reshape(n, -1) for k in spec.states]
    state = {STATE: np.concatenate(parts, 1)} if parts else {}
    won = np.full(n, False)
    won[-1] = bool(episode.success)
    return state | {ACTION: episode.data[ACTION], TIME: episode.data[TIME], SUCCESS: won}


def schema(store: DemoStore) -> pa.Schema:
    """Of the data files, with what the datasets library wants to know."""
    kept = {k: f for k, f in features(store).items() if f["dtype"] != "video"}
    types = {k: pa.from_numpy_dtype(f["dtype"]) for k, f in kept.items()}
    known = {k: {"dtype": f["dtype"], "_type": "Value"} for k, f in kept.items()}
    for k in (STATE, ACTION):
        if k in kept:
            n = kept[k]["shape"][0]
            types[k], known[k] = (
                pa.list_(types[k], n),
                {"feature": known[k], "length": n, "_type": "List"},
            )
    meta = {"huggingface": json.dumps({"info": {"features": known}})}
    return pa.schema([pa.field(k, t) for k, t in types.items()], meta)


def statistics(episode: Episode) -> Statistics:
    """Of one episode; images in 0 to 1, from a few pictures."""
    out = {k: _figures(v.astype(float).reshape(len(v), -1)) for k, v in numbers(episode).items()}
    for key in episode.spec.images:
        some = np.asarray(episode.data[key][:: max(1, len(episode) // PICTURES)])
        figures = _figures(some.reshape(-1, 3) / 255)
        out[IMAGES + key] = {
            k: v if k == "count" else [[[x]] for x in v] for k, v in figures.items()
        }
    return out


def together(parts: Sequence[Statistics]) -> Statistics:
    """Of all episodes: exact but for the quantiles, which are means of the episodes'."""
    return {feature: _joined([p[feature] for p in parts]) for feature in parts[0]}


def write_meta(
    folder: Path,
    store: DemoStore,
    task: str,
    rows: Sequence[Mapping[str, Any]],
    parts: Sequence[Statistics],
) -> None:
    """info, stats, tasks, episodes, and what only fewstep reads."""
    hz = store.spec.policy_hz
    info = {
        "codebase_version": VERSION, "robot_type": "unknown", "total_episodes": len(store),
        "total_frames": store.frames, "total_tasks": 1, "chunks_size": FILES, "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200, "fps": int(hz) if hz == int(hz) else hz,
        "splits": {"train": f"0:{len(store)}"}, "data_path": DATA, "video_path": VIDEO, "features": features(store),
    }  # fmt: skip
    ours = {"spec": store.spec.to_json(), "provenance": store.provenance, "success": store.success}
    for name, content in {
        "meta/info.json": info,
        "meta/stats.json": together(parts),
        OURS: ours,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1))
    pq.write_table(_tasks(task), folder / "meta/tasks.parquet")
    flat = [{f"stats/{k}/{s}": v for k, of in p.items() for s, v in of.items()} for p in parts]
    place = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    table = pa.Table.from_pylist(
        [{**row, **more, **place} for row, more in zip(rows, flat, strict=True)]
    )
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(table, folder / "meta/episodes/chunk-000/file-000.parquet")


def _feature(
    dtype: str, shape: Sequence[int], names: Sequence[str] | None = None
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": list(names) if names else None}


def _vector(fields: Mapping[str, Field]) -> dict[str, Any]:
    named = [name for key, f in fields.items() for name in (f.names or _elements(key, f.size))]
    return _feature("float32", (len(named),), named)


def _elements(key: str, size: int) -> list[str]:
    return [key] if size == 1 else [f"{key}.{i}" for i in range(size)]


def _video(f: Field, hz: float) -> dict[str, Any]:
    height, width, _ = f.shape
    codec = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
    }
    info = {
        **codec,
        "video.is_depth_map": False,
        "video.fps": hz,
        "video.channels": 3,
        "has_audio": False,
    }
    return _feature("video", f.shape, ("height", "width", "channels")) | {"info": info}


def _figures(x: np.ndarray) -> dict[str, list]:
    """Of rows (N, n)."""
    low = {"min": x.min(0), "max": x.max(0), "mean": x.mean(0), "std": x.std(0)}
    quantiles = dict(zip(QUANTILES, np.quantile(x, list(QUANTILES.values()), axis=0), strict=True))
    return {k: v.tolist() for k, v in (low | quantiles).items()} | {"count": [len(x)]}


def _joined(parts: Sequence[Mapping[str, list]]) -> dict[str, list]:
    of = {k: np.array([p[k] for p in parts]) for k in parts[0]}
    share = of["count"].reshape(-1, *[1] * (of["mean"].ndim - 1)) / of["count"].sum()
    mean = (share * of["mean"]).sum(0)
    spread = np.sqrt((share * (of["std"] ** 2 + (of["mean"] - mean) ** 2)).sum(0))
    out = {"min": of["min"].min(0), "max": of["max"].max(0), "mean": mean, "std": spread}
    out |= {k: (share * of[k]).sum(0) for k in QUANTILES}
    return {k: v.tolist() for k, v in out.items()} | {"count": [int(of["count"].sum())]}


def _tasks(task: str) -> pa.Table:
    """The one task, indexed by its words as pandas would."""
    columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    pandas = {
        "index_columns": ["task"], "column_indexes": [{"name": None, "field_name": None, "pandas_type": "unicode",
        "numpy_type": "object", "metadata": {"encoding": "UTF-8"}}], "columns": [{"name": name, "field_name": name,
        "pandas_type": kind, "numpy_type": numpy, "metadata": None} for name, kind, numpy in columns],
        "creator": {"library": "pyarrow", "version": pa.__version__}, "pandas_version": "2.2.3",
    }  # fmt: skip
    table = pa.table({"task_index": [0], "task": [task]})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
