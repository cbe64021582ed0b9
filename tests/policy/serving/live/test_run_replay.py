"""A run that is over, looked at again."""

import json
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, browser, until
from live_node import ARM, STATES

from fewstep.envs import ConfigError, RobotError
from fewstep.envs.control.control_loop import tick_type
from fewstep.envs.control.messages import taken_type
from fewstep.envs.control.telemetry import TICKS, RunLog
from fewstep.envs.safety.states import State
from fewstep.policy.cli.main import main
from fewstep.policy.serving.live.live_page import ReplayPage
from fewstep.policy.serving.live.run_replay import MOST_SAMPLES, describe_run

STATE = "document.getElementById('state')?.textContent"


def write_log(folder: Path, count: int = 400, hz: float = 100.0) -> Path:
    """Two seconds of holding, then of acting, and a chunk at every second."""
    log = RunLog(folder)
    log.facts(ARM, horizon=8, policy="out/policy", robot="my_arm")
    t = np.zeros(count, tick_type(3, 1))
    t["time"] = 50 + np.arange(count) / hz
    t["state"] = STATES.index(State.HOLD)
    t["state"][count // 2 :] = STATES.index(State.ACTIVE)
    t["episode"] = -1
    t["episode"][count // 2 :] = 0
    t["measured"] = np.arange(count)[:, None]
    t["wanted"] = t["limited"] = np.nan
    log.ticks(t.tobytes())
    chunks = np.zeros(4, taken_type(8, 3))
    chunks["time"] = 50 + np.arange(4)
    chunks["taken"], chunks["dt"] = chunks["time"] + 0.01, 0.1
    log.chunks(chunks.tobytes())
    log.event(json.dumps({"event": "begins", "episode": 0, "time": 52.0}).encode())
    log.event(b'{"event": "ended", "time": 5')  # a line that is cut
    log.note("pressed", button="hold")
    log.close()
    return folder


def test_a_run_is_told_as_it_was(tmp_path: Path) -> None:
    told = describe_run(write_log(tmp_path / "run"))
    replay = told["replay"]
    assert told["title"] == "out/policy on my_arm" and len(told["elements"]) == 3
    samples = replay["samples"]
    assert [sample["time"] for sample in samples[:3]] == [50.0, 50.05, 50.1] and len(samples) == 81
    assert samples[1]["measured"] == [5.0] * 3 and samples[1]["wanted"] == [None] * 3
    assert [samples[k]["state"] for k in (0, 39, 40, 79)] == ["hold", "hold", "active", "active"]
    assert samples[-1]["time"] == 53.99, "how it ended"
    assert [chunk["taken"] for chunk in replay["chunks"]] == [50.01, 51.01, 52.01, 53.01]
    assert replay["lines"] == [
        {"time": 52.0, "text": "episode 0 begins"},
        {"time": 52.0, "text": "hold was pressed on the page"},
    ]
    assert sum(replay["late"]["counts"]) == 400 and json.dumps(told)


def test_a_long_run_is_told_with_fewer_samples_a_second(tmp_path: Path) -> None:
    samples = describe_run(write_log(tmp_path / "run", 100_000, 10.0))["replay"]["samples"]
    assert MOST_SAMPLES / 2 < len(samples) <= MOST_SAMPLES + 1
    assert samples[-1]["time"] - samples[0]["time"] > 9_998


@pytest.mark.parametrize("clock", [np.inf, np.nan, 1e12, -1e12])
def test_a_run_whose_clock_went_wrong_is_told_up_to_there(tmp_path: Path, clock: float) -> None:
    folder = write_log(tmp_path / "run")
    ticks = np.fromfile(folder / TICKS, tick_type(3, 1))
    ticks["time"][300:] = clock
    ticks.tofile(folder / TICKS)
    told = describe_run(folder)["replay"]
    assert json.dumps(told, allow_nan=False) and len(told["samples"]) == 61
    assert told["samples"][59]["time"] == 52.95


def test_a_run_that_never_began_shows_nothing(tmp_path: Path) -> None:
    assert describe_run(write_log(tmp_path / "run", 0))["replay"]["samples"] == []


def test_what_is_no_log_is_refused(tmp_path: Path, capsys) -> None:
    with pytest.raises(RobotError, match="holds no log of a run"):
        ReplayPage(tmp_path, "127.0.0.1", 0)
    for words in (["view"], ["view", "data=a", "run=b"]):
        assert main(words) != 0
        assert "needs either data=... or run=..." in capsys.readouterr().err


def test_the_next_free_port_is_taken_at_one_address_alone(tmp_path: Path) -> None:
    folder = write_log(tmp_path / "run")
    first = ReplayPage(folder, "127.0.0.1", 0)
    port = int(first.address.split(":")[2].split("/")[0])
    second = ReplayPage(folder, "127.0.0.1", port)
    assert f":{port}/" not in second.address and second.address.startswith("http://127.0.0.1:")
    first.close()
    second.close()
    with pytest.raises(ConfigError, match="host must be one address of this machine"):
        ReplayPage(folder, "0.0.0.0", 0)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_person_scrubs_through_a_run(tmp_path: Path) -> None:
    page = ReplayPage(write_log(tmp_path / "run"), "127.0.0.1", 0)
    with browser(tmp_path / "chromium") as tab:
        tab.call("Page.navigate", url=page.address)
        until(lambda: tab.run(STATE) == "HOLD")
        assert tab.run("document.getElementById('buttons').hidden")
        moment = "document.getElementById('moment')"
        tab.run(f"{moment}.value = 3, {moment}.dispatchEvent(new Event('input'))")
        assert tab.run(STATE) == "ACTIVE" and tab.run("latest.time") == 52.0
        assert tab.run("samples.at(-1).measured[0]") == 300
        tab.run("document.querySelector('.said').click()")
        assert tab.run(f"{moment}.value") == "2"
        tab.run("document.getElementById('play').click()")
        until(lambda: float(tab.run(f"{moment}.value")) > 2.3)
        assert not tab.complaints()
        page.close()
        until(lambda: tab.run("document.getElementById('play').textContent") == "Play")
        assert tab.run(STATE) == "ACTIVE", "all of it was there already"
