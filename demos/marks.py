"""Marks: what a person decided about episodes after they were recorded. Nothing is ever erased by them."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..envs import DataError
from ..envs.errors import names
from .files import replace as replace_file

FILE = "marks.json"  # in a store, beside its arrays


@dataclass(frozen=True)
class Marks:
    """deleted: episodes that are left out; success: what was judged later. Numbers are those of the recording."""

    deleted: frozenset[int] = frozenset()
    success: Mapping[int, bool | None] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Path | str) -> Marks:
        """The marks of a store; none where nobody made any."""
        try:
            found = json.loads((Path(store) / FILE).read_text())
            judged = {int(k): _judgement(v) for k, v in found["success"].items()}
            return cls(frozenset(map(int, found["deleted"])), judged)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
            raise DataError(f"{Path(store) / FILE} is damaged: {error}; without it, nothing is marked") from error

    def write(self, store: Path | str) -> None:
        """Replace the marks of a store, which has all these episodes."""
        from .store import DemoStore  # which reads marks

        recorded = len(DemoStore.open(store, deleted=True))
        if unknown := {*self.deleted, *self.success} - set(range(recorded)):
            raise DataError(f"{store} has no episode {names(unknown)}: it holds {recorded}, counted from 0")
        content: Any = {"deleted": sorted(self.deleted), "success": dict(sorted(self.success.items()))}
        try:
            replace_file(Path(store) / FILE, json.dumps(content, indent=1).encode())
        except OSError as error:
            raise DataError(
                f"could not write {Path(store) / FILE}: {error.strerror or error}; the old marks stay"
            ) from error

    def delete(self, number: int, gone: bool = True) -> Marks:
        """Leave an episode out, or bring it back."""
        number = _number(number)
        return replace(self, deleted=self.deleted | {number} if gone else self.deleted - {number})

    def judge(self, number: int, success: bool | None) -> Marks:
        """Judge an episode."""
        return replace(self, success={**self.success, _number(number): _judgement(success)})


def _number(number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError as error:
        raise DataError(f"an episode is marked by its number, not {number!r}") from error


def _judgement(success: Any) -> bool | None:
    if success is None or isinstance(success, bool | np.bool_):
        return None if success is None else bool(success)
    raise DataError(f"an episode is judged True, False or None, not {success!r}")
