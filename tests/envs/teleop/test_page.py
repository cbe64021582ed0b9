"""The page for recording by hand.

What it hears, whom it refuses, and ten episodes recorded in a browser.
"""

import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytest.importorskip("mujoco")
from chromium import CHROMIUM, browser, until

from fewstep.demos import DemoStore
from fewstep.envs import ConfigError
from fewstep.envs.sim.pick_place_expert import SPEED, FingertipTool
from fewstep.envs.sim.push_t_geometry import SPEC
from fewstep.envs.sim.registry import make_robot
from fewstep.envs.teleop.drive import RANGE_SECONDS, Axes
from fewstep.envs.teleop.web_page import FRAME_RATE, Page
from fewstep.policy.cli.main import main


class Served:
    """A page for Push-T, whose picture is just the board, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.page = Page(Axes(SPEC), port=0, clock=lambda: self.now)
        self.host = urlsplit(self.page.address).netloc

    def connect(self, origin: str | None = "own", address: str = "", **more: Any) -> Any:
        where = (address or self.page.address).replace("http", "ws")
        known: Any = f"http://{urlsplit(where).netloc}" if origin == "own" else origin
        return connect(f"{where}hand", origin=known, **more)

    def moves(self, ticks: int, dt: float = 0.1) -> np.ndarray:
        out = []
        for _ in range(ticks):
            self.now += dt
            out.append(self.page.read().move)
        return np.array(out)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    made.page.read()
    yield made
    made.page.close()


def say(socket: Any, served: Served, *messages: Any) -> None:
    """Send, and wait until all is heard: messages are heard in order."""
    for message in messages:
        socket.send(json.dumps(message))
    socket.send(json.dumps({"word": "discard"}))
    until(served.page._said.qsize)
    served.page._said.get()


def test_what_is_dragged_is_done_in_full_however_fast_it_was_dragged(served: Served) -> None:
    with served.connect() as socket:
        say(socket, served, {"drag": [0.2, 0.2, 0.5, 0.3]}, {"drag": [0.5, 0.3, 0.7, 0.1]})
        moves = served.moves(60)
    assert np.abs(moves).max() == 1
    went = moves.sum(0) * 0.1 * 512 / RANGE_SECONDS
    np.testing.assert_allclose(went[:2], [256, -51.2], atol=1e-6)
    assert not moves[-1].any()


def test_keys_move_while_they_are_down_and_a_page_that_goes_away_lets_go(served: Served) -> None:
    with served.connect() as socket:
        say(socket, served, {"key": "w", "down": True}, {"drag": [0, 0, 1, 1]})
        assert served.moves(2)[-1][0] == 1
        say(socket, served, {"key": "e", "down": True}, {"key": "e", "down": False})
        assert served.moves(1)[0][6] == 0
    until(lambda: not served.page._audience.watched)
    assert not served.moves(3).any()


RUBBISH = [
    "",
    "[",
    "[1]",
    '"start"',
    "{}",
    '{"word": "fly"}',
    '{"key": "w"}',
    '{"key": ["w"], "down": true}',
]
RUBBISH += ["[" * 4096, b"\xff", b""]
RUBBISH += [
    '{"drag": 1}',
    '{"drag": ["a", 0, 0, 0]}',
    '{"drag": [NaN, 0, 0, 1e999]}',
    '{"drag": [0, 0, 0]}',
]


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_rubbish_moves_nothing_and_the_page_is_still_heard(
    served: Served, rubbish: str | bytes
) -> None:
    with served.connect() as socket:
        socket.send(rubbish)
        say(socket, served)
        assert not served.moves(2).any()


def test_words_are_heard_once(served: Served) -> None:
    with served.connect() as socket:
        socket.send(json.dumps({"word": "start"}))
        until(served.page._said.qsize)
        assert [served.page.read().events for _ in range(2)] == [("start",), ()]


def test_a_second_operator_looks_on_until_the_first_goes(served: Served) -> None:
    with served.connect() as second:
        for harmless in ({"key": "w", "down": False}, {"text": "I only look"}, [1]):
            second.send(json.dumps(harmless))  # as a page that loses the focus does
        with served.connect() as first:
            say(first, served, {"key": "w", "down": True})
            second.send(json.dumps({"key": "s", "down": True}))
            second.send(json.dumps({"word": "start"}))
            for _ in range(2):
                told = until(lambda: json.loads(second.recv(5)).get("text"))
                assert "another page has the hand" in told
            assert served.moves(2)[-1][0] == 1 and not served.page._said.qsize()
        until(lambda: len(served.page._audience._outboxes) == 1)
        assert not served.moves(2).any()
        say(second, served, {"key": "s", "down": True})
        assert served.moves(2)[-1][0] == -1


# Who may come in


def ask(address: str, **headers: str) -> tuple[int, Any, str]:
    """Status, headers and content."""
    asked = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=5) as reply:
            return reply.status, reply.headers, reply.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read().decode()


ORIGINS = [None, "null", "http://evil.example", "http://127.0.0.1:1", "https://{host}", "http://["]


@pytest.mark.parametrize("origin", ORIGINS)
def test_only_the_page_itself_is_heard(served: Served, origin: str | None) -> None:
    with (
        pytest.raises(InvalidStatus, match="403"),
        served.connect(origin and origin.format(host=served.host)),
    ):
        pass


def secret_of(served: Served) -> str:
    return urlsplit(served.page.address).path.strip("/")


def wrong_secrets(served: Served) -> list[str]:
    own = secret_of(served)
    return [
        "",
        own[:-1],
        own + "0",
        own.upper(),
        "0" * len(own),
        "%2e",
        "..",
        f"x/../{own}",
        "\u00fc".encode().hex(),
    ]


def test_nothing_is_served_without_the_secret(served: Served) -> None:
    for secret in wrong_secrets(served):
        for rest in ("", "/", "/hand", "/etc/passwd"):
            status, headers, content = ask(f"http://{served.host}/{secret}{rest}")
            assert (status, headers["Content-Type"]) == (403, "text/plain; charset=utf-8"), (
                secret,
                rest,
            )
            assert secret_of(served) not in content + str(headers)
        with (
            pytest.raises(InvalidStatus, match="403"),
            served.connect(address=f"http://{served.host}/{secret}/"),
        ):
            pass
    assert ask(served.page.address + "etc/passwd")[0] == 404
    assert ask(served.page.address.rstrip("/"))[0] == 403


def test_other_names_for_this_machine_are_refused_and_a_tunnel_is_not(served: Served) -> None:
    status, _, content = ask(served.page.address, Host="evil.example")
    assert status == 403 and secret_of(served) not in content
    for host in ("localhost:9000", "127.0.0.1:9000", "localhost"):
        assert ask(served.page.address, Host=host)[0] == 200
    with socket.create_connection(urlsplit(served.page.address).netloc.split(":")) as tunnel:
        address = f"http://localhost:9000/{secret_of(served)}/"
        with served.connect(address=address, sock=tunnel) as client:
            assert json.loads(client.recv(5)) == {"axes": ["x", "y"]}


def test_every_start_has_a_secret_of_its_own_that_cannot_be_guessed(served: Served) -> None:
    other = Served()
    other.page.close()
    assert secret_of(other) != secret_of(served)
    assert len(bytes.fromhex(secret_of(served))) >= 16


def test_the_page_needs_nothing_from_elsewhere_and_cannot_be_framed(served: Served) -> None:
    _, headers, html = ask(served.page.address)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    nonce = re.fullmatch("'nonce-(.{20,})'", policy["script-src"])
    assert (
        nonce and f'<script nonce="{nonce[1]}">' in html and f'<style nonce="{nonce[1]}">' in html
    )
    assert (policy["default-src"], policy["frame-ancestors"], policy["connect-src"]) == (
        "'none'",
        "'none'",
        "'self'",
    )
    assert (headers["X-Frame-Options"], headers["Referrer-Policy"]) == ("DENY", "no-referrer")
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert "http://" not in html and "https://" not in html
    assert secret_of(served) not in html


def test_who_comes_later_hears_what_was_said_last(served: Served) -> None:
    served.page.log("before")
    served.page.log("recording episode 3", recording=True)
    for _ in range(2):
        with served.connect() as client:
            assert "axes" in json.loads(client.recv(5))
            assert json.loads(client.recv(5)) == {"text": "recording episode 3", "recording": True}


def test_pictures_go_out_no_faster_than_they_should(served: Served) -> None:
    drawn: list[int] = []

    def picture() -> np.ndarray:
        drawn.append(1)
        return np.zeros((8, 8, 3), np.uint8)

    served.page.show(picture)
    assert not drawn, "nobody looks"
    with served.connect() as socket:
        until(lambda: served.page._audience.watched)
        for _ in range(10):
            served.now += 0.51 / FRAME_RATE
            served.page.show(picture)
        assert len(drawn) == 5
        assert json.loads(socket.recv(5)) == {"axes": ["x", "y"]}
        assert socket.recv(5)[:2] == b"\xff\xd8"


def test_where_a_hand_points_is_where_the_camera_sees_it() -> None:
    robot: Any = make_robot("pickplace")
    tool = FingertipTool()
    robot.reset(0)
    measured = np.concatenate([robot.observe().data["joints"], [0.05]]).astype(float)
    tool.follow(measured, measured, np.zeros(7), 0.05)
    data, model = robot.env.unwrapped.data, robot.env.unwrapped.model
    tip, camera = data.site("tcp").xpos, model.camera("scene").id
    seen = (tip - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    half = np.tan(np.radians(model.cam_fovy[camera]) / 2)
    place = np.array(
        [0.5 + seen[0] / -seen[2] / half / 2 * 3 / 4, 0.5 - seen[1] / -seen[2] / half / 2]
    )
    np.testing.assert_allclose(tool.ground(place[None])[0], tip[:2], atol=2e-3)
    assert tool.speed[0] == SPEED
    robot.close()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")
def test_a_browser_reloads_the_page_shows_it_in_no_frame_and_tells_nobody_where_it_was(
    served: Served, tmp_path: Path
) -> None:
    other, state = Served(), "document.getElementById('state')?.textContent"
    with browser(tmp_path / "chromium") as tab:
        tab.call("Page.navigate", url=served.page.address)
        until(lambda: tab.run(state) == "ready")
        served.page.log("recording episode 3", recording=True)
        until(lambda: tab.run(state) == "recording")
        tab.call("Page.reload")
        until(lambda: tab.run(f"performance.navigation.type === 1 && {state}") == "recording")
        tab.run(f"location.href = '{other.page.address}'; 0")
        until(lambda: tab.run(f"location.href === '{other.page.address}' && {state}") == "ready")
        assert tab.run("document.referrer") == ""
        tab.call("Page.navigate", url="about:blank")
        tab.run(f"document.body.innerHTML = '<iframe src={served.page.address}></iframe>'; 0")
        assert until(lambda: framed(tab)).startswith("chrome-error:")
    other.page.close()


def framed(tab: Any) -> str:
    """Where the first frame within the page went."""
    frames = tab.call("Page.getFrameTree")["frameTree"].get("childFrames", [])
    url = frames[0]["frame"]["url"] if frames else ""
    return "" if url == "about:blank" else url


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")
def test_ten_episodes_recorded_in_a_browser_train_without_further_steps(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "fewstep.policy.cli.main",
        "record",
        "task=pickplace",
        "teleop=page",
        "port=0",
    ]
    sitting = subprocess.Popen(
        [*command, f"data={tmp_path}/demos", "episodes=10"], stdout=subprocess.PIPE, text=True
    )
    assert sitting.stdout
    try:
        address = re.search(r"open (\S+)", sitting.stdout.readline())
        assert address
        with browser(tmp_path / "chromium") as tab:
            tab.call("Page.navigate", url=address[1])
            until(lambda: tab.run("document.getElementById('scene')?.naturalWidth > 0"), 20)
            for _ in range(10):
                record(tab)
            until(lambda: sitting.poll() is not None, 20)
            assert not tab.complaints()
            host = address[1].split("/")[2]
            assert all(
                host in url or url.startswith(("blob:", "data:", "about:")) for url in tab.sent()
            )
    finally:
        sitting.terminate()
        sitting.wait(20)
        sitting.stdout.close()
    store = DemoStore.open(tmp_path / "demos")
    assert (len(store), set(store.success)) == (10, {True})
    moved = [np.ptp(store.episode(i).data["joints"], axis=0).max() for i in range(10)]
    assert min(moved) > 0.02, "the hand moved the arm in every episode"
    small = ["model.net.channels=[16,32]", "model.net.groups=4", "steps=3", "threads=1"]
    small += ["model.action_steps=2", "model.horizon=4", "export=false"]
    assert main(["train", f"data={tmp_path}/demos", f"out={tmp_path}/run", *small]) == 0


def record(tab: Any) -> None:
    """One episode: start, drag, success."""
    shown = "document.getElementById('state')?.textContent"
    until(lambda: tab.run(shown) == "ready")
    tab.click("document.querySelector('[data-word=start]')")
    until(lambda: tab.run(shown) == "recording")
    box = tab.run("document.getElementById('scene').getBoundingClientRect().toJSON()")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def mouse(kind: str, dx: float) -> None:
        tab.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + dx,
            y=y,
            button="left",
            buttons=1,
            clickCount=1,
        )

    mouse("mousePressed", 0)
    for k in range(8):
        mouse("mouseMoved", 8 * k)
        tab.run("new Promise(done => setTimeout(done, 40))")
    mouse("mouseReleased", 56)
    tab.run("new Promise(done => setTimeout(done, 300))")
    tab.click("document.querySelector('[data-word=success]')")


def test_a_port_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="port must be 0"):
        Page(Axes(SPEC), port=99_999)
