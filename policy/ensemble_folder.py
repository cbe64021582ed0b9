"""Several trainings of one recipe as one policy: their folders, in one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..envs import CheckpointError, ConfigError
from ..envs.atomic_files import new_folder
from ..envs.errors import names
from .policy_folder import META, MODEL, find_policy, read_meta

MEMBERS = "members"  # folder of all trainings but the first, in whose folder it lies
LEFT = (MEMBERS, "resume.safetensors", "*.tfevents*", "log.jsonl", "monitor.npz")  # of a run folder


def find_members(policy: Path | str) -> list[Path]:
    """Return the folders of a policy's trainings, the first of which is its own."""
    folder = find_policy(policy)
    others = [path for path in (folder / MEMBERS).glob("*") if (path / META).is_file()]
    return [folder, *sorted(others)]


def require_alone(policy: Path | str, what: str) -> None:
    """Raise ConfigError where a policy is several trainings; what: takes one alone."""
    members = find_members(policy)
    if len(members) > 1:
        raise ConfigError(
            f"{policy} is {len(members)} trainings, and {what} takes one: name a run folder that "
            f"it was made of, or {members[1]}"
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
            place = folder / MEMBERS / f"{number:02}" if number else folder
            ignored = shutil.ignore_patterns(*LEFT)
            shutil.copytree(member, place, ignore=ignored, dirs_exist_ok=True)
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
