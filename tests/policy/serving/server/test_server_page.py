"""The page of a server: who asks, what was observed, and what was answered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, browser, until
from serving_cases import SPEC, PlainEngine, ask, client, observation, served

from fewstep.envs import Field, Spec
from fewstep.policy.cli.main import main
from fewstep.policy.serving.live.live_page import LivePage
from fewstep.policy.serving.server.server_feed import ServerFeed

MEASURED = Spec(
    SPEC.observations,
    {"arm": Field((3,), "rad", measured_by="state")},
    policy_hz=10.0,
)


@pytest.fixture
def feed() -> ServerFeed:
    return ServerFeed(MEASURED, "a policy, served")


class Looking:
    """Whoever looks at a feed, and remembers what was new."""

    def __init__(self, feed: ServerFeed) -> None:
        self._feed = feed
        self.samples: list[dict[str, Any]] = []

    def sees(self, count: int) -> dict[str, Any]:
        """The news, once there are so many samples; they are shown after the reply is sent."""
        while True:
            news = until(self._feed.news)
            self.samples += news["samples"]
            if len(self.samples) >= count:
                return news


def test_what_a_client_observes_and_is_told_is_shown(feed: ServerFeed) -> None:
    looking = Looking(feed)
    assert looking.sees(0)["state"] == "waiting" and feed.pictures()[0].max() == 0
    with served(PlainEngine(MEASURED), feed=feed) as address, client(address) as one:
        for k in range(3):
            assert "actions" in ask(one, observation(k, time=7 + k / 10))
        assert isinstance(ask(one, {"state": np.zeros(3)}), str)
        news = looking.sees(3)
        [(name, chunks)] = news["clients"].items()
        assert news["chosen"] == name and chunks == 3 and news["state"] == "answering"
        measured = [sample["measured"] for sample in looking.samples]
        assert measured == [[float(k)] * 3 for k in range(3)]
        wanted = [sample["wanted"] for sample in looking.samples]
        assert wanted[0] == [None] * 3
        assert wanted[1] == [0.0] * 3, "the second action of the chunk before"
        assert len(news["chunk"]["actions"]) == 8 and sum(news["late"]["counts"]) == 3
        assert "front" in news["lines"][-1]
        assert (feed.pictures()[0] == 7).all()
        assert json.dumps(news) and feed.news()["samples"] == []
    until(lambda: not feed.news()["clients"])
    assert feed.news()["chunk"] is None


def test_time_that_begins_anew_begins_another_strand(feed: ServerFeed) -> None:
    looking = Looking(feed)
    with served(PlainEngine(MEASURED), feed=feed) as address, client(address) as one:
        ask(one, observation(time=5.0))
        before = looking.sees(1)["strand"]
        ask(one, observation(time=5.1))
        assert looking.sees(2)["strand"] == before
        ask(one, observation(time=1.0))
        news = looking.sees(3)
        assert news["strand"] != before and looking.samples[2]["wanted"] == [None] * 3
        assert "the history begins anew" in news["warnings"][0]


def test_one_client_is_looked_at_whoever_else_asks(feed: ServerFeed) -> None:
    looking = Looking(feed)
    with served(PlainEngine(MEASURED), feed=feed) as address, client(address) as one:
        ask(one, observation(1, time=1.0))
        [first] = looking.sees(1)["clients"]
        with client(address) as other:
            ask(other, observation(2, time=1.0))
            assert looking.sees(2)["chosen"] != first
            feed.hear({"choose": first})
            feed.hear({"choose": "nobody"})
            assert looking.sees(3)["chosen"] == first, "its last sample comes along"
            ask(other, observation(3, time=1.1))
            with client(address) as third:
                ask(third, observation(9, time=1.1))
                ask(one, observation(4, time=1.1))
                assert looking.sees(4)["chosen"] == first, "who comes later changes nothing"
    assert [sample["measured"][0] for sample in looking.samples] == [1, 2, 1, 4]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_clients_and_has_no_buttons(feed: ServerFeed, tmp_path: Path) -> None:
    page = LivePage(feed, port=0)
    try:
        with (
            served(PlainEngine(MEASURED), feed=feed) as address,
            client(address) as one,
            client(address) as other,
            browser(tmp_path / "chromium") as tab,
        ):
            tab.call("Page.navigate", url=page.address)
            until(lambda: tab.run("document.getElementById('client')?.options.length") == 2)
            ask(one, observation(1, time=1.0))
            ask(other, observation(2, time=1.0))
            until(lambda: tab.run("samples.at(-1)?.measured[0]") == 2)
            assert tab.run("[...document.querySelectorAll('#buttons button')].every(b => b.hidden)")
            choose = "document.getElementById('client')"
            tab.run(f"{choose}.selectedIndex = 0; {choose}.dispatchEvent(new Event('change')); 0")
            until(lambda: feed.news()["chosen"] == tab.run(f"{choose}.options[0].value"))
            ask(one, observation(3, time=1.1))
            until(lambda: tab.run("samples.at(-1)?.measured[0]") == 3)
            until(lambda: tab.run("cameras.get('front').canvas.width") == 320)
            tab.press("s")
            assert not tab.complaints()
            assert "actions" in ask(one, observation(4, time=1.2)), "no key ends a server"
    finally:
        page.close()


def test_a_port_of_the_page_that_cannot_be_is_told_at_once(capsys) -> None:
    assert main(["serve", "policy=pusht", "page_port=70000"]) == 2
    assert "port must be 0 (any) to 65535, not 70000" in capsys.readouterr().err
