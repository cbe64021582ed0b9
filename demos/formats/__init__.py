"""Foreign formats, one file each; what lies at a path decides which one reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ...envs import DataError, FewstepError
from ...envs.errors import names, pick, refusing
from ...envs.files import require_plain
from ..storage.store_header import is_store
from ..store import DemoStore
from .source import Choice, save

PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


@dataclass(frozen=True)
class Format:
    """module: the file here whose `read(path, choice)` is a context manager of a Source; fits: whether it is this."""

    module: str
    fits: Callable[[Path], bool]


def _has(*files: str) -> Callable[[Path], bool]:
    return lambda path: any((path / file).exists() for file in files)


def _called(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and path.suffix in suffixes


def is_bag(path: Path) -> bool:
    """Whether one recording of ROS lies here: a file, or a folder with its description."""
    return _called(".bag", ".mcap", ".db3")(path) or _has("metadata.yaml")(path)


FORMATS: Mapping[str, Format] = {
    "LeRobot dataset v3.0": Format("lerobot.reading", _has("meta/info.json")),
    "Diffusion Policy replay buffer (zarr, zip)": Format(
        "diffusion_policy", lambda p: _has("meta/episode_ends")(p) or _called(".zip")(p)
    ),
    "robomimic or robosuite file (HDF5)": Format("robomimic.reading", _called(".hdf5", ".h5")),
    "ROS bag (ROS 1, ROS 2, MCAP)": Format(
        "rosbag.reading", lambda p: is_bag(p) or (p.is_dir() and any(map(is_bag, p.iterdir())))
    ),
}


EXPORTS = {
    "lerobot": "lerobot.writing",
    "diffusion_policy": "diffusion_policy",
    "robomimic": "robomimic.writing",
}


def import_demonstrations(
    source: str | Path, out: str | Path, choice: Choice | None = None
) -> None:
    """Write the episodes of a dataset in any known format as a DemoStore at `out`; a failure leaves nothing there."""
    path = Path(source)
    require_plain(path)
    with _module(FORMATS[recognise(path)].module).read(path, choice or Choice()) as found:
        save(found, out)


def recognise(path: Path) -> str:
    """The name of the format of what lies at `path`; DataError lists what can be read."""
    with refusing(DataError, f"cannot read {path}"):
        return _recognised(path)


def _recognised(path: Path) -> str:
    if not path.exists():
        raise DataError(f"there is nothing at {path}")
    if path.suffix in PICKLED:
        raise DataError(
            f"{path} is a pickle: reading it would run whatever program it holds; export it as arrays"
        )
    if is_store(path):
        raise DataError(f"{path} is a store of fewstep already: use it as data={path}")
    for name, known in FORMATS.items():
        if known.fits(path):
            return name
    raise DataError(f"{path} is of no format that fewstep reads; valid: {names(FORMATS)}")


def export_demonstrations(store: DemoStore, out: str | Path, kind: str, **options: Any) -> None:
    """Write a store in another format to a new place `out`; a failure leaves nothing there."""
    _module(pick(EXPORTS, kind, "format")).write(store, out, **options)


def _module(name: str) -> ModuleType:
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise FewstepError(
            f"this format needs {error.name}: pip install 'fewstep[formats]'"
        ) from error
