"""Checkpoints: model.safetensors and policy.json in one folder; loading them runs nothing that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..demos.storage.atomic_files import replace
from ..envs import CheckpointError, ConfigError, FewstepError, Spec, differences
from ..envs.errors import names, refusing
from ..envs.schema import from_plain, to_plain
from ..envs.tables import read_json
from .policy import Policy, PolicyConfig

FORMAT, VERSION = "fewstep-policy", 1
MODEL, META = "model.safetensors", "policy.json"
SHIPPED = Path(__file__).parent / "pretrained"  # policies that come with the package


def save_policy(policy: Policy, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write the policy; each file appears whole or not at all."""
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "spec": policy.spec.to_json(),
        "config": to_plain(policy.config),
        "provenance": dict(provenance),
    }
    write_file(folder / META, json.dumps(meta, indent=1).encode())
    write_file(
        folder / MODEL, save({k: v.contiguous().cpu() for k, v in policy.state_dict().items()})
    )


def require_unused(folder: Path) -> None:
    """Raise ConfigError where a finished policy lies in the folder."""
    if (folder / MODEL).exists():
        raise ConfigError(
            f"{folder} holds a finished policy: choose another out=, or go on from it: policy={folder}"
        )


def load_policy(folder: Path | str, device: str | torch.device = "cpu") -> Policy:
    """Read a policy, ready to act; CheckpointError names the file and what is wrong with it."""
    folder = find_policy(folder)
    meta = read_meta(folder)
    try:
        with refusing(CheckpointError, "it describes no policy"):
            spec, config = (
                Spec.from_json(meta["spec"]),
                from_plain(PolicyConfig, meta["config"], "config"),
            )
            with torch.device(
                "meta"
            ):  # shapes only: they take memory once the file has shown that it fills them
                policy = Policy(spec, config)
    except FewstepError as error:
        raise CheckpointError(f"{folder / META}: {error}") from error
    tensors = read_tensors(folder / MODEL)
    _fit(folder / MODEL, tensors, policy.state_dict())
    policy.to_empty(device="cpu").load_state_dict(tensors)
    return policy.to(device).eval().requires_grad_(False)


def find_policy(name: Path | str) -> Path:
    """A run folder, or the one that comes with the package under this name; the user's own goes first."""
    if (Path(name) / META).is_file():
        return Path(name)
    shipped = {path.name: path for path in SHIPPED.iterdir()} if SHIPPED.is_dir() else {}
    if str(name) not in shipped:
        raise CheckpointError(
            f"{name} holds no policy: {META} is missing; fewstep brings along: {names(shipped)}"
        )
    return shipped[str(name)]


def read_meta(folder: Path | str) -> dict[str, Any]:
    """The content of policy.json: format, version, spec, config and provenance."""
    path = find_policy(folder) / META
    meta = read_json(path, CheckpointError)
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no fewstep policy: its format must be {FORMAT!r}")
    if meta.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {meta.get('version')!r}, this fewstep reads version {VERSION}"
        )
    if missing := {"spec", "config", "provenance"} - meta.keys():
        raise CheckpointError(f"{path} lacks {names(missing)}")
    return meta


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    with refusing(CheckpointError, f"{path} is damaged"):
        return load(path.read_bytes())


def require_match(policy: Policy, robot: Spec) -> None:
    """Raise CheckpointError naming every difference between a policy's Spec and a robot's."""
    if found := differences(policy.spec, robot):
        raise CheckpointError("this policy does not fit this robot: " + "; ".join(found))


def write_file(path: Path, content: bytes) -> None:
    """Replace a file in one step; where that fails the old one stays and CheckpointError says why."""
    with writing(path):
        replace(path, content)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing `path` into CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"could not write {path}: {error.strerror or error}; the last state stays"
        ) from error


def _fit(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    if missing := expected.keys() - found.keys():
        raise CheckpointError(f"{path}: missing tensors: {names(missing)}")
    if extra := found.keys() - expected.keys():
        raise CheckpointError(f"{path}: tensors that this policy has not: {names(extra)}")
    for key, tensor in found.items():
        if tensor.shape != expected[key].shape or tensor.dtype != expected[key].dtype:
            want = f"{tuple(expected[key].shape)} {expected[key].dtype}"
            raise CheckpointError(
                f"{path}: {key} is {tuple(tensor.shape)} {tensor.dtype}, expected {want}"
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {key} holds numbers that are not finite")
