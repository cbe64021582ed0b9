"""An unfinished run: all that the rest of it depends on, whole in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ...envs import ConfigError
from ...envs.atomic_files import write_file
from ..checkpoint import read_tensors
from ..policy_folder import require_unused
from .state import TrainState

RESUME = "resume.safetensors"
MOST_TOLD = 5  # settings that have changed, named in an error


def save_run(state: TrainState, out: Path, step: int, fingerprint: str) -> None:
    """Write an unfinished run; the file appears whole or not at all.

    fingerprint: what must not change between the parts of one run.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.policy.state_dict().items():
        tensors[f"model.{name}"] = tensor.cpu()
    for index, moments in state.optimiser.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"adam.{index}.{name}"] = tensor.cpu()
    for index, tensor in enumerate(state.ema.shadow_params):
        tensors[f"ema.{index}"] = tensor.cpu()
    meta = {
        "step": str(step),
        "fingerprint": fingerprint,
        "threads": str(torch.get_num_threads()),
    }
    write_file(out / RESUME, save(tensors, meta))


def resume_run(state: TrainState, out: Path, fingerprint: str) -> tuple[int, int]:
    """Take up an unfinished run in `out`, where there is one.

    Returns the step to go on from and the threads that it used so far, since rounding depends on
    them; both are 0 where there is none. Raises ConfigError where the run has other settings or is
    finished, and CheckpointError where its file is damaged.
    """
    path = out / RESUME
    if not path.exists():
        require_unused(out)
        return 0, 0
    tensors = read_tensors(path)
    with safe_open(path, "pt") as file:
        meta = file.metadata() or {}
    if meta.get("fingerprint") != fingerprint:
        changes = _find_changes(json.loads(meta.get("fingerprint", "[]")), json.loads(fingerprint))
        raise ConfigError(
            f"{out} holds an unfinished run with other settings{changes}: "
            "choose another out=, or remove it"
        )
    step = int(meta["step"])
    _take_up(state, tensors, step)
    return step, int(meta["threads"])


def _take_up(state: TrainState, tensors: dict[str, Tensor], step: int) -> None:
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition(".")
        if group == "model":
            weights[name] = tensor
        elif group == "adam":
            index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
    state.policy.load_state_dict(weights)
    state.optimiser.load_state_dict(state.optimiser.state_dict() | {"state": moments})
    averages: list[Tensor] = []
    for index in range(len(state.weights)):
        averages.append(tensors[f"ema.{index}"].to(state.device))
    state.ema.shadow_params = averages
    state.ema.optimization_step = step


def _find_changes(before: Any, now: Any) -> str:
    """Return, to be read, which settings two fingerprints differ in; data may differ as well."""
    changes: list[str] = []

    def compare(name: str, old: Any, new: Any) -> None:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in {**old, **new}:
                compare(f"{name}.{key}".lstrip("."), old.get(key), new.get(key))
        elif old != new:
            changes.append(f"{name} was {json.dumps(old)}, is {json.dumps(new)}")

    for old, new in list(zip(before, now, strict=False))[:2]:  # the settings, and what was given
        compare("", old, new)
    return f" ({'; '.join(changes[:MOST_TOLD])})" if changes else ""
