"""The page on which demonstrations are sorted out.

What it shows is what is stored, and only it can mark.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, browser, until
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewstep.demos import DemoStore, Episode
from fewstep.demos.storage.curation import FILE, Curation, read_curation
from fewstep.demos.viewer.catalogue import Sight
from fewstep.demos.viewer.curves import extremes, panels
from fewstep.demos.viewer.server import PAGE, Server
from fewstep.envs import ConfigError, DataError, Field, Spec
from fewstep.policy.cli.main import main

SPEC = Spec(
    {
        "q": Field((2,), "rad", names=("pan", "tilt")),
        "top": Field((8, 6, 3), kind="image"),
        "force": Field((1,), "N"),
    },
    {"arm": Field((2,), "rad", measured_by="q"), "grip": Field((1,), kind="discrete")},
    10,
)
MARKUP = "</script><b>&"  # a name that would end the script it stands in


def make(number: int, frames: int = 20, **changes: Any) -> Episode:
    t = np.arange(frames) / 10
    q = np.stack([np.sin(t + number), np.cos(t * 2 + number)], 1)
    action = np.column_stack([q + 0.01, t > 1])
    pictures = (
        np.full((frames, 8, 6, 3), 10 * number % 200, np.uint8)
        + np.arange(frames, dtype=np.uint8)[:, None, None, None]
    )
    data = {"q": q, "top": pictures, "force": t[:, None] ** 2 + number, "action": action, "time": t}
    return Episode(data | changes, SPEC, [True, False, None][number % 3])


def store_of(path: Path, episodes: int = 5, images: str = "jpeg", **changes: Any) -> Path:
    with DemoStore.create(path, SPEC, {"task": MARKUP}, images) as store:
        store.append(*(make(i, **changes) for i in range(episodes)))
    return path


@contextmanager
def serving(path: Path, sights: Sequence[Sight] = ()) -> Iterator[Server]:
    with Server(path, sights=sights) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(store_of(tmp_path / "demos")) as started:
        yield started


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that nothing changes: whatever it is asked for, it refuses."""
    with serving(store_of(tmp_path_factory.mktemp("view") / "demos")) as started:
        yield started
        assert not (started.catalogue.path / FILE).exists()


def ask(
    server: Server, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(
        method,
        f"/{server.address.secret}{path}",
        body if isinstance(body, bytes | None) else json.dumps(body),
        sent,
    )
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply, content


def get(server: Server, path: str) -> Any:
    reply, content = ask(server, path)
    assert reply.status == 200, content
    return json.loads(content)


def own(server: Server) -> dict[str, str]:
    """The headers of what the page itself posts."""
    return {
        "Origin": f"http://127.0.0.1:{server.server_address[1]}",
        "Content_Type": "application/json",
    }


def mark(server: Server, episode: int, **change: Any) -> Any:
    reply, content = ask(server, "/curation", "POST", {"episode": episode, **change}, **own(server))
    assert reply.status == 200, content
    return json.loads(content)


def summary(server: Server) -> dict[str, Any]:
    page = ask(server, "/")[1].decode()
    return json.loads(
        re.findall(r'<script type="application/json" id="summary">(.*?)</script>', page)[0]
    )


def findings(server: Server) -> dict[str, Any]:
    return until(lambda: report if not (report := get(server, "/findings"))["running"] else None)


# What is shown


def test_the_page_comes_with_a_summary_of_all_episodes(server: Server) -> None:
    mark(server, 3, deleted=True)
    mark(server, 2, judged="failure")
    found = summary(server)
    assert (
        found["frames"] == [20] * 5
        and found["seconds"] == [1.9] * 5
        and found["rate"] == [10.0] * 5
    )
    assert found["success"] == [True, False, False, True, False]
    assert found["judged"] == ["recorded", "recorded", "failure", "recorded", "recorded"]
    assert found["deleted"] == [False, False, False, True, False]
    assert found["cameras"] == [{"key": "top", "height": 8, "width": 6}]
    assert found["provenance"] == {"task": MARKUP}, "and the page was not ended by it"


def test_the_page_may_ask_nobody_else_and_runs_its_own_script_only(server: Server) -> None:
    reply, content = ask(server, "/")
    policy = dict(
        part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; ")
    )
    nonce = re.fullmatch("'nonce-(.{20,})'", policy["script-src"])[1]
    assert (
        policy["default-src"] == "'none'"
        and policy["connect-src"] == "'self'"
        and "http" not in str(policy)
    )
    assert (
        f'<script nonce="{nonce}">' in content.decode()
        and f'<style nonce="{nonce}">' in content.decode()
    )
    assert nonce not in ask(server, "/")[0].headers["Content-Security-Policy"]
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?:|\son\w+=",
        PAGE.read_text(),
    )


def test_curves_are_the_numbers_of_the_store(server: Server) -> None:
    found, episode = get(server, "/episode/2/500"), make(2)
    assert found["step"] == 1
    want = [*episode.data["q"].T, *episode.data["force"].T, *episode.data["action"].T]
    np.testing.assert_allclose(found["series"][:-1], want, rtol=1e-5, atol=1e-6)
    assert found["series"][-1][0] is None and found["series"][-1][1:] == pytest.approx([100] * 19)
    assert get(server, "/episode/2/10")["step"] == 2
    np.testing.assert_allclose(
        get(server, "/starts"), [np.array(x) for x in zip(*starts(5), strict=True)], rtol=1e-5
    )


def starts(episodes: int) -> list[list[float]]:
    return [[*make(i).data["q"][0], *make(i).data["force"][0]] for i in range(episodes)]


def test_numbers_that_are_none_are_gaps(tmp_path: Path) -> None:
    bad = np.array([[0.0], [np.nan], [np.inf], *[[1.0]] * 17])
    with serving(store_of(tmp_path / "demos", force=bad)) as server:
        assert get(server, "/episode/0/500")["series"][2][:4] == [0.0, None, None, 1.0]
        assert get(server, "/episode/0/10")["series"][2][:6] == [None, None, 1.0, None, 1.0, 1.0]


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=60), st.integers(2, 20))
def test_fewer_points_keep_every_extreme(values: list[float], step: int) -> None:
    found = extremes(np.array(values)[:, None], step)[:, 0]
    parts = [values[i : i + step] for i in range(0, len(values), step)]
    assert found.tolist() == [x for part in parts for x in (min(part), max(part))]


def test_what_is_commanded_is_drawn_over_what_measures_it() -> None:
    found = {
        (p["field"], p["name"]): (p["observed"], p["commanded"], p["unit"]) for p in panels(SPEC)
    }
    assert found == {
        ("q", "pan"): (0, 3, "rad"),
        ("q", "tilt"): (1, 4, "rad"),
        ("action grip", ""): (None, 5, ""),
        ("force", ""): (2, None, "N"),
        ("time between frames", ""): (6, None, "ms"),
    }


@pytest.mark.parametrize("images", ["jpeg", "lossless"])
def test_pictures_are_those_of_the_episode_and_asked_for_once(tmp_path: Path, images: str) -> None:
    with serving(store_of(tmp_path / "demos", images=images)) as server:
        reply, content = ask(server, "/picture/3/0/7")
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/jpeg")
        assert (
            "immutable" in reply.headers["Cache-Control"]
            and "max-age" in reply.headers["Cache-Control"]
        )
        assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert abs(np.asarray(Image.open(BytesIO(content))).astype(int) - 37).max() <= 2
        if images == "jpeg":
            assert (
                content == DemoStore.open(server.catalogue.path).pictures("top").encoded[3 * 20 + 7]
            )


def test_what_somebody_else_sees_is_drawn_after_the_cameras(tmp_path: Path) -> None:
    def brighten(picture: np.ndarray) -> np.ndarray:
        assert picture.shape == (8, 6, 3)
        return np.repeat(picture + 100, 2, axis=0)

    sight = Sight("top", "top, as seen", (16, 6), brighten)
    with serving(store_of(tmp_path / "demos"), [sight]) as server:
        assert [camera["key"] for camera in summary(server)["cameras"]] == ["top", "top, as seen"]
        assert summary(server)["cameras"][1] == {"key": "top, as seen", "height": 16, "width": 6}
        reply, content = ask(server, "/picture/3/1/7")
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/jpeg")
        shown = np.asarray(Image.open(BytesIO(content)))
        assert shown.shape == (16, 6, 3) and abs(shown.astype(int) - 137).max() <= 2
        reply, content = ask(server, "/picture/3/2/7")
        assert reply.status == 404 and b"there is no camera 2, but 2 of them" in content


def test_findings_come_later_and_name_episodes_as_they_were_recorded(tmp_path: Path) -> None:
    path = store_of(tmp_path / "demos", 2)
    with DemoStore.open(path, "a") as store:
        store.append(
            make(2, force=np.full((20, 1), np.nan)), make(3, force=np.full((20, 1), np.nan))
        )
    with serving(path) as server:

        def broken() -> list[int]:
            found = findings(server)["findings"]
            return [
                n
                for f in found
                if (f["level"], f["key"]) == ("error", "force")
                for n, _ in f["places"]
            ]

        assert broken() == [2, 3]
        mark(server, 0, deleted=True)
        mark(server, 2, deleted=True)
        assert broken() == [3]
        for number in (1, 3):
            mark(server, number, deleted=True)
        assert findings(server) == {"running": False, "findings": [], "error": ""}


def test_an_empty_store_has_a_page(tmp_path: Path) -> None:
    DemoStore.create(tmp_path / "demos", SPEC).close()
    with serving(tmp_path / "demos") as server:
        assert summary(server)["frames"] == [] and get(server, "/starts") == []
        assert findings(server)["findings"] == []
        assert ask(server, "/episode/0/100")[0].status == 404


# What is marked


def test_a_curation_is_written_and_taken_back(server: Server) -> None:
    path, before = server.catalogue.path, summary(server)
    assert mark(server, 1, deleted=True) == {
        "episode": 1,
        "deleted": True,
        "success": False,
        "judged": "recorded",
    }
    assert mark(server, 1, judged="success")["success"] is True
    assert mark(server, 0, judged="unjudged") == {
        "episode": 0,
        "deleted": False,
        "success": None,
        "judged": "unjudged",
    }
    assert read_curation(path) == Curation(frozenset({1}), {0: None, 1: True})
    assert (
        DemoStore.open(path).numbers.tolist() == [0, 2, 3, 4]
        and DemoStore.open(path).success[0] is None
    )
    mark(server, 1, deleted=False)
    for number in (0, 1):
        mark(server, number, judged="recorded")
    assert read_curation(path) == Curation() and summary(server) == before


def test_a_recording_goes_on_while_episodes_are_curated(server: Server) -> None:
    path = server.catalogue.path
    with DemoStore.open(path, "a") as store:
        mark(server, 4, deleted=True)
        store.append(make(5, 7))
        assert ask(server, "/episode/6/100")[0].status == 404
        assert summary(server)["frames"] == [20] * 5 + [7], "a reload shows it"
        mark(server, 5, judged="failure")
        store.append(make(6, 9))
    assert summary(server)["frames"] == [20] * 5 + [7, 9] and summary(server)["deleted"][4]
    assert ask(server, "/picture/6/0/8")[0].status == 200
    assert len(DemoStore.open(path)) == 6 and DemoStore.open(path).success[4] is False


# Who may ask


def without_secret(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(
        method, path, b'{"episode": 0, "deleted": true}' if method == "POST" else None, headers
    )
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply, content


PATHS = [
    "/",
    "/starts",
    "/findings",
    "/episode/0/100",
    "/picture/0/0/0",
    "/curation",
    "/etc/passwd",
    "",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_served_without_the_secret(untouched: Server, path: str) -> None:
    own, origin = untouched.address.secret, f"http://127.0.0.1:{untouched.server_address[1]}"
    wrong = [
        "",
        "/" + own[:-1],
        "/" + own + "0",
        "/" + own.upper(),
        "/" + "0" * 32,
        f"/x/../{own}",
        f"/%2e/{own}",
    ]
    for prefix in [*wrong, untouched.url[:-1].replace(own, "x")]:
        asked = [("GET", {}), ("POST", {"Origin": origin, "Content-Type": "application/json"})]
        for method, headers in asked:
            reply, content = without_secret(untouched, prefix + path or "/", method, **headers)
            assert (reply.status, reply.headers["Content-Type"]) == (403, "application/json"), (
                prefix,
                method,
            )
            assert json.loads(content).keys() == {"error"} and own not in content.decode() + str(
                reply.headers
            )
    assert without_secret(untouched, "/" + own)[0].status == 403


def test_every_start_has_a_secret_of_its_own_that_leaks_nowhere(server: Server) -> None:
    with Server(server.catalogue.path) as other:
        assert other.address.secret != server.address.secret
    assert len(bytes.fromhex(server.address.secret)) >= 16
    reply, content = ask(server, "/")
    assert (reply.headers["Referrer-Policy"], reply.headers["X-Frame-Options"]) == (
        "no-referrer",
        "DENY",
    )
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    assert server.address.secret not in content.decode() + str(reply.headers) + repr(server.address)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "", "[::1"]
)
@pytest.mark.parametrize("path", ["/", "/findings", "/picture/0/0/0"])
def test_other_names_for_this_machine_are_refused(untouched: Server, host: str, path: str) -> None:
    reply, content = ask(untouched, path, Host=host.format(port=untouched.server_address[1]))
    assert reply.status == 403 and untouched.address.secret not in content.decode()


def test_localhost_and_a_tunnel_are_not(server: Server) -> None:
    assert ask(server, "/", Host="localhost:9000")[0].status == 200
    headers = own(server) | {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
    assert (
        ask(server, "/curation", "POST", {"episode": 0, "deleted": True}, **headers)[0].status
        == 200
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_only_the_page_itself_curates(untouched: Server, changes: dict[str, str | None]) -> None:
    port = untouched.server_address[1]
    headers = {
        k: v.format(port=port) for k, v in (own(untouched) | changes).items() if v is not None
    }
    assert (
        ask(untouched, "/curation", "POST", {"episode": 0, "deleted": True}, **headers)[0].status
        == 403
    )


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/etc/passwd",
            "/../curation.json",
            "/%2e%2e/curation.json",
            "/view.html",
            "/curation",
            "/starts/",
            "/?x",
        ),
        *(
            "/episode/-1/100",
            "/episode/5/100",
            "/episode/1e3/100",
            "/episode/%D9%A3/100",
            "/episode/0",
            "/episode/0/x",
        ),
        *(
            "/picture/0/1/0",
            "/picture/0/0/20",
            "/picture/0/top/0",
            "/picture/0/0/../0",
            "/picture/0/0/0?x",
        ),
        "/episode/" + "9" * 400 + "/100",
    ],
)
def test_paths_that_the_page_does_not_know_do_not_exist(untouched: Server, path: str) -> None:
    reply, content = ask(untouched, path)
    assert reply.status == 404 and json.loads(content)["error"].startswith("there is no"), content


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "a decision is JSON"),
        (b"\xff", 400, "a decision is JSON"),
        ([], 400, "a JSON object"),
        ({"deleted": True}, 400, "the number of its episode"),
        ({"episode": True, "deleted": True}, 400, "the number of its episode"),
        ({"episode": -1, "deleted": True}, 400, "the number of its episode"),
        ({"episode": 5, "deleted": True}, 404, "no episode 5, but 5"),
        ({"episode": 0}, 400, "judged .failure, recorded, success, unjudged"),
        ({"episode": 0, "deleted": 1}, 400, "deleted .true, false"),
        ({"episode": 0, "deleted": True, "judged": "success"}, 400, "a decision is deleted"),
        ({"episode": 0, "judged": None}, 400, "valid: failure, success, unjudged"),
        ({"episode": 0, "judged": ["x" * 2000]}, 413, "at most 1000 bytes"),
    ],
)
def test_a_curation_that_makes_no_sense_is_refused(
    untouched: Server, body: Any, status: int, message: str
) -> None:
    reply, content = ask(untouched, "/curation", "POST", body, **own(untouched))
    assert reply.status == status and re.search(message, json.loads(content)["error"])
    assert ask(untouched, "/elsewhere", "POST", {}, **own(untouched))[0].status == 404
    assert (
        ask(untouched, "/curation", "POST", {}, **own(untouched) | {"Content_Type": "text/plain"})[
            0
        ].status
        == 400
    )
    assert ask(untouched, "/", "PUT", {})[0].status == 501


# What goes wrong


def test_damage_is_told_and_does_not_end_the_server(server: Server) -> None:
    path = server.catalogue.path
    (path / "data/force/c/0/0").write_bytes(b"no chunk")
    (path / "data/top/bytes/c/0").write_bytes(b"")
    for place, what in [
        ("/episode/0/100", "data/force/c/0/0 is damaged"),
        ("/picture/0/0/0", "ends too early"),
    ]:
        reply, content = ask(server, place)
        assert reply.status == 500 and what in json.loads(content)["error"]
    mark(server, 0, deleted=True)
    assert "data/force/c/0/0 is damaged" in findings(server)["error"]


@pytest.mark.filterwarnings("ignore::fewstep.envs.FewstepWarning")
def test_a_damaged_curation_is_told_on_the_page_which_goes_on(server: Server) -> None:
    path = server.catalogue.path
    assert summary(server)["warning"] == ""
    (path / FILE).write_text("{")
    assert f"{FILE} is damaged" in summary(server)["warning"]
    assert mark(server, 0, deleted=True)["deleted"]
    assert summary(server)["warning"] == "" and summary(server)["deleted"][0]
    assert (path / f"{FILE}.damaged").read_text() == "{"


def test_a_store_that_is_none_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="no demonstrations at"):
        Server(tmp_path / "demos")
    assert main(["view", f"data={tmp_path / 'demos'}"]) == 1
    assert "no demonstrations at" in capsys.readouterr().err


def test_a_port_that_is_taken_is_passed_over(server: Server) -> None:
    port, path = server.server_address[1], server.catalogue.path
    with Server(path, port=port) as other:
        assert port < other.server_address[1] < port + 20
    with pytest.raises(ConfigError, match=r"cannot listen at 203\.0\.113\.1, ports 8008 to 8027"):
        Server(path, "203.0.113.1", 8008)
    for host, at, message in [
        ("0.0.0.0", 0, "one address"),
        ("127.0.0.1", 70000, "0 .any. to 65535"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Server(path, host, at)


def test_the_verb_says_where_the_page_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    assert main(["view", f"data={store_of(tmp_path / 'demos')}", "port=0"]) == 0
    assert re.search(
        r"demos: look at http://127\.0\.0\.1:\d+/[0-9a-f]{32}/ ", capsys.readouterr().out
    )


def test_a_policy_that_does_not_fit_is_refused(tmp_path: Path, capsys) -> None:
    data = f"data={store_of(tmp_path / 'demos')}"
    assert main(["view", data, "port=0", "policy=pusht"]) == 1
    assert "does not fit the demonstrations at" in capsys.readouterr().err


# In a browser


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 episodes of 40 frames."""
    return store_of(tmp_path_factory.mktemp("view") / "demos", 1000, "lossless", frames=40)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")
def test_a_person_sorts_a_thousand_episodes_out(thousand: Path, tmp_path: Path) -> None:
    with serving(thousand) as server, browser(tmp_path / "chromium") as tab:
        title = "document.getElementById('title').textContent"
        tab.call("Page.navigate", url=server.url)
        ready = f"{title} === 'Episode 0' && values.length === 5 && starts !== null"
        until(
            lambda: tab.run(f"(() => {{ try {{ return {ready}; }} catch {{ return false; }} }})()"),
            20,
        )

        tab.click("document.querySelector('tr[data-number=\"3\"]')")
        until(lambda: tab.run(f"{title} === 'Episode 3' && document.querySelector('img').complete"))
        tab.press("ArrowRight")
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            tab.press(key, modifiers=8)  # with shift
        assert (
            tab.run("document.getElementById('time').textContent")
            == "1.10 of 3.90 s · frame 11 of 40"
        )
        until(lambda: any(url.endswith("/picture/3/0/11") for url in tab.sent()) or tab.run("0"))
        tilt = DemoStore.open(thousand).array("q", 3 * 40 + 11, 3 * 40 + 12)[0, 1]
        value, shown = (
            "document.querySelectorAll('.value')[1].textContent",
            f"{tilt:.2f}".replace("-", "−"),
        )
        until(lambda: tab.run(value).startswith(shown))

        tab.click("document.getElementById('delete')")
        until(lambda: read_curation(thousand).deleted == {3})
        until(
            lambda: (
                tab.run("document.querySelector('tr[data-number=\"3\"]').className") == "deleted a"
            )
        )
        tab.press("d")
        until(lambda: not read_curation(thousand).deleted)
        tab.press("ArrowDown")
        tab.press("f")
        until(lambda: read_curation(thousand).success == {4: False})
        tab.press("d")
        until(lambda: read_curation(thousand).deleted == {4})
        for _ in range(2):
            until(lambda: tab.run("!document.getElementById('undo').disabled"))
            tab.press("z")
        until(lambda: read_curation(thousand) == Curation())
        tab.press("s")
        until(lambda: read_curation(thousand).success == {4: True})

        tab.press("c")
        tab.press("End")
        tab.run("select(999, 4)")
        until(lambda: any("/episode/999/" in url for url in tab.sent()) or tab.run("0"))
        tab.press(" ")
        until(lambda: tab.run("now.playing !== null && now.frame > 0"))
        assert json.loads((thousand / FILE).read_text()) == {"deleted": [], "success": {"4": True}}
        assert (
            tab.complaints() == [] and tab.run("document.getElementById('say').textContent") == ""
        )
        assert {url for url in tab.sent() if not url.startswith((server.url, "data:,"))} == set()
