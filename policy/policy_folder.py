"""The folder of a policy, as far as it is read without torch: where it is, what it describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..envs import CheckpointError, ConfigError, FewstepError, Spec
from ..envs.atomic_files import write_file
from ..envs.errors import names
from ..envs.tables import read_json

FORMAT = "fewstep-policy"
VERSION = 1
MODEL = "model.safetensors"
META = "policy.json"
SHIPPED = Path(__file__).parent / "pretrained"  # policies that come with the package


def load_spec(folder: Path | str) -> Spec:
    """Return the Spec that a policy was trained for, `folder` being as in `load_policy`."""
    return _read_spec(find_policy(folder), read_meta(folder))


def _read_spec(path: Path, meta: dict[str, Any]) -> Spec:
    try:
        return Spec.from_json(meta["spec"])
    except FewstepError as error:
        raise CheckpointError(f"{path / META}: {error}") from error


def write_spec(folder: Path | str, spec: Spec) -> None:
    """Replace the Spec in a policy's policy.json in one step.

    Raises CheckpointError where the policy comes with the package, or where the new Spec is another
    one to its weights.
    """
    path = find_policy(folder)
    if path.parent == SHIPPED:
        raise CheckpointError(f"{folder} comes with fewstep: to change it, copy {path}")
    meta = read_meta(path)
    known = _read_spec(path, meta)
    for group in ("observations", "actions"):
        for key, field in getattr(known, group).items():
            edited = getattr(spec, group)[key]
            is_same = (edited.kind, edited.relative) == (field.kind, field.relative)
            if not is_same or field.unit not in ("", edited.unit):
                raise CheckpointError(
                    f"{path / META}: the weights have learnt {key!r} as {field.kind} in "
                    f"{field.unit or '?'}: its kind, relative and unit cannot become others"
                )
            if meta["config"].get("from_measured") and edited.measured_by != field.measured_by:
                raise CheckpointError(
                    f"{path / META}: the weights have learnt {key!r} as a difference from "
                    f"{field.measured_by!r}: its measured_by cannot become another"
                )
    meta["spec"] = spec.to_json()
    write_file(path / META, json.dumps(meta, indent=1).encode())


def find_policy(name: Path | str) -> Path:
    """Return a run folder, or the one that comes with the package under this name.

    The user's own goes first. Raises CheckpointError, which lists what comes with the package.
    """
    if (Path(name) / META).is_file():
        return Path(name)
    shipped: dict[str, Path] = {}
    if SHIPPED.is_dir():
        shipped = {path.name: path for path in SHIPPED.iterdir()}
    if str(name) not in shipped:
        raise CheckpointError(
            f"{name} holds no policy: {META} is missing; fewstep brings along: {names(shipped)}"
        )
    return shipped[str(name)]


def read_meta(folder: Path | str) -> dict[str, Any]:
    """Return the content of policy.json: format, version, spec, config and provenance."""
    path = find_policy(folder) / META
    meta = read_json(path, CheckpointError)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no fewstep policy: its format must be {FORMAT!r}")
    if meta.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {meta.get('version')!r}, this fewstep reads version {VERSION}"
        )
    missing = {"spec", "config", "provenance"} - meta.keys()
    if missing:
        raise CheckpointError(f"{path} lacks {names(missing)}")
    return meta


def require_unused(folder: Path) -> None:
    """Raise ConfigError where a finished policy lies in the folder."""
    if (folder / MODEL).exists():
        raise ConfigError(
            f"{folder} holds a finished policy: "
            f"choose another out=, or go on from it: policy={folder}"
        )
