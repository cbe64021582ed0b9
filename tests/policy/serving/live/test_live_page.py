"""The page of a run: what it shows, what its buttons do, and who may press them."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, browser, until
from live_node import ARM, PATIENT, STATES, Live, events, nodes, save_small_policy, ticks
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fewstep.envs.control.control_loop import tick_type
from fewstep.envs.control.log_reading import read_all_ticks
from fewstep.envs.control.messages import taken_type
from fewstep.envs.control.telemetry import RunLog
from fewstep.envs.safety.states import State
from fewstep.policy.serving.live.live_feed import LATE_BINS, LiveFeed

HORIZON = 16
STATE = "document.getElementById('state')?.textContent"
CAMERAS = "cameras={front: {source: simulated, width: 64, height: 48}}"


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("live") / "policy"
    save_small_policy(path)
    return path


@pytest.fixture
def live(policy: Path, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    with nodes(policy, tmp_path / "out") as start:
        yield start


def address_of(node: Live) -> str:
    return until(lambda: re.search(r"open (http://\S+)", node.said()), 60)[1]


def test_news_are_what_has_come_into_the_log(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    feed = LiveFeed(tmp_path, ARM, HORIZON)
    assert feed.news()["samples"] == []
    t = np.zeros(100, tick_type(3, 1))
    t["time"] = 7 + np.arange(100) / 100
    t["state"] = STATES.index(State.ACTIVE)
    t["lateness"] = 15e-6
    t["lateness"][50] = 0.2
    t["measured"] = np.arange(100)[:, None]
    t["wanted"] = np.nan
    chunk = np.zeros(1, taken_type(HORIZON, 3))
    chunk["actions"] = 0.123456789
    content = t.tobytes()
    log.ticks(content[:1001])  # in the middle of a record
    first = feed.news()
    log.ticks(content[1001:])
    log.chunks(chunk.tobytes())
    log.note("safety", text="hold -> active: asked to")
    log.note("ended", episode=3, why="the time is over")
    news = feed.news()
    samples = first["samples"] + news["samples"]
    assert [round(sample["time"] - 7, 2) for sample in samples] == [k / 20 for k in range(20)]
    assert samples[3]["measured"] == [15.0] * 3 and samples[3]["wanted"] == [None] * 3
    assert news["state"] == "active" and news["chunk"]["actions"][0] == [0.12346] * 3
    assert sum(news["late"]["counts"]) == 100 and news["late"]["counts"][-1] == 1
    assert news["late"]["p99"] == LATE_BINS[1] and news["late"]["most"] == 0.2
    assert news["lines"] == ["hold -> active: asked to", "episode 3: the time is over"]
    assert feed.news()["samples"] == [] and json.dumps(news)
    log.close()


def test_numbers_that_are_none_reach_a_page_as_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    feed = LiveFeed(tmp_path, ARM, HORIZON)
    t = np.zeros(2, tick_type(3, 1))
    t["ages"] = np.inf
    t["time"] = [1.0, np.inf]
    t["measured"] = np.inf
    log.ticks(t.tobytes())
    news = feed.news()
    assert json.loads(json.dumps(news, allow_nan=False))["ages"] == {"joints": None}
    assert [sample["time"] for sample in news["samples"]] == [1.0, None]
    assert news["samples"][0]["measured"] == [None] * 3
    log.close()


@pytest.mark.parametrize("shadow", [True, False])
def test_rearm_leaves_a_fault_and_does_nothing_else(
    live: Callable[..., Live], shadow: bool
) -> None:
    node = live(*PATIENT, f"shadow={str(shadow).lower()}", "seconds=3")
    address = address_of(node)
    acting = STATES.index(State.SHADOW if shadow else State.ACTIVE)
    until(lambda: acting in read_all_ticks(node.out)["state"], 60)
    socket = address.replace("http", "ws") + "hand"
    with connect(socket, origin=address.rsplit("/", 2)[0]) as page:
        assert ("rearm" in json.loads(page.recv(5))["buttons"]) == (not shadow)
        for word in ("rearm", "arm"):
            page.send(json.dumps({"press": word}))
    assert node.end() == 0
    [ended] = [e for e in events(node.out) if e["event"] == "ended"]
    assert ended["why"] == "the time is over"
    if shadow:
        assert STATES.index(State.HOLD) not in read_all_ticks(node.out)["state"]


def test_a_strangers_page_sees_and_presses_nothing(live: Callable[..., Live]) -> None:
    node = live(*PATIENT)
    address = address_of(node)
    socket = address.replace("http", "ws") + "hand"
    wrong_secret = re.sub(r"/[0-9a-f]{32}/", f"/{'0' * 32}/", socket)
    for url, origin in ((socket, "http://evil.example"), (socket, None), (wrong_secret, None)):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, origin=origin)
        assert refused.value.response.status_code == 403
    node.acting()
    with connect(socket, origin=address.rsplit("/", 2)[0]) as page:
        for word in ("[", '{"press": "dance"}', '{"press": ["hold"]}', "7", '{"press": {}}'):
            page.send(word)
        until(lambda: len(page.recv(5)) > 0)
    assert not [e for e in events(node.out) if e["event"] == "pressed"]
    assert ticks(node.out)["state"][-1] == STATES.index(State.ACTIVE)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_a_run_and_holds_it(live: Callable[..., Live], tmp_path: Path) -> None:
    node = live(*PATIENT, CAMERAS, "episodes=2")
    address = address_of(node)
    with browser(tmp_path / "chromium") as tab:
        tab.call("Page.navigate", url=address)
        until(lambda: tab.run(STATE) == "ACTIVE")
        until(lambda: tab.run("samples.length > 20 && latest.actions.length") == HORIZON)
        size = "plots[0].canvas.width, plots[0].canvas.height"
        drawn = f"plots[0].canvas.getContext('2d').getImageData(0, 0, {size}).data.some(x => x)"
        assert tab.run(drawn) and tab.run("plots.length") == 3
        until(lambda: tab.run("cameras.get('front').canvas.width") == 320)
        assert "old" in tab.run("document.getElementById('facts').textContent")
        tab.press("h")
        until(lambda: "the operator has ended it: hold" in node.said())
        assert node.end() == 0
        assert all(url.startswith((address, "data:")) for url in tab.sent())
        assert not tab.complaints()
    pressed = [e["button"] for e in events(node.out) if e["event"] == "pressed"]
    assert pressed == ["hold"]
    begun = [e for e in events(node.out) if e["event"] == "begins"]
    assert len(begun) == 1, "nobody attends, so nothing begins after a hold"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_stop_brakes_and_ends_the_run(live: Callable[..., Live], tmp_path: Path) -> None:
    node = live(*PATIENT)
    address = address_of(node)
    node.acting()
    with browser(tmp_path / "chromium") as tab:
        tab.call("Page.navigate", url=address)
        until(lambda: tab.run(STATE) == "ACTIVE")
        tab.click("document.querySelector('button.stop')")
        assert node.end() != 0
        until(lambda: tab.run(STATE) == "DISCONNECTED")
        assert tab.run("document.querySelector('button.stop').disabled")
    last = ticks(node.out)[-3:]
    assert np.ptp(last["sent"], axis=0).max() == 0, "it came to rest"
    assert "stopped" in {e["event"] for e in events(node.out)}


def test_a_run_without_a_page_prints_no_address(live: Callable[..., Live]) -> None:
    node = live(*PATIENT, "page=false", "seconds=1")
    assert node.end() == 0 and "http://" not in node.said()
