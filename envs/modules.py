"""Modules that a user names: the current folder is searched for these only, and last."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from types import ModuleType

from .errors import RobotError

SAFE_PATH = "PYTHONSAFEPATH"  # in the environment it does what `python -P` does
_appended: set[str] = set()  # folders that are on the path only because a module was named


def load_module(name: str) -> ModuleType:
    """Import a module that the user has named: an installed one, else one in the current folder.

    The folder stays on the path, at its end, for what the module imports later. RobotError says
    what was looked for and where.
    """
    folder = _search_current_folder()
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        lacking = error.name or name
        if name == lacking or name.startswith(f"{lacking}."):
            places = f"neither installed nor in the current folder {folder}"
            raise RobotError(f"there is no module {lacking!r}: it is {places}") from error
        raise RobotError(f"module {name!r} needs {lacking}, which is not installed") from error
    except Exception as error:
        raise RobotError(f"module {name!r} fails: {type(error).__name__}: {error}") from error


def _search_current_folder() -> str:
    """Append the current folder to the path, and return it as errors name it."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        return "which has been deleted"
    if folder not in sys.path:
        sys.path.append(folder)
        _appended.add(folder)
    invalidate_caches()
    return folder


@contextmanager
def safe_children() -> Iterator[str | None]:
    """Start Python processes that do not look into the current folder until a module is named.

    Those of multiprocessing search it first otherwise. Even at the end of a path that they inherit,
    a `fewstep.py` would be taken for this package, which has no `__init__.py`. Yields what each of
    them hands to `begin_child`, so that what it starts in turn is as ever.
    """
    before = os.environ.get(SAFE_PATH)
    path = list(sys.path)
    os.environ[SAFE_PATH] = "1"
    sys.path[:] = [folder for folder in path if folder not in _appended]
    try:
        yield before
    finally:
        sys.path[:] = path
        restore_safe_path(before)


def begin_child(before: str | None) -> None:
    """Begin a process of multiprocessing, which ends with the one that started it.

    Nobody else would end it where that one was killed. before: what `safe_children` has yielded.
    """
    restore_safe_path(before)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def restore_safe_path(before: str | None) -> None:
    """Undo what `safe_children` did to the environment, also in a process that inherited it."""
    if before is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = before
