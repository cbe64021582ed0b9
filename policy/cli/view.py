"""`fewstep view`: a page that shows demonstrations to a person."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ...demos.viewer.server import Server

LOOPBACK = ("127.0.0.1", "localhost")
READABLE = "Nothing is encrypted on the way: who listens on the network can read this address."


@dataclass(frozen=True)
class ViewSettings:
    """Look through demonstrations in the browser, and sort bad ones out; nothing is erased.

    The page opens with the secret in the address that is printed, and only so.
    """

    data: str = MISSING  # a store; recording into it may go on
    port: int = 8008  # of the page, or the next that is free; 0 for any that is free
    host: str = "127.0.0.1"  # the address to listen at


def run(settings: ViewSettings, console: Console) -> int:
    """Serve the page until Ctrl-C."""
    with Server(settings.data, settings.host, settings.port) as server:
        address = f"{settings.data}: look at {server.url} (Ctrl-C ends it)"
        console.print(address, markup=False, soft_wrap=True)
        if settings.host not in LOOPBACK:
            console.print(READABLE, style="yellow", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("stopped; the curation is kept")
    return 0
