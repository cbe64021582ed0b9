"""Who looks on cannot keep the recording waiting, fill the memory, or keep others out."""

import base64
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromium import until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fewstep.envs.sim.push_t_geometry import SPEC
from fewstep.envs.teleop.drive import Axes
from fewstep.envs.teleop.web_page import Page
from fewstep.envs.web import audience
from fewstep.envs.web.audience import MAX_CLIENTS, MAX_UNREAD

PICTURE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)  # as JPEG, 0.4 MB


class Show:
    """A page with a clock on which every picture is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.page = Page(Axes(SPEC), port=0, clock=lambda: self.now)
        self.audience = self.page._audience
        self.host = urlsplit(self.page.address).netloc

    def picture(self) -> float:
        """Show one; how long that took [s]."""
        self.now += 1
        began = time.perf_counter()
        self.page.show(lambda: PICTURE)
        self.page.log(f"word {self.now}")
        return time.perf_counter() - began

    def client(self) -> Any:
        return connect(f"ws{self.page.address[4:]}hand", origin=f"http://{self.host}")  # pyright: ignore

    def raw(self, request: str = "") -> socket.socket:
        """A connection that reads nothing; request: what it says, else it opens the WebSocket."""
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect((urlsplit(self.page.address).hostname, urlsplit(self.page.address).port))
        path = urlsplit(self.page.address).path
        key = base64.b64encode(os.urandom(16)).decode()
        opening = f"GET {path}hand HTTP/1.1\r\nHost: {self.host}\r\nOrigin: http://{self.host}\r\n"
        opening += f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        made.sendall((request or opening + "Sec-WebSocket-Version: 13\r\n\r\n").encode())
        return made

    def looking(self, clients: int) -> None:
        until(lambda: len(self.audience._outboxes) == clients)


@pytest.fixture
def show() -> Iterator[Show]:
    made = Show()
    yield made
    made.page.close()


def ended(connection: socket.socket) -> bool:
    """Whether the other side hung up."""
    connection.settimeout(10)
    try:
        while connection.recv(2**16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def held(show: Show) -> int:
    """Bytes that wait for clients."""
    boxes = show.audience._outboxes.items()
    waiting = sum(len(box._picture or b"") + sum(map(len, box._texts)) for _, box in boxes)
    return waiting + sum(client.transport.get_write_buffer_size() for client, _ in boxes)


def test_clients_that_never_read_keep_nobody_waiting_and_fill_no_memory(show: Show) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(show.raw())
        show.looking(3)
        reader = stack.enter_context(show.client())
        show.looking(4)
        took, most, seen = [], 0, threading.Event()

        def read() -> None:
            for message in reader:
                if isinstance(message, bytes):
                    seen.set()

        threading.Thread(target=read, daemon=True).start()
        for _ in range(60):
            took.append(show.picture())
            time.sleep(0.01)
            most = max(most, held(show))
        reader.send(json.dumps({"word": "start"}))
        until(show.page._said.qsize)
        assert seen.wait(10), "who reads sees pictures"
    assert np.median(took) < 0.005, "it is never waited for"
    assert max(took) < 0.25, "on a busy machine, too"
    assert most < 4 * 2**20, "a picture or two for each"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENDING_SECONDS", "OPENING_SECONDS", "PING_SECONDS"):
        monkeypatch.setattr(audience, name, 0.4)


def test_a_client_that_stays_away_is_let_go(hasty: None, show: Show) -> None:
    with show.raw() as away, show.client() as reader:
        show.looking(2)
        threading.Thread(target=lambda: [None for _ in reader], daemon=True).start()
        for _ in range(20):
            show.picture()
        show.looking(1)
        assert ended(away)
        assert show.audience.watched, "who reads stays"


def test_a_client_that_answers_no_ping_is_let_go(hasty: None, show: Show) -> None:
    with show.raw() as away:
        show.looking(1)
        show.looking(0)
        assert ended(away)


def test_strangers_only_put_each_other_out(show: Show) -> None:
    with ExitStack() as stack:
        inside = stack.enter_context(show.client())
        for i in range(5 * MAX_CLIENTS):
            said = ["GET / HT", "GET", "\x00", "POST / HTTP/1.1\r\nHost: x\r\n"][i % 4]
            stack.enter_context(show.raw(said))
            assert len(show.audience._connections) <= MAX_CLIENTS + 1
        with show.client():
            show.looking(2)
        inside.send(json.dumps({"word": "start"}))
        until(show.page._said.qsize)


def test_a_request_that_does_not_arrive_is_not_waited_for(hasty: None, show: Show) -> None:
    with show.raw("GET ") as slow:
        end = time.monotonic() + 5
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                slow.sendall(b"x")
                time.sleep(0.05)
    until(lambda: not show.audience._connections)


def test_no_more_than_so_many_look_on(show: Show) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            stack.enter_context(show.client())
        with pytest.raises(InvalidStatus, match="503"), show.client():
            pass


def test_answers_that_are_not_read_are_not_kept(show: Show) -> None:
    ping = struct.pack("!BBI", 0x89, 0x80 | 125, 0) + bytes(125)
    with show.raw() as flood:
        show.looking(1)
        with pytest.raises(ConnectionError):
            for _ in range(100):
                flood.sendall(ping * 2000)
                assert held(show) < 2 * MAX_UNREAD
    show.looking(0)


def test_closing_waits_for_no_client_and_the_last_words_are_heard(show: Show) -> None:
    with show.raw(), show.client() as reader:
        show.looking(2)
        for _ in range(20):
            show.picture()
        show.page.log("the end")
        began = time.perf_counter()
        show.page.close()
        show.page.close()
        assert time.perf_counter() - began < 5
        assert not show.audience._thread.is_alive()
        texts = []
        with suppress(ConnectionClosed):  # on a busy machine it is cut off before it says goodbye
            for said in reader:
                if isinstance(said, str):
                    texts.append(json.loads(said).get("text"))
        assert "the end" in texts
        show.page.log("to nobody")
        show.picture()
