"""Checkpoints: model.safetensors and policy.json in one folder; loading them runs nothing that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..envs import CheckpointError, FewstepError, Spec, incompatibilities
from ..envs.atomic_files import write_file
from ..envs.errors import names, refusing
from ..envs.schema import from_plain, to_plain
from .policy import Policy, PolicyConfig
from .policy_folder import FORMAT, META, MODEL, VERSION, find_policy, read_meta


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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    with refusing(CheckpointError, f"{path} is damaged"):
        return load(path.read_bytes())


def require_match(policy: Policy, robot: Spec) -> None:
    """Raise CheckpointError naming every difference between a policy's Spec and a robot's."""
    if found := incompatibilities(policy.spec, robot):
        raise CheckpointError("this policy does not fit this robot: " + "; ".join(found))


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
