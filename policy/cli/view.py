"""`fewstep view`: a page that shows demonstrations to a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ...demos.store import DemoStore
from ...demos.viewer.catalogue import Sight
from ...demos.viewer.server import Server
from ...envs import ConfigError
from .overrides import refuse_settings

LOOPBACK = ("127.0.0.1", "localhost")
READABLE = "Nothing is encrypted on the way: who listens on the network can read this address."


@dataclass(frozen=True)
class ViewSettings:
    """Look through demonstrations, or a run, in the browser; nothing is ever erased.

    The page opens with the secret in the address that is printed, and only so.
    """

    data: str = ""  # a store; recording into it may go on
    run: str = ""  # in place of data: the folder of a run's log, to scrub through
    policy: str = ""  # whose view of the cameras is shown beside them, with where it looks
    port: int = 8008  # of the page, or the next that is free; 0 for any that is free
    host: str = "127.0.0.1"  # the address to listen at


def run(settings: ViewSettings, console: Console) -> int:
    """Serve the page until Ctrl-C."""
    if bool(settings.data) == bool(settings.run):
        raise ConfigError("`fewstep view` needs either data=... or run=...")
    if settings.run:
        return _show_run(settings, console)
    sights = _find_sights(settings.policy, settings.data) if settings.policy else []
    with Server(settings.data, settings.host, settings.port, sights) as server:
        _tell_address(settings, settings.data, server.url, console)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("stopped; the curation is kept")
    return 0


def _show_run(settings: ViewSettings, console: Console) -> int:
    from ..serving.live.live_page import ReplayPage  # with websockets

    refuse_settings(settings, ("policy",), "the log of a run holds no pictures")
    page = ReplayPage(Path(settings.run), settings.host, settings.port)
    _tell_address(settings, settings.run, page.address, console)
    try:
        page.wait()
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        page.close()
    return 0


def _tell_address(settings: ViewSettings, shown: str, address: str, console: Console) -> None:
    """Print where the page is, and who can read that."""
    line = f"{shown}: look at {address} (Ctrl-C ends it)"
    console.print(line, markup=False, soft_wrap=True)
    if settings.host not in LOOPBACK:
        console.print(READABLE, style="yellow", soft_wrap=True)


def _find_sights(policy: str, data: str) -> list[Sight]:
    """Return how a policy sees the cameras of a store; it has to fit the store."""
    from ..checkpoint import load_policy, require_match  # with torch, which the page goes without
    from ..evaluation.sight import find_sights

    loaded = load_policy(policy)
    require_match(loaded, DemoStore.open(data).spec, f"the demonstrations at {data}")
    if not loaded.spec.images:
        raise ConfigError(f"{policy} sees no camera: leave out policy=")
    return find_sights(loaded)
