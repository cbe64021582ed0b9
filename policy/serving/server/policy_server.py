"""The policy server: a WebSocket for each client, one thread that computes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ....envs import FewstepError, ProtocolError
from ....envs.web.array_maps import MOST_BYTES, pack, unpack
from ....envs.web.audience import Client, silent_logger
from ...engines.engine import Engine
from ..runners import WARM_CHUNKS, answer, blank_request
from .access import shows_key
from .answering import Answered, Answering
from .description import describe
from .layout import Layout
from .metrics import Metrics
from .server_feed import ServerFeed
from .session import Asked, Session

MOST_CLIENTS = 64
MOST_STRANGERS = 64  # who have not finished their handshake
OPENING_SECONDS = 10.0  # [s] for a handshake
SENDING_SECONDS = 10.0  # [s] for a client to take a reply
PING_SECONDS = 20.0  # [s] between questions whether a client is still there, and for its answer
CLOSING_SECONDS = 1.0  # [s] for what is said last
UNREAD_MESSAGES = 2  # of a client, before it has to wait
MOST_TEXT = 500  # characters of an error

logger = logging.getLogger(__name__)


class PolicyServer:
    """Serves one policy: `warm_up`, then `listen` in a running loop, at last `close`.

    Args:
        engine: What computes.
        layout: How clients call what it observes.
        weights: The SHA-256 of its numbers.
        key: What clients have to show; "" for nothing.
        batch: Requests that are computed together, 0 for what suits the engine.
        on_event: Is told who comes and goes.
        feed: Of a page that shows what is asked and answered.
    """

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        *,
        weights: str,
        key: str = "",
        batch: int = 0,
        on_event: Callable[[str], None] = lambda text: None,
        feed: ServerFeed | None = None,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._key = key
        self._on_event = on_event
        self._feed = feed or ServerFeed(engine.spec, "")
        self._metrics = Metrics()
        self._greeting = pack(describe(engine, layout, weights))
        self._answering = Answering(engine, batch)
        self._clients = 0
        self._connections: dict[Client, None] = {}  # the oldest first

    def warm_up(self) -> None:
        """Compute some chunks, so that the first client does not wait for what is slow once."""
        for _ in range(WARM_CHUNKS):
            answer(self._engine, [blank_request(self._engine)] * self._answering.batch)

    async def listen(self, host: str, port: int) -> Server:
        """Let clients in, from now on."""
        make_client: Any = partial(
            Client, self._connections, most_strangers=MOST_STRANGERS, most_unread=MOST_BYTES
        )
        return await serve(
            self._attend,
            host,
            port,
            process_request=self._answer_plainly,
            create_connection=make_client,
            compression=None,
            max_size=MOST_BYTES,
            max_queue=UNREAD_MESSAGES,
            open_timeout=OPENING_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            close_timeout=CLOSING_SECONDS,
            server_header=None,
            logger=silent_logger(),
        )

    def hang_up(self) -> None:
        """End all connections, finished or not."""
        for client in list(self._connections):
            client.transport.abort()

    def close(self) -> None:
        """Answer nobody any more."""
        self._answering.close()

    def _answer_plainly(self, connection: Any, request: Any) -> Any:
        """Return the answer to a plain request, or None to open a WebSocket."""
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if request.path == "/readyz":
            is_full = self._clients >= MOST_CLIENTS
            status = HTTPStatus.SERVICE_UNAVAILABLE if is_full else HTTPStatus.OK
            return connection.respond(status, "full\n" if is_full else "ready\n")
        # A browser names the page that asks; no page has any business here.
        if request.headers.get("Origin") is not None:
            return self._refuse(connection, HTTPStatus.FORBIDDEN, "no web page may ask")
        if self._key and not shows_key(request.headers, self._key):
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, "show the key of this server")
        if request.path == "/metrics":
            return connection.respond(HTTPStatus.OK, self._metrics.text())
        if self._clients >= MOST_CLIENTS:
            said = f"{MOST_CLIENTS} clients are connected already"
            return self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, said)
        connection.known = True
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, text: str) -> Any:
        self._metrics.refused.inc()
        return connection.respond(status, f"{text}\n")

    async def _attend(self, connection: ServerConnection) -> None:
        """Serve one client until it leaves."""
        name = name_address(connection.remote_address)
        self._clients += 1
        self._metrics.clients.set(self._clients)
        self._feed.came(name)
        self._tell(f"{name} has come; clients: {self._clients}")
        client = _Asking(connection, name, Session(self._engine, self._layout))
        try:
            await _send(connection, self._greeting)
            async with asyncio.TaskGroup() as tasks:
                replies = tasks.create_task(self._reply_to_newest(client))
                await self._read(client)
                replies.cancel()
        except* ConnectionClosed:
            pass
        except* Exception:
            logger.exception("a client was let go")
        finally:
            self._clients -= 1
            self._metrics.clients.set(self._clients)
            self._feed.left(name)
            self._tell(f"{name} has left; clients: {self._clients}")

    def _tell(self, text: str) -> None:
        self._on_event(text)
        self._feed.say(text)

    async def _read(self, client: _Asking) -> None:
        """Take in what a client says; pictures are resized off the loop."""
        async for message in client.connection:
            arrived = time.monotonic()
            try:
                if isinstance(message, str):
                    raise ProtocolError("a message is a msgpack map, and no text")
                asked = await asyncio.to_thread(client.ask, message, arrived)
            except FewstepError as error:
                await self._complain(client, error)
                continue
            client.put(arrived, asked)

    async def _reply_to_newest(self, client: _Asking) -> None:
        previous = 0.0  # [s] that the last reply took, which the protocol tells with the next
        while True:
            arrived, asked, superseded = await client.take()
            for _ in range(superseded):
                self._metrics.superseded.inc()
                await _send(client.connection, pack({"superseded": True}))
            try:
                answered = await self._answering.ask(asked)
            except FewstepError as error:
                await self._complain(client, error)
                continue
            taken = time.monotonic() - arrived
            await _send(client.connection, pack(_reply(asked, answered, taken, previous)))
            previous = time.monotonic() - arrived
            self._metrics.chunks.inc()
            self._metrics.inference.observe(answered.seconds)
            self._metrics.total.observe(previous)
            self._feed.answered(client.name, asked, answered.chunk, previous)

    async def _complain(self, client: _Asking, error: FewstepError) -> None:
        self._metrics.refused.inc()
        said = " ".join(str(error).split())[:MOST_TEXT]
        self._feed.say(f"{client.name} was refused: {said}")
        await _send(client.connection, said)


class _Asking:
    """A connection, its session, and the newest request that nobody has taken yet."""

    def __init__(self, connection: ServerConnection, name: str, session: Session) -> None:
        self.connection = connection
        self.name = name
        self._session = session
        self._newest: tuple[float, Asked] | None = None
        self._superseded = 0
        self._came = asyncio.Event()

    def ask(self, message: bytes, arrived: float) -> Asked:
        """Return the request of a message."""
        return self._session.ask(unpack(message), arrived)

    def put(self, arrived: float, asked: Asked) -> None:
        """Let a request wait, in place of an older one."""
        self._superseded += self._newest is not None
        self._newest = arrived, asked
        self._came.set()

    async def take(self) -> tuple[float, Asked, int]:
        """Return the newest request, when it came, and how many it has replaced."""
        await self._came.wait()
        self._came.clear()
        assert self._newest is not None
        arrived, asked = self._newest
        superseded = self._superseded
        self._newest = None
        self._superseded = 0
        return arrived, asked, superseded


def _reply(asked: Asked, answered: Answered, taken: float, previous: float) -> dict[str, Any]:
    """Return what a client is told; times in ms are the protocol's."""
    infer = 1e3 * answered.seconds
    timing = {"infer_ms": infer, "total_ms": 1e3 * taken, "prev_total_ms": 1e3 * previous}
    reply = {
        "actions": answered.chunk.actions.astype("float32"),
        "time": answered.chunk.time,
        "dt": answered.chunk.dt,
        "policy_timing": {"infer_ms": infer},
        "server_timing": timing,
    }
    if asked.warnings:
        reply["warnings"] = asked.warnings
    return reply


async def _send(connection: ServerConnection, message: bytes | str) -> None:
    """Send a message; a client that does not take it in time is let go."""
    try:
        async with asyncio.timeout(SENDING_SECONDS):
            await connection.send(message)
    except TimeoutError:
        connection.transport.abort()


def name_address(address: Any) -> str:
    """Return the host:port of a socket's address, as a URL has it."""
    if not address:
        return "someone"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
