"""Libraries of environments that do not run with every version of MuJoCo."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Library:
    """A library of environments, by what it is called in the registry of packages.

    tried: its version that was tried; works_with: a version of MuJoCo with which that one ran.
    """

    name: str
    tried: str
    works_with: str


LIBRARIES = {  # by module
    "gymnasium_robotics": Library("gymnasium-robotics", tried="1.4.2", works_with="3.3.7"),
    "dm_control": Library("dm-control", tried="1.0.50", works_with="3.17.0"),
}


def explain_failure(error: BaseException) -> str:
    """Return what to say of versions where one of these libraries raised an error, else ""."""
    library = _raising_library(error)
    if library is None:
        return ""
    mujoco = _installed("mujoco")
    if mujoco == library.works_with:
        return ""
    return (
        f"raised within {library.name} {_installed(library.name)} with mujoco {mujoco}, which may"
        f" not fit: {library.name} {library.tried} runs with mujoco=={library.works_with}"
    )


def _raising_library(error: BaseException | None) -> Library | None:
    """Return the library whose code is nearest to where an error, or its cause, was raised."""
    while error is not None:
        frames = list(traceback.walk_tb(error.__traceback__))
        for frame, _ in reversed(frames):
            module = frame.f_globals.get("__name__", "")
            library = LIBRARIES.get(module.partition(".")[0])
            if library is not None:
                return library
        error = error.__cause__
    return None


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(not installed)"
