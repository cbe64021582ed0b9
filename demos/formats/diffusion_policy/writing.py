"""A store as a replay buffer, a folder of zarr v2."""

from pathlib import Path

import zarr

from ....envs.atomic_files import new_folder
from ...episode import SOURCE, TIME, array_formats
from ...store import DemoStore
from ..source import Progress, ignore_progress
from .reading import OURS

FRAMES_IN_CHUNK = 4096  # of numbers; a picture has a chunk of its own


def write(
    store: DemoStore,
    out: str | Path,
    task: str = "",
    progress: Progress = ignore_progress,
) -> None:
    """Write all episodes to a new folder `out`; a failure leaves nothing there.

    What the format has no place for comes back to us as well. task: in words, for the provenance.
    """
    provenance = store.provenance | {"task": task} if task else store.provenance
    ours = {"spec": store.spec.to_json(), "provenance": provenance, "success": store.success}
    with new_folder(Path(out)) as folder:
        group = zarr.open_group(folder, mode="w", zarr_format=2, attributes={OURS: ours})
        for key in _ordered_keys(store):
            _write_array(group, store, key)
        group.create_array("meta/episode_ends", data=store.ends)
        sources = store.sources()
        if sources.any():
            group.create_array(f"meta/{SOURCE}", data=sources, config={"write_empty_chunks": True})
    progress(len(store), len(store))


def _ordered_keys(store: DemoStore) -> list[str]:
    keys = list(array_formats(store.spec))
    keys.remove(TIME)
    return [*keys, TIME]


def _write_array(group: zarr.Group, store: DemoStore, key: str) -> None:
    array_format = array_formats(store.spec)[key]
    chunk = 1 if len(array_format.shape) == 3 else FRAMES_IN_CHUNK
    array = group.create_array(
        f"meta/{key}" if key == TIME else f"data/{key}",
        shape=(store.frames, *array_format.shape),
        dtype=array_format.dtype,
        chunks=(chunk, *array_format.shape),
        # else zeros and what is lost look the same
        config={"write_empty_chunks": True},
    )
    for first in range(0, store.frames, chunk):
        array[first : first + chunk] = store.array(key, first, first + chunk)
