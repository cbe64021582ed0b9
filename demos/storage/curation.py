"""Marks: what a person decided about episodes after they were recorded. Nothing is ever erased by them."""

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
from ...envs.atomic_files import turn
from ...envs.errors import names
from ...envs.files import read_plain

FILE = "marks.json"  # in a store, beside its arrays


@dataclass(frozen=True)
class Marks:
    """Decisions about episodes, which are called by their numbers in the recording.

    deleted: those that are left out; success: what was judged later.
    damage: what is wrong with the file, in words; empty where it was read.
    """

    deleted: frozenset[int] = frozenset()
    success: Mapping[int, bool | None] = field(default_factory=dict)
    damage: str = ""

    @classmethod
    def read(cls, store: Path | str) -> Marks:
        """Return the marks of a store; none where there are none, or where they are damaged.

        Damage is a FewstepWarning: what a person marked must never keep a store from opening.
        """
        file = Path(store) / FILE
        try:
            content = _content(file)
            return cls() if content is None else _parsed(file, content)
        except DataError as error:
            damage = f"{error}; nothing is marked, deleted episodes are back"
        warnings.warn(damage, FewstepWarning, stacklevel=2)
        return cls(damage=damage)

    @classmethod
    def update(cls, store: Path | str, change: Callable[[Marks], Marks]) -> Marks:
        """Change the marks of a store and return them, after or before others who do so now.

        A damaged file is kept beside the new one. Raises DataError for an unknown episode.
        """
        from ..store import DemoStore  # which reads marks

        recorded = len(DemoStore.open(store, deleted=True))
        file = Path(store) / FILE
        try:
            with turn(file.with_name(f".{FILE}.lock")):
                changed = change(_to_change(file))
                if unknown := {*changed.deleted, *changed.success} - set(range(recorded)):
                    held = f"it holds {recorded}, counted from 0"
                    raise DataError(f"{store} has no episode {names(unknown)}: {held}")
                replace_file(file, changed.to_json())
                return changed
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"could not write {file}: {reason}; the old marks stay") from error

    def delete(self, number: int, gone: bool = True) -> Marks:
        """Leave an episode out, or bring it back."""
        number = _number(number)
        return replace(self, deleted=self.deleted | {number} if gone else self.deleted - {number})

    def judge(self, number: int, success: bool | None) -> Marks:
        """Judge an episode."""
        return replace(self, success={**self.success, _number(number): _judgement(success)})

    def to_json(self) -> bytes:
        """The content of the file."""
        content: Any = {
            "deleted": sorted(self.deleted),
            "success": dict(sorted(self.success.items())),
        }
        return json.dumps(content, indent=1).encode()


def _content(file: Path) -> bytes | None:
    """What is in a file, None where there is none; DataError where it cannot be read."""
    try:
        return read_plain(file, caps.JSON, inside=file.parent)
    except FileNotFoundError:
        return None


def _parsed(file: Path, content: bytes) -> Marks:
    try:
        found = json.loads(content)
        deleted, success = found["deleted"], found["success"]
        if not isinstance(deleted, list) or any(type(n) is not int or n < 0 for n in deleted):
            raise DataError(f"deleted must be numbers of episodes, not {deleted!r:.60}")
        return Marks(
            frozenset(deleted), {int(key): _judgement(value) for key, value in success.items()}
        )
    except KeyError as error:
        raise DataError(f"{file} is damaged: it lacks {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError, DataError) as error:
        raise DataError(f"{file} is damaged: {error}") from error


def _to_change(file: Path) -> Marks:
    """The marks in a file, or none, with a copy of the file, where it is damaged."""
    content = _content(file)
    if content is None:
        return Marks()
    try:
        return _parsed(file, content)
    except DataError as error:
        tries = (file.with_name(f"{FILE}.damaged" + (f"-{k}" if k > 1 else "")) for k in count(1))
        kept = next(path for path in tries if not path.exists())
        replace_file(kept, content)
        warnings.warn(f"{error}; it is kept as {kept}", FewstepWarning, stacklevel=3)
        return Marks()


def _number(number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError as error:
        raise DataError(f"an episode is marked by its number, not {number!r}") from error


def _judgement(success: Any) -> bool | None:
    if success is None or isinstance(success, bool | np.bool_):
        return None if success is None else bool(success)
    raise DataError(f"an episode is judged True, False or None, not {success!r}")
