"""Checkpoints: model.safetensors and policy.json in one folder.

Loading them runs nothing that they name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

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
    """Write a policy; each of its two files appears whole or not at all.

    provenance: plain values that say where it comes from.
    """
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "spec": policy.spec.to_json(),
        "config": to_plain(policy.config),
        "provenance": dict(provenance),
    }
    tensors: dict[str, Tensor] = {}
    for name, tensor in policy.state_dict().items():
        tensors[name] = tensor.contiguous().cpu()
    write_file(folder / META, json.dumps(meta, indent=1).encode())
    write_file(folder / MODEL, save(tensors))


def load_policy(folder: Path | str, device: str | torch.device = "cpu") -> Policy:
    """Return a policy, ready to act, of a run folder or one that comes with the package.

    Raises CheckpointError, which names the file and what is wrong with it.
    """
    folder = find_policy(folder)
    policy = _read_description(folder)
    if not (folder / MODEL).is_file():
        raise CheckpointError(
            f"{folder / MODEL} is missing: this takes the policy's weights, in the folder of its "
            "training; what was exported without them can be run and measured"
        )
    tensors = read_tensors(folder / MODEL)
    _require_fit(folder / MODEL, tensors, policy.state_dict())
    policy.to_empty(device="cpu").load_state_dict(tensors)
    return policy.to(device).eval().requires_grad_(False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file; CheckpointError where it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    with refusing(CheckpointError, f"{path} is damaged"):
        return load(path.read_bytes())


class Described(Protocol):
    """A policy, or what computes it."""

    @property
    def spec(self) -> Spec:
        """Return what it observes and commands."""
        ...


def require_match(policy: Described, theirs: Spec, what: str = "this robot") -> None:
    """Raise CheckpointError with every difference between a policy's Spec and that of `what`."""
    found = incompatibilities(policy.spec, theirs)
    if found:
        raise CheckpointError(f"this policy does not fit {what}: " + "; ".join(found))


def _read_description(folder: Path) -> Policy:
    """Return the policy that policy.json describes, of shapes only.

    Its weights take memory once their file has shown that it fills them.
    """
    meta = read_meta(folder)
    try:
        with refusing(CheckpointError, "it describes no policy"):
            spec = Spec.from_json(meta["spec"])
            # What does not say so was trained before there was preconditioning.
            plain = {"precondition": False, **meta["config"]}
            config = from_plain(PolicyConfig, plain, "config")
            with torch.device("meta"):
                return Policy(spec, config)
    except FewstepError as error:
        raise CheckpointError(f"{folder / META}: {error}") from error


def _require_fit(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where the tensors of a file are not those that a policy has."""
    missing = expected.keys() - found.keys()
    if missing:
        raise CheckpointError(f"{path}: missing tensors: {names(missing)}")
    extra = found.keys() - expected.keys()
    if extra:
        raise CheckpointError(f"{path}: tensors that this policy has not: {names(extra)}")
    for key, tensor in found.items():
        wanted = expected[key]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise CheckpointError(
                f"{path}: {key} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"expected {tuple(wanted.shape)} {wanted.dtype}"
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {key} holds numbers that are not finite")
