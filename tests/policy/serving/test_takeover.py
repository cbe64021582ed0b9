"""`fewstep run teleop=`: an operator takes the arm from the policy and gives it back."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import motion
import numpy as np
import pytest
from chromium import CHROMIUM, browser, until
from live_node import (
    HZ,
    OPTIONS,
    PATIENT,
    STATES,
    Live,
    events,
    nodes,
    save_small_policy,
    ticks,
)

from fewstep.demos.store import DemoStore
from fewstep.envs.robot import SOURCES
from fewstep.envs.safety.states import State
from fewstep.policy.cli.main import main

TESTS = str(Path(__file__).parents[2])
STATE = "document.getElementById('state')?.textContent"
TAKE = "document.getElementById('take')"


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("takeover") / "policy"
    save_small_policy(path)
    return path


@pytest.fixture
def live(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Live]]:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    with nodes(policy, tmp_path / "out") as start:
        yield start


def acting(node: Live) -> str:
    """Who acts now; "" where nobody does."""
    last = ticks(node.out)[-1]
    return SOURCES[last["source"]] if last["state"] == STATES.index(State.ACTIVE) else ""


def of_operator(node: Live) -> np.ndarray:
    t = ticks(node.out)
    active = t["state"] == STATES.index(State.ACTIVE)
    return t[active & (t["source"] == SOURCES.index("operator"))]


def keeps_limits(node: Live) -> bool:
    t = ticks(node.out)
    t = t[t["state"] != STATES.index(State.DISARMED)]
    t = t[t["episode"] == 0]
    limits = {"low": -3.0, "high": 3.0, "velocity": 3.0, "acceleration": 30.0}
    return motion.worst(t["sent"], t["sent_at"], HZ, **limits).keeps_limits()


def test_enter_takes_the_arm_and_gives_it_back(live: Callable[..., Live], tmp_path: Path) -> None:
    node = live(*PATIENT, "teleop=keyboard", f"record={tmp_path / 'demos'}")
    node.acting()
    node.type("\n")
    node.until(lambda: acting(node) == "operator")
    for _ in range(40):
        node.type("w")
        time.sleep(0.05)
    moved = of_operator(node)["sent"][:, 0]
    assert moved[-1] > moved[0] + 0.5, "w moves the first joint"
    node.type("\n")
    node.until(lambda: acting(node) == "policy")
    before = len(ticks(node.out))
    node.until(lambda: len(ticks(node.out)) > before + 50)
    node.type("\x03")
    assert node.end() == 0
    assert keeps_limits(node)
    said = [e["text"] for e in events(node.out) if e["event"] == "takeover"]
    assert said == ["the operator has taken the robot", "the policy has the robot again"]
    assert said[0] in node.said() and "in an episode Enter takes the robot" in node.said()
    assert re.search(r"the operator had the robot for \d+\.\d of \d+\.\d s", node.said())
    with DemoStore.open(tmp_path / "demos") as store:
        sources = [SOURCES[number] for number in store.sources()]
    changes = [s for s, before in zip(sources, [None, *sources], strict=False) if s != before]
    assert changes == ["policy", "operator", "policy"]


def test_an_arm_comes_to_its_leader_and_holds_where_that_fails(
    live: Callable[..., Live], tmp_path: Path
) -> None:
    trouble = tmp_path / "trouble"
    trouble.write_text(json.dumps({"begin": 0.5}))
    leader = ("teleop=bad_robot:BadRobot", f"+leader.trouble={trouble}", "+leader.joints=3")
    node = live("watchdog.action_seconds=5", "watchdog.observation_seconds=10", *leader)
    node.acting()
    node.type("\n")
    node.until(lambda: acting(node) == "operator")
    node.until(lambda: np.abs(ticks(node.out)["sent"][-1] - 0.5).max() < 1e-6)
    beside = trouble.with_suffix(".new")
    beside.write_text(json.dumps({"blind": True}))
    beside.rename(trouble)
    node.until(lambda: "nothing is heard of teleop= any more" in node.said())
    assert node.end() == 1, "an operator who is gone is a fault"
    assert "no action for 5" in node.said()
    assert np.abs(ticks(node.out)["sent"][-1] - 0.5).max() < 1e-6, "it has held"
    assert keeps_limits(node)


def test_a_device_that_fails_while_the_policy_acts_is_told_and_the_policy_goes_on(
    live: Callable[..., Live], tmp_path: Path
) -> None:
    trouble = tmp_path / "trouble"
    trouble.write_text("{}")
    leader = ("teleop=bad_robot:BadRobot", f"+leader.trouble={trouble}", "+leader.joints=3")
    node = live(*PATIENT, "seconds=6", *leader)
    node.acting()
    beside = trouble.with_suffix(".new")
    beside.write_text(json.dumps({"blind": True}))
    beside.rename(trouble)
    node.until(lambda: "nothing is heard of teleop= any more" in node.said())
    assert acting(node) == "policy"
    assert node.end() == 0 and "the time is over" in node.said()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("teleop", [True, False])
def test_the_page_takes_over_where_there_is_a_device(
    live: Callable[..., Live], tmp_path: Path, teleop: bool
) -> None:
    node = live(*PATIENT, *(["teleop=keyboard"] if teleop else []))
    address = until(lambda: re.search(r"open (http://\S+)", node.said()), 60)[1]
    with browser(tmp_path / "chromium") as tab:
        tab.call("Page.navigate", url=address)
        until(lambda: tab.run(f"{STATE} === 'ACTIVE'"))
        assert tab.run(f"{TAKE}.hidden") is not teleop
        tab.press("t")
        if teleop:
            until(lambda: tab.run(f"{STATE} === 'OPERATOR'"))
            until(lambda: tab.run(f"{TAKE}.textContent.startsWith('GIVE BACK')"))
            tab.click(TAKE)
            until(lambda: tab.run(f"{STATE} === 'ACTIVE'"))
        tab.press("s")
        node.end()
        assert not tab.complaints()
    pressed = [e["button"] for e in events(node.out) if e["event"] == "pressed"]
    assert pressed == (["take", "give", "stop"] if teleop else ["stop"])
    assert bool(len(of_operator(node))) is teleop


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["teleop=wheel"], "teleop=wheel is no device (valid: gamepad, keyboard, spacemouse)"),
        (["teleop=page"], "teleop=page is no device (valid: gamepad, keyboard, spacemouse)"),
        (["teleop=keyboard", "shadow=true"], "teleop= takes a robot from its policy"),
        (["teleop=keyboard", "calibrate=true"], "teleop= takes a robot from its policy"),
    ],
)
def test_what_cannot_take_over_is_refused(
    policy: Path, tmp_path: Path, capsys, settings: list[str], message: str
) -> None:
    run = ["run", f"policy={policy}", "robot=simulated", *OPTIONS, "unattended=true"]
    assert main([*run, "page=false", f"out={tmp_path / 'out'}", *settings]) != 0
    out = capsys.readouterr()
    assert message in " ".join((out.out + out.err).split())


def test_a_leader_of_another_size_is_refused_before_anything_moves(
    live: Callable[..., Live],
) -> None:
    node = live("teleop=simulated", "+leader.joints=2")
    assert node.end() == 1
    assert "the leader's pose is 2 numbers, and the robot takes 3" in node.said()
    assert not (ticks(node.out)["state"] == STATES.index(State.ACTIVE)).any()
