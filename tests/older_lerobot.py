"""LeRobot datasets as they were before v3.0: files of its own for every episode, and JSON lines."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fewstep.demos import DemoStore
from fewstep.demos.formats.lerobot.writing import write

DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


def write_older(store: DemoStore, path: Path, version: str = "v2.1", chunk: int = 1000) -> None:
    """Write a store in an older version; chunk: how many episodes are in a folder."""
    write(store, path, data_megabytes=0, video_megabytes=0)
    (path / "meta/fewstep.json").unlink()
    rows = []
    statistics = []
    for row in pq.read_table(path / "meta/episodes/chunk-000/file-000.parquet").to_pylist():
        number = row["episode_index"]
        place = {"episode_chunk": number // chunk, "episode_index": number}
        _move(path, f"data/chunk-000/file-{number:03d}.parquet", DATA.format(**place))
        for folder in sorted((path / "videos").glob("observation.images.*")):
            new = VIDEO.format(**place, video_key=folder.name)
            _move(path, f"videos/{folder.name}/chunk-000/file-{number:03d}.mp4", new)
        rows.append({key: row[key] for key in ("episode_index", "tasks", "length")})
        statistics.append({"episode_index": number, "stats": {}})
    for folder in (path / "videos").glob("observation.images.*"):
        shutil.rmtree(folder)
    shutil.rmtree(path / "meta/episodes")
    (path / "meta/tasks.parquet").unlink()
    change_info(path, codebase_version=version, data_path=DATA, video_path=VIDEO, chunks_size=chunk)
    write_lines(path / "meta/episodes.jsonl", rows)
    write_lines(path / "meta/tasks.jsonl", [{"task_index": 0, "task": rows[0]["tasks"][0]}])
    if version != "v2.0":
        (path / "meta/stats.json").unlink()
        write_lines(path / "meta/episodes_stats.jsonl", statistics)


def _move(path: Path, old: str, new: str) -> None:
    (path / new).parent.mkdir(parents=True, exist_ok=True)
    (path / old).rename(path / new)


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the tables, one a line."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def read_info(path: Path) -> dict[str, Any]:
    """Return what a dataset says about itself."""
    return json.loads((path / "meta/info.json").read_text())


def change_info(path: Path, **changes: Any) -> None:
    """Change what a dataset says about itself."""
    (path / "meta/info.json").write_text(json.dumps(read_info(path) | changes))
