"""Where exports and compiled sources are kept for the next time; all of it may be deleted."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the folder of the user's cache for one kind of file."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "fewstep", kind)
