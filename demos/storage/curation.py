"""Curation: what a person decided about episodes after recording; nothing is ever erased by it."""

from __future__ import annotations

import json
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import DataError, FewstepWarning, caps
from ...envs.atomic_files import replace as replace_file
from ...envs.errors import names
from ...envs.files import read_plain
from ...envs.locks import turn

FILE = "curation.json"  # in a store, beside its arrays
OLD_FILE = "marks.json"  # what it was called once


@dataclass(frozen=True)
class Curation:
    """Decisions about episodes, which are called by their numbers in the recording.

    deleted: those that are left out; success: what was judged later.
    damage: what is wrong with the file, in words; empty where it was read.
    """

    deleted: frozenset[int] = frozenset()
    success: Mapping[int, bool | None] = field(default_factory=dict)
    damage: str = ""

    def delete(self, number: int, deleted: bool = True) -> Curation:
        """Leave an episode out, or bring it back."""
        number = _require_number(number)
        if deleted:
            return replace(self, deleted=self.deleted | {number})
        return replace(self, deleted=self.deleted - {number})

    def judge(self, number: int, success: bool | None) -> Curation:
        """Judge an episode."""
        number = _require_number(number)
        return replace(self, success={**self.success, number: _require_judgement(success)})

    def to_json(self) -> bytes:
        """Return the content of the file."""
        content: Any = {
            "deleted": sorted(self.deleted),
            "success": dict(sorted(self.success.items())),
        }
        return json.dumps(content, indent=1).encode()


def read_curation(store: Path | str) -> Curation:
    """Read the curation of a store; an empty one where there is none, or where it is damaged.

    Damage is a FewstepWarning: what a person decided must never keep a store from opening. Raises
    DataError where the file still has its old name, since deleted episodes would come back.
    """
    _require_no_old_file(Path(store))
    file = Path(store) / FILE
    try:
        content = _read_content(file)
        return Curation() if content is None else _parse(file, content)
    except DataError as error:
        damage = f"{error}; nothing is curated, deleted episodes are back"
    warnings.warn(damage, FewstepWarning, stacklevel=2)
    return Curation(damage=damage)


def update_curation(
    store: Path | str, recorded: int, change: Callable[[Curation], Curation]
) -> Curation:
    """Change the curation of a store of `recorded` episodes, and return it.

    Others who do so at the same time wait for their turn. A damaged file is kept beside the new
    one. Raises DataError for an unknown episode.
    """
    _require_no_old_file(Path(store))
    file = Path(store) / FILE
    try:
        with turn(file.with_name(f".{FILE}.lock")):
            changed = change(_read_to_change(file))
            unknown = {*changed.deleted, *changed.success} - set(range(recorded))
            if unknown:
                held = f"it holds {recorded}, counted from 0"
                raise DataError(f"{store} has no episode {names(unknown)}: {held}")
            replace_file(file, changed.to_json())
            return changed
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"could not write {file}: {reason}; the old curation stays") from error


def _require_no_old_file(store: Path) -> None:
    old_file = store / OLD_FILE
    if old_file.exists() and not (store / FILE).exists():
        raise DataError(
            f"{old_file} was written by an older fewstep, which called a curation so: "
            f"rename it to {FILE} to keep what it says, or move it away"
        )


def _read_content(file: Path) -> bytes | None:
    """Return what is in a file, None where there is none; DataError where it cannot be read."""
    try:
        return read_plain(file, caps.JSON, inside=file.parent)
    except FileNotFoundError:
        return None


def _parse(file: Path, content: bytes) -> Curation:
    try:
        found = json.loads(content)
        deleted = _require_numbers(found["deleted"])
        success: dict[int, bool | None] = {}
        for number, judgement in found["success"].items():
            success[int(number)] = _require_judgement(judgement)
        return Curation(deleted, success)
    except KeyError as error:
        raise DataError(f"{file} is damaged: it lacks {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError, DataError) as error:
        raise DataError(f"{file} is damaged: {error}") from error


def _read_to_change(file: Path) -> Curation:
    """Return the curation in a file, or an empty one, with a copy of the file, where damaged."""
    content = _read_content(file)
    if content is None:
        return Curation()
    try:
        return _parse(file, content)
    except DataError as error:
        kept = _free_name(file.with_name(f"{FILE}.damaged"))
        replace_file(kept, content)
        warnings.warn(f"{error}; it is kept as {kept}", FewstepWarning, stacklevel=3)
        return Curation()


def _free_name(path: Path) -> Path:
    """Return the first of `path`, `path`-2, `path`-3, ... that is not taken."""
    candidate = path
    for number in count(2):
        if not candidate.exists():
            break
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _require_number(number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError as error:
        raise DataError(f"an episode is called by its number, not {number!r}") from error


def _require_numbers(given: Any) -> frozenset[int]:
    if not isinstance(given, list):
        raise DataError(f"deleted must be numbers of episodes, not {given!r:.60}")
    for number in given:
        if type(number) is not int or number < 0:
            raise DataError(f"deleted must be numbers of episodes, not {given!r:.60}")
    return frozenset(given)


def _require_judgement(success: Any) -> bool | None:
    if success is None:
        return None
    if isinstance(success, bool | np.bool_):
        return bool(success)
    raise DataError(f"an episode is judged True, False or None, not {success!r}")
