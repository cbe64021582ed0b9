"""The verb that shows demonstrations to a person."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ...demos.viewer.server import Server

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class View:
    """Look through demonstrations in the browser, and sort bad ones out; nothing is erased.

    data: a store; recording into it may go on. port: of the page, or the next that is free; 0 for any that is free.
    host: the address to listen at. The page opens with the secret in the address that is printed, and only so.
    """

    data: str = MISSING
    port: int = 8008
    host: str = "127.0.0.1"


def view(c: View, console: Console) -> int:
    """Serve the page until Ctrl-C."""
    with Server(c.data, c.host, c.port) as server:
        console.print(
            f"{c.data}: look at {server.url} (Ctrl-C ends it)", markup=False, soft_wrap=True
        )
        if c.host not in LOOPBACK:
            said = (
                "Nothing is encrypted on the way: who listens on the network can read this address."
            )
            console.print(said, style="yellow", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("stopped; marks are kept")
    return 0
