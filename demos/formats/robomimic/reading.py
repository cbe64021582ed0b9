"""HDF5 of robomimic and robosuite: `data/<demo>/actions` beside `data/<demo>/obs/<key>`, or beside raw `states`."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ....envs import DataError, FewstepError, Field, Spec, caps
from ....envs.caps import require_ratio, require_room
from ....envs.errors import names, refusing
from ....envs.files import require_plain
from ...episode import ACTION, TIME, Episode
from ...storage.images import EncodedImages, Raw
from ..natural_order import natural
from ..source import Choice, Source, observing, reader

OURS = "fewstep"  # attribute of `data` in a file that we wrote: Spec and provenance; `time` lies beside the actions
STATES, USUAL_HZ, ROBOSUITE = (
    "states",
    20.0,
    1,
)  # robosuite's rate where nothing is said, and its number in robomimic
FILTERS = {  # each once: one gzip in another makes a thousand times as much again
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
    h5py.h5z.FILTER_SZIP: "szip",
}
MEANINGS = {  # of robosuite's names; it keeps quaternions as x, y, z, w
    r"robot\d+_eef_quat(_site)?": Field((4,), kind="quaternion", names=("w", "x", "y", "z")),
    r"robot\d+_eef_pos": Field((3,), "m", names=("x", "y", "z")),
    r"robot\d+_joint_pos": Field((), "rad"),
    r"robot\d+_joint_vel": Field((), "rad/s"),
}
Environment = Mapping[str, Any]


@reader("HDF5 of robomimic or robosuite")
def read(path: Path, choice: Choice) -> Iterator[Source]:
    """The demonstrations of one file, in the order of their numbers.

    Without a group `obs` the simulator's raw `states` are the one observation. By default all numeric arrays of at most
    one dimension per frame, and uint8 images. The rate is the choice's, else the control_freq that the file states,
    else 20 Hz as usual with robosuite; the notes say which.
    success: a demonstration's own attribute, else whether a sparse reward was full at some time, else None. `dones` do
    not tell: in some files they mark success, in others only the end.
    """
    require_plain(path)
    with h5py.File(path, "r") as file:
        demos = _demos(file)
        environment, ours = _environment(file["data"].attrs), _attribute(file["data"].attrs, OURS)
        with _damage(path, demos[0]):
            spec, notes = (
                _ours(demos[0], ours, choice)
                if ours
                else _theirs(demos[0], environment, choice, path.name)
            )
        images = choice.images or "lossless"
        yield Source(spec, notes, _episodes(path, demos, spec, environment, images), images)


def _ours(demo: h5py.Group, text: str, choice: Choice) -> tuple[Spec, Environment]:
    said = json.loads(text)
    spec = Spec.from_json(said["spec"])
    numbers = tuple(spec.states)
    every = replace(choice, keys=numbers if choice.keys is None else choice.keys)
    return observing(spec, _chosen(_arrays(_observed(demo)), every)), said["provenance"]


def _theirs(
    demo: h5py.Group, environment: Environment, choice: Choice, name: str
) -> tuple[Spec, Environment]:
    hz, rate = _hz(environment, choice)
    notes = {
        "source": name,
        "format": "robomimic or robosuite",
        "rate": rate,
        "environment": environment,
    }
    return _spec(demo, environment, choice, hz), notes


@contextmanager
def _damage(path: Path, demo: h5py.Group) -> Iterator[None]:
    where = f"{path}, {_name(demo)}"
    try:
        with refusing(DataError, "cannot be read"):
            yield
    except FewstepError as error:
        raise DataError(f"{where}: {error}") from error


def _episodes(
    path: Path, demos: list[h5py.Group], spec: Spec, environment: Environment, images: str
) -> Iterator[Episode]:
    for demo in demos:
        with _damage(path, demo):
            episode = _episode(path, demo, spec, environment, images)
        yield episode


def _episode(
    path: Path, demo: h5py.Group, spec: Spec, environment: Environment, images: str
) -> Episode:
    group = _observed(demo)
    data = {
        key: _values(path, _array(group, key), field, images)
        for key, field in spec.observations.items()
    }
    actions = _numbers(_array(demo, "actions"))
    if not len(actions):
        raise DataError("it has no frames")
    time = (
        _numbers(_array(demo, TIME))
        if OURS in demo.parent.attrs
        else np.arange(len(actions)) / spec.policy_hz
    )
    data |= {ACTION: actions.reshape(len(actions), -1), TIME: time}
    return Episode(data, spec, _success(demo, environment))


def _values(path: Path, array: h5py.Dataset, field: Field, images: str) -> Any:
    """One number per frame becomes (T, 1), and a quaternion w, x, y, z; images are read when they are stored."""
    if field.is_image:
        if not _pictures(array):
            raise DataError(
                f"{_name(array)!r} has {array.shape} {array.dtype}: no images of uint8 as in the first one"
            )
        return EncodedImages(
            Raw(array, 0, len(array), images, f"{path}, {array.name}"), array.shape[1:], images
        )
    values = _numbers(array)
    if field.kind == "quaternion" and values.shape[1:] == (4,):
        return np.roll(values, 1, axis=1)
    return values[:, None] if values.ndim == 1 else values


def _numbers(array: h5py.Dataset) -> np.ndarray:
    """All of an array that is no images."""
    require_ratio(array.nbytes, array.id.get_storage_size(), _name(array))
    return array[...]


def _attribute(attributes: h5py.AttributeManager, key: str) -> Any:
    """What an attribute says, None where there is none."""
    if key not in attributes:
        return None
    if (size := attributes.get_id(key).get_storage_size()) > caps.JSON:
        raise DataError(
            f"its attribute {key!r} has {size} bytes, at most {caps.JSON} are read (JSON)"
        )
    return attributes[key]


def _demos(file: h5py.File) -> list[h5py.Group]:
    data = _members(file).get("data")
    if not isinstance(data, h5py.Group):
        raise DataError(f"it has no group 'data' of demonstrations, but {names(file)}")
    demos = [member for member in _members(data).values() if isinstance(member, h5py.Group)]
    if not demos:
        raise DataError("its group 'data' holds no demonstrations")
    return sorted(demos, key=lambda demo: natural(_name(demo)))


def _observed(demo: h5py.Group) -> h5py.Group:
    """The group of observations: `obs`, or the demonstration itself for its `states`."""
    obs = _members(demo).get("obs")
    return obs if isinstance(obs, h5py.Group) else demo


def _members(group: h5py.Group) -> dict[str, Any]:
    """What lies in this very file: a link may lead to any other file of the computer that reads it."""
    return {
        str(key): group[key]
        for key in group
        if isinstance(group.get(key, getlink=True), h5py.HardLink)
    }


def _arrays(group: h5py.Group) -> dict[str, h5py.Dataset]:
    found = {
        key: member for key, member in _members(group).items() if isinstance(member, h5py.Dataset)
    }
    return {key: array for key, array in found.items() if array.ndim and array.dtype.kind in "fiub"}


def _array(group: h5py.Group, key: str) -> h5py.Dataset:
    arrays = _arrays(group)
    if key not in arrays:
        old = (
            ": what was sent to the robot is not known, as in robosuite's files of 2018"
            if key == "actions"
            else ""
        )
        raise DataError(f"no array of numbers {key!r}{old}; there are {names(arrays)}")
    if arrays[key].external or arrays[key].is_virtual:
        raise DataError(f"the numbers of {key!r} lie in another file; copy them into this one")
    _require_chunks(arrays[key])
    return arrays[key]


def _require_chunks(array: h5py.Dataset) -> None:
    """Raise DataError for filters that are not in FILTERS, twice the same, and chunks that would fill the memory."""
    made = array.id.get_create_plist()
    used = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
    if len(set(used) & FILTERS.keys()) < len(used):
        raise DataError(
            f"{_name(array)!r} has filters {used} of HDF5; valid: {names(FILTERS.values())}, each once"
        )
    if array.size and not array.id.get_storage_size():
        raise DataError(f"the numbers of {_name(array)!r} have never been written")
    size = int(np.prod(array.chunks or (), dtype=object)) * array.dtype.itemsize
    require_room(size, array.id.get_storage_size(), f"a chunk of {_name(array)!r}")


def _name(group: h5py.Group | h5py.Dataset) -> str:
    return str(group.name).rpartition("/")[2]


def _spec(demo: h5py.Group, environment: Environment, choice: Choice, hz: float) -> Spec:
    action = Field((int(np.prod(_array(demo, "actions").shape[1:])),))
    group = _observed(demo)
    arrays = _arrays(group) if group != demo else {STATES: _array(demo, STATES)}
    known = MEANINGS if environment.get("type") == ROBOSUITE else {}
    return Spec(
        {key: _field(key, arrays[key], known) for key in _chosen(arrays, choice)},
        {ACTION: action},
        hz,
    )


def _chosen(arrays: Mapping[str, h5py.Dataset], choice: Choice) -> list[str]:
    cameras = [key for key, array in arrays.items() if _pictures(array)]
    numbers = [key for key in arrays if key not in cameras]
    for what, wanted, valid in (
        ("keys", choice.keys, numbers),
        ("cameras", choice.cameras, cameras),
    ):
        if unknown := set(wanted or ()) - set(valid):
            raise DataError(f"no {names(unknown)} among its {what}; valid: {names(valid)}")
    usual = [key for key in numbers if arrays[key].ndim <= 2 and np.prod(arrays[key].shape[1:])]
    return [
        *(usual if choice.keys is None else choice.keys),
        *(cameras if choice.cameras is None else choice.cameras),
    ]


def _pictures(array: h5py.Dataset) -> bool:
    return array.ndim == 4 and array.shape[3] == 3 and array.dtype == np.uint8


def _field(key: str, array: h5py.Dataset, known: Mapping[str, Field]) -> Field:
    shape = array.shape[1:] or (1,)
    for pattern, field in known.items():
        if re.fullmatch(pattern, key) and field.shape in ((), shape):
            return replace(field, shape=shape)
    return Field(shape, kind="image" if _pictures(array) else "linear")


def _environment(attributes: h5py.AttributeManager) -> Environment:
    """What the file says of its environment, in JSON: `env_args` of robomimic, `env_info` of robosuite."""
    text = next(
        (_attribute(attributes, key) for key in ("env_args", "env_info") if key in attributes), "{}"
    )
    with refusing(DataError, "its env_args or env_info is no JSON"):
        found = json.loads(text, parse_constant=str)
    return found if isinstance(found, dict) else {}


def _settings(environment: Environment) -> Environment:
    inner = environment.get("env_kwargs")
    return inner if isinstance(inner, dict) else environment


def _hz(environment: Environment, choice: Choice) -> tuple[float, str]:
    if choice.hz:
        return choice.hz, "as chosen"
    stated = _settings(environment).get("control_freq")
    if isinstance(stated, int | float) and stated > 0:
        return float(stated), "control_freq of the file"
    return USUAL_HZ, "20 Hz, usual with robosuite: the file states none"


def _success(demo: h5py.Group, environment: Environment) -> bool | None:
    stated, rewards = _attribute(demo.attrs, "success"), _arrays(demo).get("rewards")
    if isinstance(stated, bool | np.bool_ | np.integer):
        return bool(stated)
    settings = _settings(environment)
    full = settings.get("reward_scale", 1.0)
    if (
        rewards is None
        or settings.get("reward_shaping") is not False
        or not isinstance(full, int | float)
        or full <= 0
    ):
        return None
    return bool(np.max(_numbers(_array(demo, "rewards")), initial=-np.inf) > full - 1e-6)
