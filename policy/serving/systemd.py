"""What systemd is told by a service that it has started."""

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Tell systemd, where it started this."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    if path.startswith("@"):  # an abstract socket
        path = "\0" + path[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(state.encode(), path)
