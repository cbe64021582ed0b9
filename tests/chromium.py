"""A tab of headless Chromium for tests, by its DevTools protocol."""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def until(found: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value


class PageLeft(Exception):
    """The page was left before the browser could answer."""


class Tab:
    """A tab of Chromium, by its DevTools protocol; events: what it reported."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._count, self.events = socket, 0, []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while (reply := json.loads(self._socket.recv(30))).get("id") != self._count:
            self.events.append(reply)
        if "navigated or closed" in str(reply.get("error")):
            raise PageLeft(method)
        assert "error" not in reply, reply
        return reply["result"]

    def run(self, script: str) -> Any:
        """The value of an expression, awaited; None where its page was left meanwhile."""
        try:
            found = self.call(
                "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
            )
        except PageLeft:
            return None
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, **more: Any) -> None:
        """A key, pressed and released."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **more)

    def click(self, selector: str) -> None:
        """The middle of an element, where the mouse would be."""
        box = self.run(f"{selector}.getBoundingClientRect().toJSON()")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=1,
                clickCount=1,
            )

    def sent(self) -> list[str]:
        """What was asked for."""
        return [
            e["params"]["request"]["url"]
            for e in self.events
            if e["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[Any]:
        """Errors and warnings of the page."""
        bad = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [e["params"] for e in self.events if e["method"] in bad]


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    quiet = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    )
    flags = [
        f"--{flag}"
        for flag in f"{quiet} disable-component-update disable-sync remote-debugging-port=0".split()
    ]
    process = subprocess.Popen(
        [CHROMIUM, *flags, f"--user-data-dir={folder}", "--window-size=1400,900", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        file = folder / "DevToolsActivePort"
        port = until(lambda: file.exists() and file.read_text().split("\n")[0], 20)

        def tabs() -> list[str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as reply:
                return [t["webSocketDebuggerUrl"] for t in json.load(reply) if t["type"] == "page"]

        with connect(until(tabs)[0], max_size=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(10)
