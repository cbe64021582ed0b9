"""The arrays of an HDF5 file: what lies in this very file, whole, and no larger than it may be."""

from typing import Any

import h5py
import numpy as np

from ....envs import DataError, caps
from ....envs.caps import require_ratio, require_room
from ....envs.errors import names
from ..natural_order import natural_key

FILTERS = {  # each once: one gzip in another makes a thousand times as much again
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
    h5py.h5z.FILTER_SZIP: "szip",
}


def list_demos(file: h5py.File) -> list[h5py.Group]:
    """Return the groups of demonstrations, in the order of their numbers."""
    data = list_members(file).get("data")
    if not isinstance(data, h5py.Group):
        raise DataError(f"it has no group 'data' of demonstrations, but {names(file)}")
    demos = [member for member in list_members(data).values() if isinstance(member, h5py.Group)]
    if not demos:
        raise DataError("its group 'data' holds no demonstrations")
    return sorted(demos, key=lambda demo: natural_key(base_name(demo)))


def list_members(group: h5py.Group) -> dict[str, Any]:
    """Return what lies in this very file.

    A link may lead to any other file of the computer that reads it.
    """
    members = {}
    for key in group:
        if isinstance(group.get(key, getlink=True), h5py.HardLink):
            members[str(key)] = group[key]
    return members


def usable_arrays(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return the arrays that hold numbers per frame."""
    arrays = {}
    for key, member in list_members(group).items():
        if isinstance(member, h5py.Dataset) and member.ndim and member.dtype.kind in "fiub":
            arrays[key] = member
    return arrays


def find_array(group: h5py.Group, key: str) -> h5py.Dataset:
    """Return an array that may be read; DataError where it may not."""
    arrays = usable_arrays(group)
    if key not in arrays:
        reason = ""
        if key == "actions":
            reason = ": what was sent to the robot is not known, as in robosuite's files of 2018"
        raise DataError(f"no array of numbers {key!r}{reason}; there are {names(arrays)}")
    array = arrays[key]
    if array.external or array.is_virtual:
        raise DataError(f"the numbers of {key!r} lie in another file; copy them into this one")
    _require_chunks(array)
    return array


def _require_chunks(array: h5py.Dataset) -> None:
    """Raise DataError for unknown or repeated filters, and for chunks that fill the memory."""
    settings = array.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if len(set(filters) & FILTERS.keys()) < len(filters):
        raise DataError(
            f"{base_name(array)!r} has filters {filters} of HDF5;"
            f" valid: {names(FILTERS.values())}, each once"
        )
    stored = array.id.get_storage_size()
    if array.size and not stored:
        raise DataError(f"the numbers of {base_name(array)!r} have never been written")
    size = int(np.prod(array.chunks or (), dtype=object)) * array.dtype.itemsize
    require_room(size, stored, f"a chunk of {base_name(array)!r}")


def read_numbers(array: h5py.Dataset) -> np.ndarray:
    """Return all of an array that is no images."""
    require_ratio(array.nbytes, array.id.get_storage_size(), base_name(array))
    return array[...]


def read_attribute(attributes: h5py.AttributeManager, key: str) -> Any:
    """Return what an attribute says, None where there is none."""
    if key not in attributes:
        return None
    size = attributes.get_id(key).get_storage_size()
    if size > caps.JSON:
        raise DataError(
            f"its attribute {key!r} has {size} bytes, at most {caps.JSON} are read (JSON)"
        )
    return attributes[key]


def is_image(array: h5py.Dataset) -> bool:
    """Return whether an array holds pictures, (T, height, width, 3) uint8."""
    return array.ndim == 4 and array.shape[3] == 3 and array.dtype == np.uint8


def base_name(member: h5py.Group | h5py.Dataset) -> str:
    """Return the last part of the name of a group or an array."""
    return str(member.name).rpartition("/")[2]
