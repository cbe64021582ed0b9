"""What lies at a path: the header of a store, or something else that can be imported."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...envs import DataError, Spec, SpecError
from ...envs.atomic_files import replace
from ...envs.files import require_plain
from ...envs.tables import read_json

FORMAT = "fewstep-demos"
VERSION = 1
FILE = "zarr.json"  # the attributes of the store's group are its header
FOREIGN_FILES = {
    "meta/episode_ends/.zarray": "a Diffusion Policy replay buffer",
    "meta/info.json": "a LeRobot dataset",
}
FOREIGN_SUFFIXES = {".zip": "a zip archive", ".hdf5": "an HDF5 file"}


def make_header(spec: Spec, provenance: Mapping[str, Any], images: str) -> dict[str, Any]:
    """Return the header of a new store; images: how they are encoded.

    Raises DataError where the Spec or the provenance is no plain JSON.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "spec": spec.to_json(),
        "provenance": dict(provenance),
        "images": images,
    }
    try:
        return json.loads(json.dumps(header, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(f"provenance and Spec must be plain JSON values: {error}") from error


def read_header(path: Path) -> dict[str, Any]:
    """Return format, version, Spec, provenance, and how images are encoded.

    Raises DataError that says what lies there instead.
    """
    require_plain(path / FILE, path)
    if not is_store(path):
        raise DataError(_describe_stranger(path))
    attributes = _read_attributes(path)
    version = attributes.get("version")
    if version != VERSION:
        raise DataError(
            f"{path} has version {version} of the format and this fewstep reads {VERSION}: "
            f"update it"
        )
    return {"provenance": {}, "images": "lossless", **attributes}


def read_spec(path: Path, header: Mapping[str, Any]) -> Spec:
    """Return the Spec in a header; DataError where it is damaged."""
    try:
        return Spec.from_json(header["spec"])
    except (KeyError, SpecError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def write_spec(path: Path, spec: Spec) -> None:
    """Replace the Spec in a header in one step; DataError where that fails, and the old one stays.

    The caller is the store's only writer.
    """
    content = read_json(path / FILE, inside=path)
    content["attributes"]["spec"] = spec.to_json()
    try:
        replace(path / FILE, json.dumps(content, indent=2, allow_nan=False).encode())
    except OSError as error:
        raise DataError(f"could not write {path / FILE}: {error.strerror or error}") from error


def is_store(path: Path) -> bool:
    """Return whether a store of any version lies here."""
    return _read_attributes(path).get("format") == FORMAT


def _read_attributes(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path / FILE, inside=path)
    except (FileNotFoundError, DataError):  # whatever lies there, it is no store
        return {}
    attributes = content.get("attributes") if isinstance(content, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def _describe_stranger(path: Path) -> str:
    """Return what lies at `path`, which is no DemoStore, and what to do about it."""
    if not path.exists():
        return f"there are no demonstrations at {path}; record some with `fewstep record`"
    known = _recognise(path)
    if known is None:
        return f"{path} is not a fewstep store of demonstrations"
    return f"{path} is {known}; import it with `fewstep import source={path}`"


def _recognise(path: Path) -> str | None:
    for name, meaning in FOREIGN_FILES.items():
        if (path / name).exists():
            return meaning
    return FOREIGN_SUFFIXES.get(path.suffix)
