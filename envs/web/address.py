"""What every page has in common: an address with a secret in it, headers, and who may ask."""

from __future__ import annotations

import hmac
import re
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import ConfigError, RobotError

T = TypeVar("T")
PORTS_TO_TRY = 20
MACHINE = ("localhost", "127.0.0.1")  # names of this machine at the other end of a tunnel
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Referrer-Policy": "no-referrer",  # the address holds the secret
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site can show the pictures
    "Cross-Origin-Opener-Policy": "same-origin",
}
CLOSED = "default-src 'none'; frame-ancestors 'none'"  # policy of what is no page
POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
    "img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REFUSED = "open the whole address that fewstep printed: it holds a secret, new at every start"


@dataclass(frozen=True)
class Address:
    """Where a page is served: `http://host:port/secret/`, and everything that belongs to it below.

    Any user of a machine reaches 127.0.0.1, so knowing the port must not be enough. The secret is
    the first part of the path, new at every start. It is not put into a cookie: browsers keep
    cookies by host and not by port, and would send it to every other server on 127.0.0.1, also to
    that of another user; two pages of one person would take it from each other; and the page would
    have to be found without it once. A path needs no state: reloading, bookmarks and relative
    links carry it, through a tunnel too.
    """

    host: str
    port: int
    secret: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def url(self) -> str:
        """Return what a person opens."""
        return f"http://{self.host}:{self.port}/{self.secret}/"

    def requested(self, path: str, host: str) -> str | None:
        """Return what a request asks for behind the secret; None where it may not ask.

        path: of the request; host: its Host header, which must name this machine.
        """
        given, slash, rest = path.removeprefix("/").partition("/")
        knows_secret = hmac.compare_digest(given.encode(errors="replace"), self.secret.encode())
        return rest if knows_secret and slash and self._is_at(host) else None

    def _is_at(self, host: str) -> bool:
        """Return whether a Host header names this machine, at any port: a tunnel has its own."""
        name = host.lower()
        without_port = name.rpartition(":")[0] or name
        return without_port in (self.host.lower(), *MACHINE)


def require_port(port: int) -> None:
    """Raise ConfigError where no page can be served at a port."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"port must be 0 (any) to 65535, not {port}")


def require_host(host: str) -> None:
    """Raise ConfigError for a host that stands for every address of this machine."""
    if host in ("", "0.0.0.0", "::"):
        raise ConfigError(
            "host must be one address of this machine, such as 127.0.0.1,"
            " so that others are refused"
        )


def on_first_free(host: str, port: int, start: Callable[[int], T]) -> T:
    """Return what `start` makes at the first free port from `port` on, any free one for 0.

    ConfigError where none of PORTS_TO_TRY is free.
    """
    last = min(port + PORTS_TO_TRY, 65536) - 1 if port else 0
    for attempt in range(port, last):
        with suppress(OSError):
            return start(attempt)
    try:
        return start(last)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot listen at {host}, ports {port} to {last}: {reason}") from error


def same_origin(host: str, origin: str | None) -> bool:
    """Return whether a request comes from a page of the server it goes to; without Origin, no."""
    return origin == f"http://{host}"


def fill_in(page: str, **parts: str) -> str:
    """Return a page with its parts in the places that are named %NAME%."""
    return re.sub(f"%({'|'.join(parts)})%", lambda found: parts[found[1]], page)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens for a page; RobotError where it cannot."""
    require_port(port)
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise RobotError(
            f"cannot serve the page on {host}:{port}: {error.strerror or error}"
        ) from error
