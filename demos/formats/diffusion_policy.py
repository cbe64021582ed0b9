"""Replay buffers of Diffusion Policy and UMI: zarr v2, as a folder or zip, `data/<key>` and `meta/episode_ends`."""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ...envs import DataError, Field, Spec, caps
from ...envs.atomic_files import new_folder
from ...envs.caps import require_ratio
from ...envs.errors import names
from ...envs.sim.push_t_geometry import SPEC as PUSHT
from ...envs.sim.push_t_geometry import corners
from ..episode import ACTION, TIME, Episode, columns
from ..storage.images import EncodedImages, Raw
from ..store import DemoStore
from .foreign_zarr import Archive, Folder
from .source import Choice, Source, observing, reader, save

OURS = (
    "fewstep"  # attribute of a buffer that we wrote: Spec, provenance, and how each episode ended
)
Arrays = dict[str, Any]  # one episode: (T, ...) each
Transform = Callable[[Arrays], Arrays]


@reader("a Diffusion Policy replay buffer")
def read(
    path: Path,
    choice: Choice,
    spec: Spec | None = None,
    transform: Transform | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Iterator[Source]:
    """The episodes of a replay buffer, which does not know its rate: 10 Hz where the choice names none.

    By default all numeric arrays of at most one dimension per frame, and uint8 images; an image stored as floats from
    0 to 255 is taken, rounded to uint8, only where it is named among the cameras.
    spec: what observations and actions mean; by default linear numbers without a unit.
    transform: from one episode's arrays, as the buffer holds them, to those of `spec`, "action" included.
    """
    notes = {"source": path.name, "format": "Diffusion Policy replay buffer", **(notes or {})}
    images = choice.images or "lossless"
    if not path.exists():
        raise DataError(f"there is nothing at {path}")
    with _buffer(path) as group:
        ends, arrays = _read(group, path, choice)
        if ours := group.attrs.get(OURS):
            yield _returned(ours, ends, arrays, _numbers(_time(group), 0, ends[-1]), images)
            return
        hz = choice.hz or 10.0
        spec = spec or _spec(arrays, hz)
        transform = transform or partial(_conform, spec=spec)
        episodes = (
            Episode(transform(_part(arrays, a, b, images)) | {TIME: np.arange(b - a) / hz}, spec)
            for a, b in pairwise([0, *ends])
        )
        yield Source(spec, notes, episodes, images)


def write(store: DemoStore, out: str | Path, task: str = "") -> None:
    """Write all episodes as a replay buffer, a folder of zarr v2; what it has no place for comes back to us as well."""
    arrays = {f"data/{key}": column for key, column in columns(store.spec).items()}
    arrays["meta/time"] = arrays.pop(f"data/{TIME}")
    ours = {
        "spec": store.spec.to_json(),
        "provenance": store.provenance | {"task": task} if task else store.provenance,
    }
    with new_folder(Path(out)) as folder:
        group = zarr.open_group(
            folder, mode="w", zarr_format=2, attributes={OURS: ours | {"success": store.success}}
        )
        for name, (shape, dtype) in arrays.items():
            chunk, key = 1 if len(shape) == 3 else 4096, name.split("/")[1]
            array = group.create_array(
                name, shape=(store.frames, *shape), dtype=dtype, chunks=(chunk, *shape),
                config={"write_empty_chunks": True},  # else zeros and what is lost look the same
            )  # fmt: skip
            for first in range(0, store.frames, chunk):
                array[first : first + chunk] = store.array(key, first, first + chunk)
        group.create_array("meta/episode_ends", data=store.ends)


def _returned(
    ours: Any, ends: list[int], arrays: Mapping[str, zarr.Array], time: np.ndarray, images: str
) -> Source:
    """What `write` wrote."""
    spec = Spec.from_json(ours["spec"])
    spec = observing(spec, [key for key in spec.observations if key in arrays])
    episodes = (
        Episode({TIME: time[a:b]} | _part(arrays, a, b, images), spec, success)
        for (a, b), success in zip(pairwise([0, *ends]), ours["success"], strict=True)
    )
    return Source(spec, ours["provenance"], episodes, images)


def _part(arrays: Mapping[str, zarr.Array], start: int, stop: int, images: str) -> dict[str, Any]:
    """One episode as the buffer holds it; uint8 images are read when they are stored."""

    def part(key: str, array: zarr.Array) -> Any:
        if not _pictures(array) or array.dtype != np.uint8:
            return _numbers(array, start, stop)
        store: Any = array.store
        return EncodedImages(
            Raw(array, start, stop, images, f"{store.place}, {array.path}"), array.shape[1:], images
        )

    return {key: part(key, array) for key, array in arrays.items()}


def _numbers(array: zarr.Array, start: int, stop: int) -> np.ndarray:
    """Some frames at once, where the files of the whole array are large enough for them."""
    frame = int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize
    if (stop - start) * frame > caps.FREE:
        store: Any = array.store
        require_ratio(
            array.shape[0] * frame, store.stored(array.path), f"{store.place}, {array.path}"
        )
    return np.asarray(array[start:stop])


def _time(group: zarr.Group) -> zarr.Array:
    found = group.get("meta/time")
    if not isinstance(found, zarr.Array):
        raise DataError("it lacks 'meta/time'")
    return found


def import_pusht(source: str | Path, out: str | Path) -> None:
    """The human Push-T demonstrations of Diffusion Policy, observed as gym-pusht observes: corners and agent."""
    notes = {"authors": "Chi et al., Diffusion Policy (2023)", "licence": "MIT"}
    choice = Choice(("state",), (), PUSHT.policy_hz)
    with read(Path(source), choice, PUSHT, _pusht, notes) as found:
        save(found, out)


def _pusht(raw: Arrays) -> Arrays:
    state = raw["state"]
    if state.shape[1:] != (5,):
        raise DataError(
            f"'state' has {state.shape[1:]} numbers a frame; Push-T has agent x y, block x y angle"
        )
    return {"environment_state": corners(state), "agent_pos": state[:, :2], ACTION: raw[ACTION]}


@contextmanager
def _buffer(source: Path) -> Iterator[zarr.Group]:
    """The group that holds `data` and `meta`."""
    folder = _inside(source) if source.is_file() else ""
    with Archive(source, mode="r") if source.is_file() else Folder(source, read_only=True) as store:
        yield zarr.open_group(store, path=folder, mode="r", use_consolidated=False)


def _inside(source: Path) -> str:
    """The folder of a zip archive in which the buffer lies: archives made by hand often have one."""
    sign = "meta/episode_ends/.zarray"
    with zipfile.ZipFile(source) as archive:
        found = [name for name in archive.namelist() if name.endswith(sign)]
    if len(found) > 1:
        raise DataError(
            f"{source} holds several replay buffers, unpack one of them: {names(found)}"
        )
    return found[0].removesuffix(sign).rstrip("/") if found else ""


def _read(
    group: zarr.Group, source: Path, choice: Choice
) -> tuple[list[int], dict[str, zarr.Array]]:
    """Episode ends, and the chosen arrays with the action, checked against each other."""
    data, meta = group.get("data"), group.get("meta/episode_ends")
    if not isinstance(data, zarr.Group) or not isinstance(meta, zarr.Array):
        raise DataError(
            f"{source} is no Diffusion Policy replay buffer: it lacks 'data' or 'meta/episode_ends'"
        )
    ends = _numbers(meta, 0, meta.shape[0])
    if not len(ends) or ends.dtype.kind not in "iu" or (np.diff(ends, prepend=0) <= 0).any():
        raise DataError(f"{source}: meta/episode_ends must be whole numbers that grow from above 0")
    arrays = {key: _array(data, key, source) for key in [*_chosen(data, choice), ACTION]}
    _check_kinds(arrays, source, choice)
    for key, array in arrays.items():
        if array.shape[0] != ends[-1]:
            raise DataError(
                f"{source}: {key!r} has {array.shape[0]} frames, the episodes have {ends[-1]}"
            )
    return ends.tolist(), arrays


def _array(data: zarr.Group, key: str, source: Path) -> zarr.Array:
    array = data.get(key)
    if not isinstance(array, zarr.Array):
        raise DataError(f"{source} has no 'data/{key}'; valid: {names(data.array_keys())}")
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise DataError(f"{source}: {key!r} holds {array.dtype}, not numbers per frame")
    return array


def _check_kinds(arrays: Mapping[str, zarr.Array], source: Path, choice: Choice) -> None:
    """Refuse images among the keys, all else among the cameras, and the action as an observation."""
    for key in choice.keys or ():
        if key == ACTION:
            raise DataError(f"{source}: {key!r} is no observation; leave it out of keys=")
        if _pictures(arrays[key]):
            raise DataError(f"{source}: {key!r} holds images; choose it with cameras=[{key}]")
    for key in choice.cameras or ():
        if not _pictures(arrays[key]):
            shape = arrays[key].shape
            raise DataError(
                f"{source}: {key!r} is no camera: its shape is {shape}, not (frames, height, width, 3)"
            )


def _chosen(data: zarr.Group, choice: Choice) -> list[str]:
    keys, cameras = choice.keys, choice.cameras
    if keys is None or cameras is None:
        usable = {key: a for key, a in data.arrays() if a.dtype.kind in "fiub" and key != ACTION}
        keys = sorted(k for k, a in usable.items() if a.ndim in (1, 2)) if keys is None else keys
        bytes_ = sorted(k for k, a in usable.items() if _pictures(a) and a.dtype == np.uint8)
        cameras = bytes_ if cameras is None else cameras
    return [*keys, *cameras]


def _pictures(array: zarr.Array) -> bool:
    return array.ndim == 4 and array.shape[3] == 3


def _spec(arrays: Mapping[str, zarr.Array], hz: float) -> Spec:
    fields = {
        key: Field(array.shape[1:] or (1,), kind="image" if _pictures(array) else "linear")
        for key, array in arrays.items()
    }
    return Spec(
        {key: field for key, field in fields.items() if key != ACTION}, {ACTION: fields[ACTION]}, hz
    )


def _conform(raw: Arrays, spec: Spec) -> Arrays:
    """One number per frame becomes (T, 1), images become uint8."""
    out = {
        key: values[:, None] if len(values.shape) == 1 else values for key, values in raw.items()
    }
    for key, field in spec.observations.items():
        if field.is_image and key in out and out[key].dtype != np.uint8:
            out[key] = _pixels(key, out[key])
    return out


def _pixels(key: str, values: np.ndarray) -> np.ndarray:
    if not (values.min() >= 0 and 1 < values.max() <= 255):  # also where there are NaN
        raise DataError(
            f"image {key!r} ranges from {values.min()} to {values.max()}; only 0 to 255 can be converted"
        )
    return np.rint(values).astype(np.uint8)
