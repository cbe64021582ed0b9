"""An audience: whoever looks at a page, on a thread of its own that nobody has to wait for."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from .address import CLOSED, HEADERS, POLICY, REFUSED, Address, fill_in, same_origin

MAX_CLIENTS = 16  # that look on at once, and as many connections that have not shown the secret
WAITING_TEXTS = 32  # for one client; it misses older ones
OPENING_SECONDS = 5.0  # [s] for a request to arrive
SENDING_SECONDS = 10.0  # [s] for a client to take a message
PING_SECONDS = 5.0  # [s] between questions whether a client is still there
CLOSING_SECONDS = 0.5  # [s] for what is said last
SYSTEM_BUFFER = 2**17  # bytes to a client that the system holds: more would be old when seen
MAX_UNREAD = 2**22  # bytes to a client that wait here
MAX_MESSAGE = 4096  # bytes from a client
SOCKET_PATH = "hand"  # where the page opens its WebSocket
JPEG_QUALITY = 85


class Audience:
    """Serves one page and its WebSocket at an Address; `show` and `tell` return at once.

    A client that reads slowly misses pictures, and one that takes nothing for SENDING_SECONDS is
    let go. Strangers, who have not shown the secret, can only put each other out.
    page: HTML with %NONCE% in it. greeting: what each client is told first. on_message is called
    with what a client says and who it is, and on_leave with who goes; both on the thread of the
    audience, where `answer` may be called.
    """

    def __init__(
        self,
        address: Address,
        listening: socket.socket,
        page: Path,
        greeting: str,
        on_message: Callable[[str | bytes, Client], None],
        on_leave: Callable[[Client], None] = lambda client: None,
    ) -> None:
        self._address = address
        self._page = page
        self._on_message = on_message
        self._on_leave = on_leave
        self._greeting = greeting
        self._last_text = ""
        self._connections: dict[Client, None] = {}  # the oldest first
        self._outboxes: dict[Client, Outbox] = {}
        self._pictures: deque[np.ndarray] = deque(maxlen=1)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_BUFFER)
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()

    @property
    def watched(self) -> bool:
        """Return whether anybody looks."""
        return bool(self._outboxes)

    def show(self, picture: np.ndarray) -> None:
        """Send a picture (height, width, 3), which nobody changes any more, to all who keep up."""
        self._pictures.append(picture)
        self._call(self._publish)

    def tell(self, text: str) -> None:
        """Send a text to all, and to who comes later, until there is another."""
        self._last_text = text
        self._call(partial(self._send_to_all, text))

    def answer(self, client: Client, text: str) -> None:
        """Send a text to one client alone."""
        self._outboxes[client].put(text)

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._call(self._end.set)
        self._thread.join(2 * CLOSING_SECONDS)

    def _call(self, function: Callable[[], object]) -> None:
        """Call a function on the thread of the audience; nothing where it is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _run(self, listening: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        make_client: Any = partial(Client, self._connections)
        server = await serve(
            self._attend,
            sock=listening,
            backlog=MAX_CLIENTS,
            process_request=self._answer,
            create_connection=make_client,
            compression=None,
            max_size=MAX_MESSAGE,
            open_timeout=OPENING_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=SENDING_SECONDS,
            close_timeout=CLOSING_SECONDS,
            logger=silent_logger(),
        )
        await self._end.wait()
        server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await server.wait_closed()
        for client in list(self._connections):
            client.transport.abort()

    def _publish(self) -> None:
        """Encode the newest picture, where it has not been sent."""
        if self._pictures:
            self._send_to_all(_encode_jpeg(self._pictures.pop()))

    def _send_to_all(self, message: str | bytes) -> None:
        for outbox in self._outboxes.values():
            outbox.put(message)

    def _answer(self, client: Any, request: Any) -> Any:
        """Return the page, or None to open its WebSocket; a refusal without the secret."""
        host = request.headers.get("Host", "")
        rest = self._address.requested(request.path, host)
        if rest is None:
            return _reply(client, HTTPStatus.FORBIDDEN, REFUSED)
        if rest == "":
            nonce = secrets.token_urlsafe()
            html = fill_in(self._page.read_text(encoding="utf-8"), NONCE=nonce)
            return _reply(client, HTTPStatus.OK, html, "text/html", POLICY.format(nonce))
        if rest != SOCKET_PATH:
            return _reply(client, HTTPStatus.NOT_FOUND, "there is only one page")
        if not same_origin(host, request.headers.get("Origin")):
            return _reply(client, HTTPStatus.FORBIDDEN, "only the page itself is heard")
        if sum(other.known for other in self._connections) >= MAX_CLIENTS:
            return _reply(client, HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_CLIENTS} look on already")
        client.known = True
        return None

    async def _attend(self, client: Any) -> None:
        outbox = Outbox()
        self._outboxes[client] = outbox
        for text in (self._greeting, self._last_text):
            if text:
                outbox.put(text)
        sender = self._loop.create_task(_send(client, outbox))
        try:
            with suppress(ConnectionClosed):
                async for message in client:
                    self._on_message(message, client)
        finally:
            sender.cancel()
            del self._outboxes[client]
            self._on_leave(client)


class Client(ServerConnection):
    """A connection; known: it has shown the secret, and is heard.

    The oldest of more than `most_strangers` makes room for a new one: who has the secret says so at
    once. One that leaves more than `most_unread` bytes unread is let go.
    """

    def __init__(
        self,
        connections: dict[Client, None],
        *arguments: Any,
        most_strangers: int = MAX_CLIENTS,
        most_unread: int = MAX_UNREAD,
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self.connections = connections
        self.known = False
        self._most_strangers = most_strangers
        self._most_unread = most_unread

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, for which the oldest stranger may have to go."""
        super().connection_made(transport)
        self.connections[self] = None
        strangers = [client for client in self.connections if not client.known]
        if len(strangers) > self._most_strangers:
            del self.connections[strangers[0]]
            strangers[0].transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self.connections.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what a client says; answers that are not read must not fill the memory."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > self._most_unread:
            self.transport.abort()


class Outbox:
    """What one client has yet to be sent: texts in order, then the newest picture."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque(maxlen=WAITING_TEXTS)
        self._picture: bytes | None = None
        self._filled = asyncio.Event()

    def put(self, message: str | bytes) -> None:
        """Add a text, or put a picture in the place of the last one."""
        if isinstance(message, str):
            self._texts.append(message)
        else:
            self._picture = message
        self._filled.set()

    async def take(self) -> str | bytes:
        """Return what is to be sent next, once there is something."""
        while not self._texts and self._picture is None:
            self._filled.clear()
            await self._filled.wait()
        if self._texts:
            return self._texts.popleft()
        picture = self._picture
        self._picture = None
        return picture or b""


async def _send(client: ServerConnection, outbox: Outbox) -> None:
    with suppress(ConnectionClosed):
        try:
            while True:
                message = await outbox.take()
                async with asyncio.timeout(SENDING_SECONDS):
                    await client.send(message)
        except TimeoutError:
            client.transport.abort()


def _reply(
    client: ServerConnection,
    status: HTTPStatus,
    text: str,
    kind: str = "text/plain",
    policy: str = CLOSED,
) -> Any:
    response = client.respond(status, text)
    del response.headers["Content-Type"]
    headers = {
        "Content-Type": f"{kind}; charset=utf-8",
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        **HEADERS,
    }
    for key, value in headers.items():
        response.headers[key] = value
    return response


def _encode_jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    out = BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def silent_logger() -> logging.Logger:
    """Return a logger that says nothing: strangers must not be able to fill the terminal."""
    logger = logging.getLogger(__name__)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
