"""Several trainings of one recipe as one policy: their folders, in one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..envs import CheckpointError, ConfigError
from ..envs.atomic_files import new_folder
from ..envs.errors import names, refusing
from .policy_folder import META, MODEL, find_policy, read_meta

MEMBERS = "members"  # folder of all trainings but the first, in whose folder it lies
ENSEMBLE = "ensemble.json"  # beside it, says how many there are
# Of the files in a run folder, what computes nothing.
LEFT = (ENSEMBLE, "resume.safetensors", "*.tfevents.*", "log.jsonl", "monitor.npz", ".*")


def find_members(policy: Path | str) -> list[Path]:
    """Return the folders of a policy's trainings, the first of which is its own.

    Raises CheckpointError where one has been lost.
    """
    folder = find_policy(policy)
    if not (folder / ENSEMBLE).is_file():
        return [folder]
    with refusing(CheckpointError, f"{folder / ENSEMBLE} is damaged: make the ensemble anew"):
        count = int(json.loads((folder / ENSEMBLE).read_text())["trainings"])
    members = [folder, *(_place(folder, number) for number in range(1, count))]
    for member in members:
        if not (member / META).is_file():
            raise CheckpointError(
                f"{member / META} is missing: {folder} is a policy of {count} trainings"
            )
    return members


def _place(folder: Path, number: int) -> Path:
    """Return the folder of a training; the first lies in the ensemble's own."""
    return folder / MEMBERS / f"{number:02}" if number else folder


def require_alone(policy: Path | str, what: str) -> None:
    """Raise ConfigError where a policy is several trainings; what: takes one alone."""
    members = find_members(policy)
    if len(members) > 1:
        raise ConfigError(
            f"{policy} is {len(members)} trainings, and {what} takes one: name a run folder that "
            "it was made of; `fewstep ensemble` makes another of what comes out"
        )


def make_ensemble(policies: Sequence[str], out: Path) -> list[Path]:
    """Make a policy of several: a random one of them answers each request.

    Copies what computes them, and not their logs. Raises ConfigError for less than two, for two
    that are the same, and where `out` is there already; CheckpointError where they observe, command
    or plan differently.
    """
    members: list[Path] = []
    for name in policies:
        members += find_members(name)
    if len(members) < 2:
        raise ConfigError("an ensemble needs at least two policies: policies=[run,other]")
    if out.exists():
        raise ConfigError(f"{out} is there already: choose another out=")
    _require_alike(members)
    with new_folder(out) as folder:
        for number, member in enumerate(members):
            place = _place(folder, number)
            place.mkdir(parents=True, exist_ok=True)
            for file in member.iterdir():
                if file.is_file() and not any(file.match(pattern) for pattern in LEFT):
                    shutil.copyfile(file, place / file.name)
        (folder / ENSEMBLE).write_text(json.dumps({"trainings": len(members)}))
    return members


def _require_alike(members: Sequence[Path]) -> None:
    """Raise where policies are not trainings of one recipe."""
    first = read_meta(members[0])
    weights: dict[bytes, Path] = {}
    for member in members:
        if not (member / MODEL).is_file():
            raise CheckpointError(f"{member / MODEL} is missing: an ensemble is made of weights")
        content = (member / MODEL).read_bytes()
        if content in weights:
            raise ConfigError(f"{member} is the same training as {weights[content]}")
        weights[content] = member
        meta = read_meta(member)
        if meta["spec"] != first["spec"]:
            raise CheckpointError(
                f"{member / META} has another Spec than {members[0] / META}: `fewstep spec` shows "
                "them"
            )
        differing = _differing(meta["config"], first["config"])
        if differing:
            raise CheckpointError(
                f"{member / META} was trained or tuned otherwise than {members[0] / META}: in "
                f"{names(differing)}"
            )


def _differing(config: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return where two configurations differ; what an older one lacks is off in it."""
    keys = sorted(config.keys() | other.keys())
    return [key for key in keys if (config.get(key) or None) != (other.get(key) or None)]
