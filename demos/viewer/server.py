"""The server of `fewstep view`: a page to look through demonstrations and sort bad ones out."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

from ...envs import ConfigError, FewstepError
from ...envs.web.address import (
    CLOSED,
    HEADERS,
    POLICY,
    REFUSED,
    Address,
    fill_in,
    on_first_free,
    require_host,
    require_port,
    same_origin,
)
from ...envs.web.bounded_server import BoundedServer
from .catalogue import Catalogue, Sight
from .curves import curves, starts

PAGE = Path(__file__).with_name("page.html")
MAX_POSTED = 1000  # bytes
NOT_CACHED = "no-store"
CACHED_FOREVER = "private, max-age=31536000, immutable"


class Reply(NamedTuple):
    """What is sent back."""

    body: bytes
    kind: str = "application/json"
    cached: str = NOT_CACHED
    status: HTTPStatus = HTTPStatus.OK
    nonce: str = ""


class Refusal(Exception):
    """Raised when a request is none that the page would make."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(BoundedServer):
    """Shows one store at an address of this machine.

    Its port is the first free one from `port` on, any free one for 0. sights: as in Catalogue.
    """

    def __init__(
        self,
        path: str | Path,
        host: str = "127.0.0.1",
        port: int = 0,
        sights: Sequence[Sight] = (),
    ) -> None:
        require_host(host)
        require_port(port)
        self.catalogue = Catalogue(Path(path), sights)
        start = super().__init__
        on_first_free(host, port, lambda free: start((host, free), partial(Handler, self)))
        self.address = Address(host, self.server_address[1])

    @property
    def url(self) -> str:
        """Return where the page is, with the secret without which nothing is served."""
        return self.address.url


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; paths hold numbers only."""

    protocol_version = "HTTP/1.1"
    server_version = "fewstep"
    sys_version = ""
    wbufsize = -1  # one packet for a small reply

    def __init__(self, home: Server, *arguments: Any) -> None:
        self.home = home
        self.catalogue = home.catalogue
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer what the page asks for."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Change what is curated."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows where the page is."""

    def _answer(self, respond: Callable[[str], Reply]) -> None:
        try:
            reply = respond(self._requested())
        except Refusal as error:
            reply = _json_reply({"error": str(error)}, error.status)
        except ConfigError as error:
            reply = _json_reply({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except FewstepError as error:
            reply = _json_reply({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(reply)

    def _requested(self) -> str:
        """Return what is asked for, behind the secret."""
        path = self.home.address.requested(self.path, self.headers.get("Host", ""))
        if path is None:
            raise Refusal(HTTPStatus.FORBIDDEN, REFUSED)
        self.home.welcome(self.connection)
        return path

    def _send(self, reply: Reply) -> None:
        headers = {
            "Content-Type": reply.kind,
            "Content-Length": str(len(reply.body)),
            "Cache-Control": reply.cached,
            "Content-Security-Policy": POLICY.format(reply.nonce) if reply.nonce else CLOSED,
            **HEADERS,
        }
        if reply.status != HTTPStatus.OK:
            headers["Connection"] = "close"  # what was posted may not have been read
        self.send_response(reply.status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _get(self, path: str) -> Reply:
        for pattern, respond in ROUTES.items():
            match = re.fullmatch(pattern, path, re.ASCII)
            if match:
                numbers = [int(digits) for digits in match.groups()]
                return respond(self, *numbers)
        raise Refusal(HTTPStatus.NOT_FOUND, "there is no such page")

    def _page(self) -> Reply:
        self.catalogue.reopen()
        nonce = secrets.token_urlsafe()
        summary = json.dumps(self.catalogue.summary(), allow_nan=False).replace("<", "\\u003c")
        page = fill_in(PAGE.read_text(encoding="utf-8"), NONCE=nonce, SUMMARY=summary)
        return Reply(page.encode(), "text/html; charset=utf-8", nonce=nonce)

    def _starts(self) -> Reply:
        return _json_reply(starts(self.catalogue.store))

    def _findings(self) -> Reply:
        return _json_reply(self.catalogue.findings())

    def _episode(self, number: int, points: int) -> Reply:
        self._require(number)
        start, stop = self.catalogue.span(number)
        return _json_reply(curves(self.catalogue.store, start, stop, points))

    def _picture(self, number: int, camera: int, frame: int) -> Reply:
        self._require(number, camera, frame)
        picture = self.catalogue.picture(number, camera, frame)
        return Reply(picture, "image/jpeg", CACHED_FOREVER)

    def _require(self, number: int, camera: int | None = None, frame: int = 0) -> None:
        """Raise Refusal where there is no such episode, camera or frame."""
        problem = self.catalogue.lacks(number, camera, frame)
        if problem:
            raise Refusal(HTTPStatus.NOT_FOUND, problem)

    def _post(self, path: str) -> Reply:
        if path != "curation":
            raise Refusal(HTTPStatus.NOT_FOUND, "only curation takes something")
        if not same_origin(self.headers.get("Host", ""), self.headers.get("Origin")):
            raise Refusal(HTTPStatus.FORBIDDEN, "only the page itself may curate episodes")
        change = self._posted()
        number = change.pop("episode", None)
        if type(number) is not int or number < 0:
            raise Refusal(HTTPStatus.BAD_REQUEST, "a decision needs the number of its episode")
        self._require(number)
        return _json_reply(self.catalogue.curate(number, change))

    def _posted(self) -> dict[str, Any]:
        """Return the JSON object that was posted; raise Refusal where it is none."""
        length = self.headers.get("Content-Length", "")
        is_json = self.headers.get("Content-Type") == "application/json"
        if not is_json or not re.fullmatch(NUMBER, length):
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "a decision is posted as application/json, with its length"
            )
        if int(length) > MAX_POSTED:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a decision has at most {MAX_POSTED} bytes"
            )
        content = self.rfile.read(int(length))
        try:
            change = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"a decision is JSON: {error}") from error
        if not isinstance(change, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "a decision is a JSON object")
        return change


NUMBER = "([0-9]{1,9})"
ROUTES: dict[str, Callable[..., Reply]] = {
    "": Handler._page,
    "starts": Handler._starts,
    "findings": Handler._findings,
    f"episode/{NUMBER}/{NUMBER}": Handler._episode,
    f"picture/{NUMBER}/{NUMBER}/{NUMBER}": Handler._picture,
}


def _json_reply(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(json.dumps(content, allow_nan=False).encode(), status=status)
