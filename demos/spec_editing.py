"""Editing the Spec of a store: units, names and limits that an import could not know."""

from __future__ import annotations

from pathlib import Path

from ..envs import Spec
from ..envs.spec_edits import Changes, edit_spec
from .storage.store_header import write_spec
from .store import DemoStore


def edit_store_spec(path: Path | str, changes: Changes) -> Spec:
    """Change the Spec of a store, and return the new one.

    Args:
        path: The store; nobody else may be writing it.
        changes: As of `edit_spec`.

    Raises:
        SpecError: Where the changes do not fit; nothing is written then.
        DataError: Where there is no store, or it cannot be written.
    """
    with DemoStore.open(path, "a") as store:
        edited = edit_spec(store.spec, changes)
        write_spec(store.path, edited)
    return edited
