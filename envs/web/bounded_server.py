"""A server of which nobody takes more than a share: a bounded number of connections and time."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import Any

MAX_CONNECTIONS = 32  # from so many on a new one puts another out
STRANGER_SECONDS = 10.0  # [s] for a connection that has not shown the secret
KNOWN_SECONDS = 60.0  # [s] since the last request of one that has


@dataclass
class Guest:
    """A connection: when it ends [s, monotonic], and whether it has shown the secret."""

    end: float
    known: bool = False
    leaving: bool = False


class BoundedServer(ThreadingHTTPServer):
    """Answers each connection on a thread of its own, and ends those that take too long.

    Where there are many, the one that ends next is put out, strangers first: whoever has the
    secret says so at once, and is served however many others there are.
    """

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, *arguments: Any) -> None:
        self._guests: dict[socket.socket, Guest] = {}
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin with a connection, or hang up where not even a thread is left."""
        with self._lock:
            self._make_room()
            full = len(self._guests) >= 2 * MAX_CONNECTIONS
            if not full:
                self._guests[request] = Guest(time.monotonic() + STRANGER_SECONDS)
        if full:
            super().shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def _make_room(self) -> None:
        """Put out whoever ends next, strangers first, where there are too many connections."""
        staying = []
        for connection, guest in self._guests.items():
            if not guest.leaving:
                staying.append((guest.known, guest.end, connection))
        if len(staying) >= MAX_CONNECTIONS:
            _, _, next_to_end = min(staying, key=lambda entry: entry[:2])
            self._put_out(next_to_end)

    def welcome(self, request: Any) -> None:
        """Give a connection that has shown the secret its time, from now on."""
        with self._lock:
            guest = self._guests.get(request)
            if guest is not None:
                guest.end = time.monotonic() + KNOWN_SECONDS
                guest.known = True

    def service_actions(self) -> None:
        """End what takes too long; the server calls this twice a second."""
        with self._lock:
            for request, guest in self._guests.items():
                if guest.end < time.monotonic() and not guest.leaving:
                    self._put_out(request)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection whose thread has ended."""
        with self._lock:
            self._guests.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a browser that hung up: it has no use any more for an image scrubbed past."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def _put_out(self, request: socket.socket) -> None:
        """Wake the thread of a connection, which then finds that nobody is there."""
        self._guests[request].leaving = True
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
