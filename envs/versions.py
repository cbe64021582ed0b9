"""Versions of what decides how a simulation runs, kept beside every number."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("fewstep", "mujoco", "gymnasium", "gym-pusht", "torch")


def versions() -> dict[str, str]:
    """Return the versions of these libraries, as far as they are installed."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
