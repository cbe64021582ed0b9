"""The server of `fewstep view`: slow, silent and deaf clients take a share of it, never all."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread, enumerate
from urllib.request import urlopen

import pytest
from chromium import until
from test_view import store_of

from fewstep.demos.viewer.server import Server
from fewstep.envs.web import bounded_server as view_server
from fewstep.envs.web.bounded_server import MAX_CONNECTIONS


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("view") / "demos", 1, frames=2000)


@pytest.fixture
def server(demos: Path) -> Iterator[Server]:
    with Server(demos) as started:
        Thread(target=started.serve_forever, args=[0.01], daemon=True).start()
        yield started
        started.shutdown()


def connected(server: Server, said: bytes) -> socket.socket:
    """A connection that says something, and reads nothing."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", server.server_address[1]))
    made.sendall(said)
    return made


def served(server: Server) -> bool:
    with urlopen(server.url + "starts", timeout=5) as reply:
        return reply.status == 200


def handlers() -> int:
    return sum("process_request" in thread.name for thread in enumerate())


def request(server: Server, path: str) -> bytes:
    return f"GET /{server.address.secret}/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def test_strangers_do_not_keep_others_out(server: Server) -> None:
    with ExitStack() as stack:
        for i in range(6 * MAX_CONNECTIONS):
            said = [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\x00\xff"][i % 4]
            stack.enter_context(connected(server, said))
            assert handlers() <= 2 * MAX_CONNECTIONS and len(server._guests) <= 2 * MAX_CONNECTIONS
            if i % MAX_CONNECTIONS == 0:
                assert served(server)
        assert served(server)
    until(lambda: not handlers())


def test_a_request_that_arrives_byte_by_byte_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_server, "STRANGER_SECONDS", 0.3)
    end = time.monotonic() + 10
    with connected(server, b"GET /") as slow, pytest.raises(ConnectionError):
        while time.monotonic() < end:
            slow.sendall(b"x")
            time.sleep(0.02)
    until(lambda: not handlers())


def test_a_client_that_does_not_read_is_let_go(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_server, "KNOWN_SECONDS", 0.5)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connected(server, 50 * request(server, "episode/0/100000")))
        until(lambda: handlers() == 4)
        assert served(server)
        until(lambda: not handlers())
        assert served(server)


def test_a_client_that_says_nothing_more_is_let_go(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_server, "KNOWN_SECONDS", 0.3)
    with connected(server, request(server, "starts")) as idle:
        while idle.recv(2**16):
            pass
    until(lambda: not handlers())


def test_clients_that_are_known_are_put_out_last(server: Server) -> None:
    with ExitStack() as stack:
        own = stack.enter_context(connected(server, request(server, "starts")))
        until(lambda: any(guest.known for guest in server._guests.values()))
        for _ in range(3 * MAX_CONNECTIONS):
            stack.enter_context(connected(server, b"GET /"))
        assert own.recv(12) == b"HTTP/1.1 200"
        own.sendall(request(server, "findings"))
        until(lambda: b"running" in own.recv(2**16))
