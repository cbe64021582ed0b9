"""Files of others: plain ones, inside the folder they belong to, no larger than they may be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import DataError, FewstepError

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_plain(
    path: Path, inside: Path | None = None, kind: type[FewstepError] = DataError
) -> None:
    """Raise `kind` where a pipe, socket or device lies at `path`, or a link leads out of `inside`.

    What is not there passes: whoever opens it says so.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # a loop of links, a zero byte
        raise kind(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    special = KINDS.get(stat.S_IFMT(mode))
    if special:
        raise kind(f"{path} is {special} and no plain file")
    if inside is not None and not is_inside(path, inside):
        raise kind(f"{path} leads out of {inside}: copy what it leads to into that folder (cp -rL)")


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether `path` lies in `folder` once all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_plain(
    path: Path, most: int, kind: type[FewstepError] = DataError, inside: Path | None = None
) -> bytes:
    """Return the content of a plain file of at most `most` bytes; FileNotFoundError passes."""
    require_plain(path, inside, kind)
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise kind(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most:
        raise kind(f"{path} has more than the {most} bytes that such a file may have")
    return content
