"""What lies at a path: the head of a store, or something else that can be imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...envs import DataError, Spec, SpecError
from ...envs.files import require_plain
from ...envs.tables import read_json

FORMAT, VERSION = "fewstep-demos", 1


def read_head(path: Path) -> dict[str, Any]:
    """Format, version, Spec, provenance, and how images are encoded; DataError says what lies there instead."""
    require_plain(path / "zarr.json", path)
    if not is_store(path):
        raise DataError(_stranger(path))
    attributes = _attributes(path)
    if attributes.get("version") != VERSION:
        raise DataError(
            f"{path} has version {attributes.get('version')} of the format and this fewstep reads {VERSION}: update it"
        )
    return {"provenance": {}, "images": "lossless", **attributes}


def is_store(path: Path) -> bool:
    """Whether a store of any version lies here."""
    return _attributes(path).get("format") == FORMAT


def _attributes(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path / "zarr.json", inside=path)
    except (FileNotFoundError, DataError):  # whatever lies there, it is no store
        return {}
    attributes = found.get("attributes") if isinstance(found, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def read_spec(path: Path, attributes: Mapping[str, Any]) -> Spec:
    """The Spec in a head."""
    try:
        return Spec.from_json(attributes["spec"])
    except (KeyError, SpecError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _stranger(path: Path) -> str:
    """What lies at `path`, which is no DemoStore, and what to do about it."""
    if not path.exists():
        return f"there are no demonstrations at {path}; record some with `fewstep record`"
    inside = {
        "meta/episode_ends/.zarray": "a Diffusion Policy replay buffer",
        "meta/info.json": "a LeRobot dataset",
    }
    what = [text for name, text in inside.items() if (path / name).exists()]
    what += [
        text
        for suffix, text in {".zip": "a zip archive", ".hdf5": "an HDF5 file"}.items()
        if suffix == path.suffix
    ]
    if what:
        return f"{path} is {what[0]}; import it with `fewstep import source={path}`"
    return f"{path} is not a fewstep store of demonstrations"
