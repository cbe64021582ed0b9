"""HDF5 of robomimic and robosuite.

`data/<demo>/actions` beside `data/<demo>/obs/<key>`, or beside raw `states`.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ....envs import DataError, FewstepError, Field, Spec
from ....envs.errors import refusing
from ....envs.files import require_plain
from ...episode import ACTION, SOURCE, TIME, Episode
from ...storage.images import EncodedImages, RawFrames
from ..choosing import Choice
from ..source import Source, reader, select_observations
from .arrays import (
    base_name,
    find_array,
    is_image,
    list_demos,
    read_attribute,
    read_numbers,
    usable_arrays,
)
from .meaning import (
    Environment,
    choose_keys,
    guess_spec,
    judge_success,
    observation_group,
    read_environment,
    read_rate,
)

OURS = "fewstep"  # attribute of `data` in a file that we wrote: Spec and provenance


@reader("HDF5 of robomimic or robosuite")
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """Yield the demonstrations of one file, in the order of their numbers.

    Without a group `obs` the simulator's raw `states` are the one observation. By default all
    numeric arrays of at most one dimension per frame, and uint8 images. The rate is the choice's,
    else the control_freq that the file states, else 20 Hz as usual with robosuite; the notes say
    which.

    A file that we wrote says itself what it holds; its times, and who acted, lie beside its
    actions.
    """
    choice.refuse_fields()
    require_plain(path)
    with h5py.File(path, "r") as file:
        demos = list_demos(file)
        attributes = file["data"].attrs
        environment = read_environment(attributes)
        ours = read_attribute(attributes, OURS)
        with naming_demo(path, demos[0]):
            if ours:
                spec, notes = _read_ours(demos[0], ours, choice)
            else:
                hz, rate = read_rate(environment, choice.hz)
                spec = guess_spec(demos[0], environment, choice, hz)
                notes = {
                    "source": path.name,
                    "format": "robomimic or robosuite",
                    "rate": rate,
                    "environment": environment,
                }
        demonstrations = Demonstrations(path, demos, spec, environment, choice.encoding(), ours)
        yield Source(spec, notes, demonstrations.episodes(), len(demos), choice.encoding())


def _read_ours(demo: h5py.Group, text: str, choice: Choice) -> tuple[Spec, dict[str, Any]]:
    """Return the Spec and the provenance that `write` put there."""
    said = json.loads(text)
    spec = Spec.from_json(said["spec"])
    choice.refuse_rate(spec.policy_hz)
    arrays = usable_arrays(observation_group(demo))
    keys = choose_keys(arrays, choice, usual=list(spec.observations))
    return select_observations(spec, keys), said["provenance"]


@contextmanager
def naming_demo(path: Path, demo: h5py.Group) -> Iterator[None]:
    """Turn whatever the block raises into a DataError that names file and demonstration."""
    where = f"{path}, {base_name(demo)}"
    try:
        with refusing(DataError, "cannot be read"):
            yield
    except FewstepError as error:
        raise DataError(f"{where}: {error}") from error


@dataclass(frozen=True)
class Demonstrations:
    """The groups of a file, and what their arrays mean.

    images: how they shall be kept; ours: whether we wrote the file.
    """

    path: Path
    groups: Sequence[h5py.Group]
    spec: Spec
    environment: Environment
    images: str
    ours: bool

    def episodes(self) -> Iterator[Episode]:
        """Yield every demonstration."""
        for group in self.groups:
            with naming_demo(self.path, group):
                episode = self._episode(group)
            yield episode

    def _episode(self, demo: h5py.Group) -> Episode:
        group = observation_group(demo)
        data = {}
        for key, field in self.spec.observations.items():
            array = find_array(group, key)
            data[key] = self._images(array) if field.is_image else _values(array, field)
        actions = read_numbers(find_array(demo, "actions"))
        if not len(actions):
            raise DataError("it has no frames")
        data[ACTION] = actions.reshape(len(actions), -1)
        if self.ours:
            data[TIME] = read_numbers(find_array(demo, TIME))
        else:
            data[TIME] = np.arange(len(actions)) / self.spec.policy_hz
        source = read_numbers(find_array(demo, SOURCE)) if self.ours and SOURCE in demo else None
        return Episode(data, self.spec, judge_success(demo, self.environment), source)

    def _images(self, array: h5py.Dataset) -> EncodedImages:
        """Return images that are read when they are stored."""
        if not is_image(array):
            raise DataError(
                f"{base_name(array)!r} has {array.shape} {array.dtype}:"
                " no images of uint8 as in the first one"
            )
        pixels = RawFrames(array, 0, len(array), self.images, f"{self.path}, {array.name}")
        return EncodedImages(pixels, array.shape[1:], self.images)


def _values(array: h5py.Dataset, field: Field) -> np.ndarray:
    """Return one number per frame as (T, 1), and a quaternion as w, x, y, z."""
    values = read_numbers(array)
    if field.kind == "quaternion" and values.shape[1:] == (4,):
        return np.roll(values, 1, axis=1)
    return values[:, None] if values.ndim == 1 else values
