"""A store as one HDF5 file of robomimic, and what of it only we read back."""

from __future__ import annotations

import json
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ....envs.atomic_files import new_file
from ...episode import ACTION, SOURCE, TIME, Episode
from ...store import DemoStore
from ..source import Progress, ignore_progress
from .reading import OURS

GYM = 2  # robomimic's number for environments of gym


def write(
    store: DemoStore,
    out: str | Path,
    task: str = "",
    progress: Progress = ignore_progress,
) -> None:
    """Write all episodes to a new file, without `next_obs`; a failure leaves nothing there.

    rewards: 1 in the last frame of a success. Quaternions become x, y, z, w. Actions are written as
    they are: robomimic wants them within -1 and 1.
    """
    provenance = store.provenance | ({"task": task} if task else {})
    environment = {
        "env_name": str(provenance.get("task", "unknown")),
        "type": GYM,
        "env_kwargs": {"control_freq": store.spec.policy_hz},
    }
    ours = {"spec": store.spec.to_json(), "provenance": provenance}
    with new_file(Path(out)) as beside, PatientFile(beside, "w+") as disk:
        with h5py.File(disk, "w") as file:
            data = file.create_group("data")
            data.attrs["total"] = store.frames
            data.attrs["env_args"] = json.dumps(environment)
            data.attrs[OURS] = json.dumps(ours)
            for number in range(len(store)):
                _write_demo(data.create_group(f"demo_{number}"), store.episode(number))
                file.flush()
                disk.check()
                progress(number + 1, len(store))
        disk.check()


class PatientFile(FileIO):
    """A file whose writes never fail.

    HDF5 prints traces and may crash where one does, as on a full disk.
    """

    _failed: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all, or nothing any more after the first failure."""
        left = memoryview(content).cast("B")
        try:
            while left and self._failed is None:
                left = left[super().write(left) :]
        except OSError as error:
            self._failed = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        """Grow or shrink, likewise."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._failed = self._failed or error
            return size or 0

    def check(self) -> None:
        """Raise the first failure."""
        if self._failed is not None:
            raise self._failed


def _write_demo(demo: h5py.Group, episode: Episode) -> None:
    last = np.arange(len(episode)) == len(episode) - 1
    demo.attrs["num_samples"] = len(episode)
    if episode.success is not None:
        demo.attrs["success"] = episode.success
    demo["actions"] = episode.data[ACTION]
    demo[TIME] = episode.data[TIME]
    if episode.source is not None:
        demo[SOURCE] = episode.source
    demo["rewards"] = np.where(last & bool(episode.success), 1.0, 0.0)
    demo["dones"] = last.astype(np.int64)
    for key, field in episode.spec.observations.items():
        values = episode.data[key]
        if field.is_image:
            _write_images(demo, key, values)
        elif field.kind == "quaternion":
            demo[f"obs/{key}"] = np.roll(values, -1, axis=-1)
        else:
            demo[f"obs/{key}"] = values


def _write_images(demo: h5py.Group, key: str, images: Any) -> None:
    """Write pictures (T, height, width, 3), each a chunk of its own."""
    array = demo.create_dataset(
        f"obs/{key}",
        images.shape,
        np.uint8,
        chunks=(1, *images.shape[1:]),
        compression="gzip",
    )
    for frame, image in enumerate(images):
        array[frame] = image
