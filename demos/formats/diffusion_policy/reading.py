"""Replay buffers of Diffusion Policy and UMI: zarr v2, a folder or zip.

They hold `data/<key>` and `meta/episode_ends`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....envs import DataError, Field, Spec
from ...episode import ACTION, SOURCE, TIME, Episode
from ..choosing import Choice
from ..source import Source, reader, select_observations
from .buffer import ReplayBuffer, choose_arrays, is_image, open_group, read_ends, read_meta

OURS = "fewstep"  # attribute of a buffer that we wrote: Spec, provenance, how each episode ended
USUAL_HZ = 10.0  # a buffer does not know its rate
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
    """Yield the episodes of a replay buffer, which does not know its rate: 10 Hz by default.

    By default all numeric arrays of at most one dimension per frame, and uint8 images; an image
    stored as floats from 0 to 255 is taken, rounded to uint8, only where it is named among the
    cameras.

    spec: what observations and actions mean; by default linear numbers without a unit.
    transform: from one episode's arrays, as the buffer holds them, to those of `spec`,
        "action" included.
    notes: more about where the data comes from.
    """
    if not path.exists():
        raise DataError(f"there is nothing at {path}")
    choice.refuse_fields()
    with open_group(path) as group:
        ends = read_ends(group)
        ours: Any = group.attrs.get(OURS)
        if ours:
            known = Spec.from_json(ours["spec"])
            choice.refuse_rate(known.policy_hz)
            arrays = choose_arrays(group, choice, usual=list(known.observations))
            buffer = ReplayBuffer(arrays, ends, choice.encoding())
            sources = read_meta(group, SOURCE, ends) if f"meta/{SOURCE}" in group else None
            yield _read_ours(buffer, known, ours, read_meta(group, TIME, ends), sources)
            return
        buffer = ReplayBuffer(choose_arrays(group, choice), ends, choice.encoding())
        spec = spec or _guess_spec(buffer, choice.hz or USUAL_HZ)
        transform = transform or partial(_conform, spec=spec)
        said = {"source": path.name, "format": "Diffusion Policy replay buffer", **(notes or {})}
        yield Source(spec, said, _read_theirs(buffer, spec, transform), len(ends), buffer.images)


def _read_ours(
    buffer: ReplayBuffer,
    spec: Spec,
    ours: Mapping[str, Any],
    times: np.ndarray,
    sources: np.ndarray | None,
) -> Source:
    """Return what `write` wrote."""
    kept = [key for key in spec.observations if key in buffer.arrays]
    spec = select_observations(spec, kept)

    def episodes() -> Iterator[Episode]:
        for span, success in zip(buffer.spans(), ours["success"], strict=True):
            data = {TIME: times[span]} | buffer.read(span)
            yield Episode(data, spec, success, None if sources is None else sources[span])

    return Source(spec, ours["provenance"], episodes(), len(buffer.ends), buffer.images)


def _read_theirs(buffer: ReplayBuffer, spec: Spec, transform: Transform) -> Iterator[Episode]:
    for span in buffer.spans():
        data = transform(buffer.read(span))
        times = np.arange(span.stop - span.start) / spec.policy_hz
        yield Episode(data | {TIME: times}, spec)


def _guess_spec(buffer: ReplayBuffer, hz: float) -> Spec:
    fields = {}
    for key, array in buffer.arrays.items():
        kind = "image" if is_image(array) else "linear"
        fields[key] = Field(array.shape[1:] or (1,), kind=kind)
    action = fields.pop(ACTION)
    return Spec(fields, {ACTION: action}, hz)


def _conform(raw: Arrays, spec: Spec) -> Arrays:
    """Return (T, 1) for one number per frame, and uint8 for images."""
    data = {}
    for key, values in raw.items():
        field = spec.observations.get(key)
        if len(values.shape) == 1:
            data[key] = values[:, None]
        elif field is not None and field.is_image and values.dtype != np.uint8:
            data[key] = round_pixels(key, values)
        else:
            data[key] = values
    return data


def round_pixels(key: str, values: np.ndarray) -> np.ndarray:
    """Return an image of floats from 0 to 255 as uint8; DataError where it is no such image."""
    lowest = values.min()
    highest = values.max()
    if not (lowest >= 0 and 1 < highest <= 255):  # also where there are NaN
        raise DataError(
            f"image {key!r} ranges from {lowest} to {highest}; only 0 to 255 can be converted"
        )
    return np.rint(values).astype(np.uint8)
