"""Child processes, which Ctrl-C does not reach.

Their modules are never taken from the current folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PIPE = 1 << 20  # bytes that a pipe holds while its reader is away


def start(module: str, *arguments: str, fds: list[int], **streams: Any) -> subprocess.Popen[Any]:
    """Start a module of this package. Ctrl-C is for the one in charge."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.Popen(command, pass_fds=fds, start_new_session=True, **streams)


def large_pipe() -> tuple[int, int]:
    """Return both ends of a pipe that holds much."""
    ends = os.pipe()
    with suppress(ImportError, OSError, AttributeError):
        import fcntl

        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE)
    return ends


def listen(fd: int, on_content: Callable[[bytes], None], *, lines: bool) -> threading.Thread:
    """Hand everything that comes through a pipe to `on_content`, in a thread of its own.

    lines: only whole ones, without their ends.
    """

    def work() -> None:
        rest = b""
        with os.fdopen(fd, "rb", buffering=0) as file:
            content = file.read(PIPE)
            while content:
                if lines:
                    *whole, rest = (rest + content).split(b"\n")
                    for line in whole:
                        on_content(line)
                else:
                    on_content(content)
                content = file.read(PIPE)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
