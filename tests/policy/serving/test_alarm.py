"""A monitor in a run: its scores are in the log and on the page, and its alarm does what was asked."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from chromium import CHROMIUM, browser, until
from live_node import ARM, OPTIONS, PATIENT, STATES, Live, events, nodes, save_small_policy, ticks

from fewstep.envs.safety.states import State
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.engines.exported import hash_weights
from fewstep.policy.monitoring import fitting
from fewstep.policy.monitoring.fitting import copy_embedding, fit_distillation
from fewstep.policy.monitoring.monitor import Calibration, Monitor
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.serving.alarm import Alarm
from fewstep.policy.serving.run_config import RunConfig

WHY = "what the policy sees is unlike what it has learnt from"


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    """A policy whose monitor gives alarm at anything that it sees."""
    path = tmp_path_factory.mktemp("alarm") / "policy"
    policy = save_small_policy(path, action_steps=4)
    known = np.random.default_rng(0).standard_normal((100, 16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "STEPS", 1)
        distillation = fit_distillation(known)
    calibration = Calibration((1e-9, 1e9), 1.0, 0.1, 20, "nowhere")
    embedding = copy_embedding(policy)
    Monitor(hash_weights(path), embedding, distillation, np.ones(3), calibration).write(path)
    return path


@pytest.fixture
def live(policy: Path, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    with nodes(policy, tmp_path / "out") as start:
        yield start


def heard(node: Live, name: str) -> list[dict]:
    return [event for event in events(node.out) if event["event"] == name]


def fastest(node: Live) -> float:
    t = ticks(node.out)
    t = t[t["state"] == STATES.index(State.ACTIVE)][120:]  # the ramp is over, and so is the alarm's
    return float(np.abs(np.diff(t["sent"], axis=0) * 100).max())


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_an_alarm_is_told_once_and_drawn(live: Callable[..., Live], tmp_path: Path) -> None:
    node = live(*PATIENT, "seconds=60")
    address = until(lambda: re.search(r"open (http://\S+)", node.said()), 60)[1]
    node.acting()
    node.until(lambda: len(heard(node, "monitor")) > 5)
    with browser(tmp_path / "chromium") as tab:
        tab.call("Page.navigate", url=address)
        score = "document.getElementById('score')?.textContent ?? ''"
        until(lambda: "ALARM" in tab.run(score))
        assert not tab.run("document.getElementById('watched').hidden")
        tab.press("s")
        node.end()
        assert not tab.complaints()
    assert node.said().count(WHY) == 1
    assert next(event["text"] for event in heard(node, "alarm")).startswith(f"monitor: {WHY}")
    told = heard(node, "monitor")[0]
    assert told["score"] == told["shares"]["observation"] > 1 and told["disagreement"] == 0


def test_hold_ends_the_episode_and_what_nobody_attends(live: Callable[..., Live]) -> None:
    node = live(*PATIENT, "monitor=hold", "episodes=3")
    assert node.end() == 0
    assert WHY in node.said() and "the monitor has ended it: hold" in node.said()
    assert len(heard(node, "begins")) == 1


def test_slow_takes_a_third_of_the_velocity(live: Callable[..., Live]) -> None:
    node = live(*PATIENT, "monitor=slow", "seconds=5")
    assert node.end() == 0
    assert 0.5 < fastest(node) <= 0.3 * 3.0 + 1e-6


def test_log_says_nothing_on_the_terminal_and_off_scores_nothing(
    live: Callable[..., Live], policy: Path, tmp_path: Path
) -> None:
    node = live(*PATIENT, "monitor=log", "seconds=3")
    assert node.end() == 0
    assert heard(node, "alarm") and "monitor:" not in node.said()
    with nodes(policy, tmp_path / "off") as start:
        other = start(*PATIENT, "monitor=off", "seconds=3")
        assert other.end() == 0
        assert not heard(other, "monitor")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["monitor=shout"], "valid: hold, log, off, slow, warn"),
        (["monitor=hold"], "needs a monitor beside the policy"),
        (["monitor=slow"], "needs a threshold"),
    ],
)
def test_a_reaction_without_what_it_needs_is_refused(
    policy: Path, tmp_path: Path, capsys, settings: list[str], message: str
) -> None:
    folder = tmp_path / "policy"
    save_policy(Policy(ARM, PolicyConfig(horizon=16, action_steps=4)), folder, {})
    if "slow" in settings[0]:
        known = fit_distillation(np.zeros((4, 256)))
        embedding = copy_embedding(Policy(ARM, PolicyConfig(horizon=16, action_steps=4)))
        made = Monitor(hash_weights(folder), embedding, known, np.ones(3))
        replace(made, calibration=None).write(folder)
    run = ["run", f"policy={folder}", "robot=simulated", *OPTIONS, "unattended=true"]
    assert main([*run, "page=false", f"out={tmp_path / 'out'}", *settings]) != 0
    out = capsys.readouterr()
    assert message in " ".join((out.out + out.err).split())


class Ordered:
    """A supervisor that remembers its orders."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.held = False
        self.order = self.orders.append
        self.run_log = SimpleNamespace(note=lambda event, **details: None)


def scored(time: float, score: float | None) -> dict:
    return {"time": time, "score": score, "shares": {"observation": score, "disagreement": 0.0}}


def test_each_episode_begins_at_full_pace_and_hears_nothing_of_the_one_before() -> None:
    supervisor, said = Ordered(), []
    config = RunConfig("simulated", policy="run", monitor="slow")
    alarm = Alarm(config, supervisor, lambda text, level: said.append(text))
    alarm.begin({"time": 10.0})
    for time, score in [(9.9, 5.0), (10.1, None), (10.2, 0.5), (10.3, 2.0), (10.4, 3.0)]:
        alarm.hear(scored(time, score))
    assert supervisor.orders == ["pace 0.3"] and len(said) == 1
    for k in range(4):
        alarm.hear(scored(10.5 + k / 10, 0.2))
    assert supervisor.orders == ["pace 0.3", "pace 1"] and len(said) == 2
    alarm.hear(scored(11.0, 2.0))
    alarm.begin({"time": 20.0})  # the control process is at full pace again by itself
    alarm.hear(scored(20.1, 2.0))
    assert supervisor.orders[2:] == ["pace 0.3", "pace 0.3"]
