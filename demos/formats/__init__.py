"""Foreign formats, a file or folder each; what lies at a path decides which one reads it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ...envs import ConfigError, DataError, FewstepError
from ...envs.errors import names, pick, refusing
from ...envs.files import require_plain
from ..storage.store_header import is_store
from ..store import DemoStore
from .choosing import Choice
from .source import Progress, ignore_progress, save

PICKLED = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
BAG_SUFFIXES = (".bag", ".mcap", ".db3")


def is_lerobot(path: Path) -> bool:
    """Return whether a LeRobot dataset lies here, one from before v2.0 too, which is refused."""
    return (path / "meta/info.json").exists() or (path / "meta_data/info.json").exists()


def is_replay_buffer(path: Path) -> bool:
    """Return whether a replay buffer of Diffusion Policy lies here, or an archive, as they are."""
    return (path / "meta/episode_ends").exists() or _is_file(path, ".zip")


def is_hdf5(path: Path) -> bool:
    """Return whether an HDF5 file lies here."""
    return _is_file(path, ".hdf5", ".h5")


def is_bag(path: Path) -> bool:
    """Return whether one recording of ROS lies here: a file, or a folder with its description."""
    return _is_file(path, *BAG_SUFFIXES) or (path / "metadata.yaml").exists()


def has_bags(path: Path) -> bool:
    """Return whether a recording of ROS lies here, or a folder of such."""
    return is_bag(path) or (path.is_dir() and any(map(is_bag, path.iterdir())))


def _is_file(path: Path, *suffixes: str) -> bool:
    return path.is_file() and path.suffix in suffixes


@dataclass(frozen=True)
class Format:
    """A format that is read.

    module: here, whose `read(path, choice)` is a context manager of a Source; fits: whether it is
    what lies at a path.
    """

    module: str
    fits: Callable[[Path], bool]


FORMATS: Mapping[str, Format] = {
    "LeRobot dataset (v2.0, v2.1, v3.0)": Format("lerobot.reading", is_lerobot),
    "Diffusion Policy replay buffer (zarr, zip)": Format(
        "diffusion_policy.reading", is_replay_buffer
    ),
    "robomimic or robosuite file (HDF5)": Format("robomimic.reading", is_hdf5),
    "ROS bag (ROS 1, ROS 2, MCAP)": Format("rosbag.reading", has_bags),
}
EXPORTS = {  # modules here that have a `write(store, out, task, progress)`
    "lerobot": "lerobot.writing",
    "diffusion_policy": "diffusion_policy.writing",
    "robomimic": "robomimic.writing",
}


@dataclass(frozen=True)
class Conversion:
    """How one dataset, whose meaning is known, becomes what a task observes.

    module: here; function: of it, `function(path, choice)` is a context manager of a Source;
    settings: of Choice that it obeys.
    """

    module: str
    function: str
    settings: tuple[str, ...] = ()


CONVERSIONS: Mapping[str, Conversion] = {
    "pusht": Conversion("diffusion_policy.human_push_t", "read"),
    "pusht-pixels": Conversion("diffusion_policy.human_push_t", "read_pixels", ("images",)),
}


def import_demonstrations(
    source: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    *,
    task: str = "",
    progress: Progress = ignore_progress,
) -> None:
    """Write the episodes of a dataset in any known format as a DemoStore at `out`.

    A failure leaves nothing there.

    choice: what to take; by default what is usual for the format.
    task: "pusht" turns the human Push-T states into what gym-pusht observes, "pusht-pixels" takes
        the recorded pictures.
    progress: is told how many episodes are done, and of how many.
    """
    path = Path(source)
    choice = choice or Choice()
    require_plain(path)
    if task:
        conversion = pick(CONVERSIONS, task, "task to convert for")
        _refuse_settings(choice, task, conversion.settings)
        read = getattr(_load(conversion.module), conversion.function)
        reading = read(path, choice)
    else:
        reading = _load(FORMATS[recognise(path)].module).read(path, choice)
    with reading as found:
        save(found, out, progress)


def recognise(path: Path) -> str:
    """Return the name of the format of what lies at `path`; DataError lists what can be read."""
    with refusing(DataError, f"cannot read {path}"):
        return _recognise(path)


def _recognise(path: Path) -> str:
    if not path.exists():
        raise DataError(f"there is nothing at {path}")
    if path.suffix in PICKLED:
        raise DataError(
            f"{path} is a pickle: reading it would run whatever program it holds;"
            " export it as arrays"
        )
    if is_store(path):
        raise DataError(f"{path} is a store of fewstep already: use it as data={path}")
    for name, known in FORMATS.items():
        if known.fits(path):
            return name
    raise DataError(f"{path} is of no format that fewstep reads; valid: {names(FORMATS)}")


def _refuse_settings(choice: Choice, task: str, obeyed: Collection[str]) -> None:
    """Raise ConfigError where something is chosen of a dataset that is converted as a whole."""
    default = Choice()
    for setting in fields(Choice):
        if setting.name in obeyed:
            continue
        if getattr(choice, setting.name) != getattr(default, setting.name):
            raise ConfigError(
                f"task={task} says itself what to take, how often and how to keep it:"
                f" leave out {setting.name}="
            )


def export_demonstrations(
    store: DemoStore,
    out: str | Path,
    format: str,
    *,
    task: str = "",
    progress: Progress = ignore_progress,
) -> None:
    """Write a store in another format to a new place `out`; a failure leaves nothing there.

    format: lerobot (v3.0; images become videos), diffusion_policy (zarr v2, exact), or
        robomimic (HDF5, exact).
    task: what is done, in words; by default what the store says.
    progress: is told how many episodes are done, and of how many.
    """
    writing = _load(pick(EXPORTS, format, "format"))
    writing.write(store, out, task=task, progress=progress)


def _load(module: str) -> ModuleType:
    try:
        return import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        raise FewstepError(
            f"this format needs {error.name}: pip install 'fewstep[formats]'"
        ) from error
