"""`fewstep run`: both processes, end to end, and with something wrong in each of them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import motion
import numpy as np
import pytest
import torch
from live_node import ARM, HZ, OPTIONS, PATIENT, STATES, Live, events, nodes, ticks
from rich.console import Console
from serving_cases import served

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import DataError, Field, RobotError, Spec
from fewstep.envs.chunk import Chunk
from fewstep.envs.control.log_reading import latencies, read_all_ticks, read_chunks
from fewstep.envs.control.telemetry import RunLog, set_aside
from fewstep.envs.robot import SOURCES
from fewstep.envs.safety.states import State
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main
from fewstep.policy.cli.prompts import Person
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.serving.acting import acting
from fewstep.policy.serving.run_config import RunConfig
from fewstep.policy.serving.server.layout import read_layout


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16, prefix=True)
    path = tmp_path_factory.mktemp("run") / "policy"
    save_policy(Policy(ARM, PolicyConfig(horizon=16, action_steps=8, net=net)), path, {})
    return path


def within_limits(out: Path) -> None:
    """What was sent, in every episode: a simulated arm begins each where it likes."""
    t = ticks(out)
    t = t[t["state"] != STATES.index(State.DISARMED)]
    assert len(t) > 20
    for number in set(t["episode"]):
        of = t["episode"] == number
        limits = {"low": -3.0, "high": 3.0, "velocity": 3.0, "acceleration": 30.0}
        assert motion.worst(t["sent"][of], t["sent_at"][of], HZ, **limits).keeps_limits()


def run(policy: Path, out: Path, *more: str) -> int:
    settings = [
        f"policy={policy}",
        "robot=simulated",
        *OPTIONS,
        *PATIENT,
        "unattended=true",
        f"out={out}",
    ]
    return main(["run", *settings, *more])


def test_a_policy_runs_and_leaves_a_log(policy: Path, tmp_path: Path, capsys):
    assert run(policy, tmp_path, "seconds=2", "episodes=2") == 0
    within_limits(tmp_path)
    t, said = ticks(tmp_path), events(tmp_path)
    assert {0, 1} <= set(t["episode"]) and (np.diff(t["time"]) > 0).all()
    assert {"inference ready", "ready", "begins", "ended", "judged", "stopped"} <= {
        e["event"] for e in said
    }
    facts = json.loads((tmp_path / "run.json").read_text())
    assert len(facts["sha256"]) == 64 and Spec.from_json(facts["spec"]) == ARM
    assert facts["limits"]["high"] == [3.0] * 3 and facts["watchdog"]["action_seconds"] == 30
    assert facts["versions"]["fewstep"] and facts["actuation_delay"] == 0.0
    active = t[t["state"] == STATES.index(State.ACTIVE)]
    assert len(active) > 2 * HZ and np.isfinite(active["wanted"]).all(1).mean() > 0.8
    printed = capsys.readouterr().out
    assert "emergency stop comes first" in printed
    assert printed.count("limits changed") == 2 == printed.count("the time is over")
    assert {e["why"] for e in said if e["event"] == "ended"} == {"the time is over"}
    assert len(took := latencies(tmp_path)) >= 4 and all(0 < s < 5 for s in took)


def test_every_chunk_that_came_to_the_robot_is_in_the_log(policy: Path, tmp_path: Path) -> None:
    assert run(policy, tmp_path, "seconds=2") == 0
    chunks, t = read_chunks(tmp_path), ticks(tmp_path)
    active = t[t["state"] == STATES.index(State.ACTIVE)]
    assert len(chunks) >= len(latencies(tmp_path)) >= 2 and (chunks["taken"] > chunks["time"]).all()
    for tick in active[50::20]:
        newest = chunks[chunks["taken"] <= tick["sent_at"]][-1]
        chunk = Chunk(0, newest["time"], newest["dt"], newest["actions"])
        np.testing.assert_allclose(tick["wanted"], chunk.at(tick["time"], ARM), atol=1e-9)


def test_a_rate_that_is_not_kept_is_told(policy: Path, tmp_path: Path, capsys):
    settings = [
        f"policy={policy}",
        "robot=simulated",
        "unattended=true",
        "seconds=1",
        f"out={tmp_path / 'out'}",
    ]
    main(["run", *settings, "+options.hz=50000", "+options.joints=3"])
    assert re.search(
        r"of \d{5} ticks were missed: this computer does not keep 50000 Hz", capsys.readouterr().out
    )


def test_the_latencies_of_what_is_no_run_are_refused(tmp_path: Path):
    with pytest.raises(RobotError, match="holds no log of a run"):
        latencies(tmp_path)


def test_the_episodes_of_a_run_are_demonstrations(policy: Path, tmp_path: Path, capsys) -> None:
    store = tmp_path / "demos"
    for expected in (2, 4):
        assert run(policy, tmp_path / "out", "seconds=1.5", "episodes=2", f"record={store}") == 0
        kept = DemoStore.open(store)
        assert len(kept) == expected and kept.success == [None] * expected
    frames = round(1.5 * ARM.policy_hz)
    assert f"kept: not judged, {frames} frames; 4 episodes in all" in capsys.readouterr().out
    assert (kept.sources() == SOURCES.index("policy")).all() and kept.spec == ARM
    t = ticks(tmp_path / "out")
    active = t[(t["state"] == STATES.index(State.ACTIVE)) & (t["episode"] == 1)]
    episode = kept.episode(-1)
    rows = np.searchsorted(active["time"] - active["time"][0], episode.data["time"] - 1e-3)
    np.testing.assert_allclose(active["sent"][rows], episode.data["action"], atol=1e-6)
    np.testing.assert_allclose(active["measured"][rows], episode.data["joints"], atol=1e-6)


def test_a_run_goes_on_where_an_episode_cannot_be_stored_yet(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    store, append, calls = tmp_path / "demos", DemoStore._append, []

    def full_at_first(self: DemoStore, episodes: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        append(self, episodes)

    monkeypatch.setattr(DemoStore, "_append", full_at_first)
    assert run(policy, tmp_path / "out", "seconds=1", "episodes=2", f"record={store}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "No space left on device" in said and "2 episodes in all" in said
    assert len(DemoStore.open(store)) == 2


def test_a_run_that_is_ended_brakes_before_anything_is_stored(
    live, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "camera").write_text("late")
    made = f"{{source: 'bad_camera:BadCamera', options: {{trouble: '{tmp_path}/camera'}}"
    camera = f"cameras={{front: {made}, height: 48, width: 64}}}}"
    node = live(*PATIENT, camera, f"record={tmp_path}/demos", "page=false")
    active = STATES.index(State.ACTIVE)

    def begun() -> np.ndarray:
        t = read_all_ticks(node.out)
        return t["time"][t["state"] == active]

    node.until((node.out / "run.json").exists)
    node.until(lambda: len(begun()) > 80)
    os.kill(node.process.pid, signal.SIGTERM)
    count = len(begun())
    assert node.end() != 0
    assert (len(begun()) - count) / HZ < 1.0
    kept = DemoStore.open(tmp_path / "demos")
    assert len(kept) == 1 and kept.success == [None] and kept.frames >= 0.8 * ARM.policy_hz


@pytest.mark.parametrize("place", ["file", "file/sub", "run"])
def test_a_place_that_takes_no_store_is_refused_before_anything_starts(
    policy: Path, tmp_path: Path, capsys, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    assert run(policy, tmp_path / "out", f"record={tmp_path / place}") == 1
    captured = capsys.readouterr()
    assert "waiting for the inference" not in captured.out and captured.err.startswith("fewstep: ")


def test_a_store_of_another_robot_takes_no_run(policy: Path, tmp_path: Path, capsys) -> None:
    other = Spec({"joints": Field((5,), "rad")}, {"joints": Field((5,), "rad")}, 10.0)
    DemoStore.create(tmp_path / "demos", other).close()
    assert run(policy, tmp_path / "out", f"record={tmp_path / 'demos'}") == 1
    assert "the robot does not fit" in capsys.readouterr().err
    assert not {"begins"} & {e["event"] for e in events(tmp_path / "out")}


def test_a_shadow_sends_nothing_and_tells_what_it_would(policy: Path, tmp_path: Path, capsys):
    assert run(policy, tmp_path, "seconds=1", "shadow=true") == 0
    t = ticks(tmp_path)
    shadow = t[t["state"] == STATES.index(State.SHADOW)]
    assert len(shadow) > HZ / 2 and np.isfinite(shadow["wanted"]).all(1).mean() > 0.5
    assert (shadow["sent"] == shadow["measured"]).all() and np.ptp(
        shadow["measured"], axis=0
    ).max() == 0
    speed = np.abs(np.diff(shadow["limited"], axis=0)) * HZ
    assert 0.1 < np.nanmax(speed) <= 3.0 + 1e-9, "what would be sent keeps the limits, and moves"
    assert "limits changed" in capsys.readouterr().out


def test_recorded_actions_are_replayed_from_their_first_pose(tmp_path: Path):
    time_ = np.arange(40) / ARM.policy_hz
    action = (0.5 * np.sin(2 * time_)[:, None] + [0.1, 0.2, 0.3]).astype(np.float32)
    with DemoStore.create(tmp_path / "demos", ARM) as store:
        store.append(Episode({"joints": action, "action": action, "time": time_}, ARM))
    settings = [
        "robot=simulated",
        *OPTIONS,
        *PATIENT,
        "unattended=true",
        "seconds=6",
        f"out={tmp_path}/run",
    ]
    assert main(["run", f"actions={tmp_path}/demos", *settings]) == 0
    within_limits(tmp_path / "run")
    t = ticks(tmp_path / "run")
    active = t[t["state"] == STATES.index(State.ACTIVE)]
    begun = np.flatnonzero((np.abs(active["wanted"] - action[0]) > 1e-3).any(1))[0]
    for k in range(5, 35):
        moment = np.argmin(np.abs(active["time"] - active["time"][begun] - k / ARM.policy_hz))
        np.testing.assert_allclose(active["sent"][moment], action[k], atol=0.06)
    np.testing.assert_allclose(active["sent"][-1], action[-1], atol=0.02)


def test_the_delays_of_a_robot_are_measured(policy: Path, tmp_path: Path, capsys):
    delays = ("+options.observing=0.06", "+options.acting=0.12", "+options.lag=0")
    assert run(policy, tmp_path, "calibrate=true", *delays) == 0
    found = json.loads((tmp_path / "latency.json").read_text())
    assert found["observation"]["joints"] == pytest.approx(
        0.06, abs=0.03
    )  # on a machine that does other things
    assert np.median(list(found["actuation"].values())) == pytest.approx(
        0.12, abs=0.03
    )  # exact: test_calibrate
    assert 0 < found["inference"] < 5 and "actuation_delay=0.1" in capsys.readouterr().out
    within_limits(tmp_path)


def test_systemd_hears_that_it_is_ready_and_alive(policy: Path, tmp_path: Path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(1)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert run(policy, tmp_path / "out", "seconds=1.5") == 0
        heard = [systemd.recv(100) for _ in range(5)]
    assert set(heard) == {b"READY=1", b"WATCHDOG=1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["robot=simulated"], "needs either a policy= or recorded actions="),
        (["robot=simulated", "policy=POLICY", "actions=x"], "needs either"),
        (
            ["robot=simulated", "policy=POLICY", "limits=nowhere.yaml"],
            "no file nowhere.yaml of limits",
        ),
        (["robot=simulated", "policy=POLICY"], "this policy does not fit robot 'simulated'.*shape"),
        (["robot=nothing", "policy=POLICY"], "no robot 'nothing'"),
        (
            ["robot=simulated", "policy=POLICY", "actuation_delay=-1"],
            "actuation_delay must be seconds, 0 or more",
        ),
        (
            ["robot=simulated", "policy=POLICY", "actuation_delay=9"],
            "actuation_delay=9 is too long",
        ),
        (
            ["robot=simulated", "policy=POLICY", "watchdog.observation_seconds=nan"],
            "watchdog.observation_seconds=nan: must be above 0",
        ),
        (
            ["robot=simulated", "policy=POLICY", "seconds=-1", "episodes=0"],
            "seconds=-1.0, episodes=0: must be",
        ),
        (["robot=simulated", "policy=POLICY", "threads=0"], "threads=0: must be above 0"),
        (["robot=simulated", "policy=POLICY", "priority=500"], "priority must be 0 to 99"),
        (
            ["robot=simulated", "policy=POLICY", "calibrate=true", "shadow=true"],
            "calibrate=true moves the robot",
        ),
        (
            ["robot=simulated", "policy=POLICY", "record=x", "shadow=true"],
            "record= keeps what a policy has sent: not with shadow",
        ),
        (
            ["robot=simulated", "policy=POLICY", "actions=x", "calibrate=true"],
            "calibrate=true replays nothing",
        ),
        (["robot=simulated", "policy=POLICY", "out=/dev/null/x"], "could not write /dev/null/x"),
    ],
)
def test_wrong_settings_are_refused_before_anything_moves(
    policy: Path, tmp_path: Path, capsys, arguments, message
):
    given = [a.replace("POLICY", str(policy)) for a in arguments]
    assert main(["run", f"out={tmp_path}", "unattended=true", *given]) in (1, 2)
    assert re.search(message, capsys.readouterr().err)
    assert (
        not [e for e in events(tmp_path) if e["event"] == "begins"]
        if (tmp_path / "events.jsonl").exists()
        else True
    )


@pytest.mark.parametrize("given, used", [(None, 0.03), (0.05, 0.05), (0.0, 0.0)])
def test_actions_are_sent_as_early_as_the_run_says_else_its_policy(
    tmp_path: Path, given: float | None, used: float
) -> None:
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)
    config = PolicyConfig(horizon=16, action_steps=8, actuation_delay=0.03, agreement=0.05, net=net)
    save_policy(Policy(ARM, config), tmp_path, {})
    run = RunConfig("simulated", policy=str(tmp_path), engine="eager", actuation_delay=given)
    control, _ = acting(run, ())
    assert control.policy is not None and control.policy.actuation_delay == used
    assert control.policy.agreement == 0.05


@pytest.fixture
def person(monkeypatch) -> Iterator[tuple[Person, int]]:
    """A person, and the end of a pipe on which one types for them."""
    stdin, typing = os.pipe()
    with os.fdopen(stdin) as file:
        monkeypatch.setattr("sys.stdin", file)
        yield Person(Console(quiet=True)), typing


def nothing() -> None:
    """Happens while the person thinks."""


def test_nothing_but_enter_begins_an_episode(person: tuple[Person, int]):
    asked, typing = person
    os.write(typing, b"quit\nn\nq\nno\n\n")
    assert not asked.begins(0, nothing) and asked.begins(1, nothing)
    os.close(typing)
    with pytest.raises(RobotError, match="nobody answers"):
        asked.begins(2, nothing)


def test_while_a_person_thinks_what_goes_wrong_is_heard(person: tuple[Person, int]):
    looks: list[float] = []

    def meanwhile() -> None:
        looks.append(time.monotonic())
        if len(looks) > 5:
            raise RobotError("the arm has gone")

    with pytest.raises(RobotError, match="the arm has gone"):
        Person(Console(quiet=True)).begins(0, meanwhile)
    assert max(np.diff(looks)) < 1.0


def test_what_was_typed_before_the_question_is_no_answer(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(ours, b"\n\n")
        typed = iter([b"q\n"])

        def type_on() -> None:
            os.write(ours, next(typed, b""))

        assert not Person(Console(quiet=True)).begins(0, type_on)
    os.close(ours)


# Something goes wrong


@pytest.fixture
def live(policy: Path, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    with nodes(policy, tmp_path / "out") as start:
        yield start


def holds(out: Path) -> None:
    """The arm has come to rest."""
    sent = ticks(out)["sent"][-2:]
    assert np.ptp(sent, axis=0).max() < 1e-6


def test_an_inference_that_hangs_is_held_for_and_ended(live):
    node = live()
    node.acting()
    os.kill(node.pid("inference ready"), signal.SIGSTOP)
    assert node.end() == 1
    assert any("no action for" in e.get("text", "") for e in events(node.out))
    assert any(e["event"] == "inference ended" for e in events(node.out))
    holds(node.out)
    within_limits(node.out)


def test_while_a_server_is_gone_the_arm_holds_and_goes_on_with_the_next_answer(
    policy: Path, tmp_path: Path
):
    loaded = load_engine(policy)
    layout = read_layout("", loaded.spec)
    node = None
    try:
        with served(loaded, layout) as address:
            node = Live(f"ws://{address}", tmp_path / "out", *PATIENT)
            node.acting()
        node.until(lambda: any(e["event"] == "unanswered" for e in events(node.out)))
        node.until(lambda: not np.isfinite(ticks(node.out)["wanted"][-1]).any())
        before = len(ticks(node.out))
        with served(loaded, layout, port=int(address.rpartition(":")[2])):
            node.until(lambda: np.isfinite(ticks(node.out)["wanted"][before:]).all(1).sum() > 80)
            assert "no policy server at" in node.said()
            node.process.send_signal(signal.SIGTERM)
            node.end()
    finally:
        if node is not None:
            node.kill()
    holds(node.out)
    within_limits(node.out)


def test_an_inference_that_dies_is_started_again_and_goes_on(live):
    node = live(*PATIENT)
    node.acting()
    first = node.pid("inference ready")
    os.kill(first, signal.SIGKILL)
    node.until(lambda: node.pid("inference ready") != first)
    before = len(ticks(node.out))
    node.until(lambda: np.isfinite(ticks(node.out)[before:]["wanted"]).all(1).sum() > 50)
    os.kill(node.pid("ready"), signal.SIGINT)
    assert node.end() == 0
    assert any(e["event"] == "inference ended" for e in events(node.out))
    within_limits(node.out)


def test_no_episode_begins_before_an_inference_that_died_is_back(
    policy: Path, tmp_path: Path, monkeypatch, capsys
):
    stdin, keys = os.pipe()
    out = tmp_path / "out"

    def until(found: Callable[[], Any]) -> None:
        end = time.monotonic() + 60
        while not found():
            assert time.monotonic() < end
            time.sleep(0.02)

    def said(name: str) -> int:
        return (
            [e["event"] for e in events(out)].count(name) if (out / "events.jsonl").exists() else 0
        )

    def person() -> None:
        os.write(keys, b"\n")
        until(
            lambda: (
                said("begins") and (ticks(out)["state"] == STATES.index(State.ACTIVE)).sum() > 50
            )
        )
        os.kill(
            [e["pid"] for e in events(out) if e["event"] == "inference ready"][-1], signal.SIGKILL
        )
        until(lambda: said("ended"))
        os.write(keys, b"n\n\ny\nq\n")

    with os.fdopen(stdin) as file:
        monkeypatch.setattr("sys.stdin", file)
        threading.Thread(target=person, daemon=True).start()
        assert (
            run(
                policy,
                out,
                "unattended=false",
                "episodes=3",
                "seconds=3",
                "watchdog.action_seconds=0.5",
            )
            == 1
        )
    os.close(keys)
    order = [
        e["event"]
        for e in events(out)
        if e["event"] in ("begins", "inference ready", "inference ended")
    ]
    assert order == ["inference ready", "begins", "inference ended", "inference ready", "begins"]
    assert "waiting for the inference process" in capsys.readouterr().out
    within_limits(out)


def test_a_hang_shorter_than_its_watch_costs_a_pause_and_no_fault(live):
    node = live(*PATIENT, "seconds=8")
    node.acting()
    os.kill(node.pid("inference ready"), signal.SIGSTOP)
    time.sleep(2)
    os.kill(node.pid("inference ready"), signal.SIGCONT)
    assert node.end() == 0
    within_limits(node.out)
    t = ticks(node.out)
    wanted = np.isfinite(t[t["state"] == STATES.index(State.ACTIVE)]["wanted"]).all(1)
    assert (~wanted).sum() > 50 and wanted[-50:].all(), "it goes on where it could"


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_the_control_process_brakes_first(live, kind: signal.Signals):
    node = live(*PATIENT)
    node.acting()
    os.kill(node.pid("ready"), kind)
    assert node.end() == 0
    within_limits(node.out)
    holds(node.out)
    assert events(node.out)[-1]["event"] in ("stopped", "inference ended")


def test_the_first_interrupt_holds_and_ends_what_nobody_attends(live):
    node = live(*PATIENT, "episodes=3")
    node.acting()
    os.killpg(node.process.pid, signal.SIGINT)  # as a terminal does
    assert node.end() == 0
    within_limits(node.out)
    said = [e["event"] for e in events(node.out)]
    assert said.count("begins") == 1 and said[-1] == "stopped"


def test_a_shadow_that_is_interrupted_sends_nothing(live):
    node = live(*PATIENT, "shadow=true")
    shadow = STATES.index(State.SHADOW)
    node.until((node.out / "ticks.bin").exists)
    node.until(lambda: (ticks(node.out)["state"] == shadow).sum() > 50)
    os.killpg(node.process.pid, signal.SIGTSTP)
    assert node.end() == 0
    t = ticks(node.out)
    assert set(t["state"]) == {shadow, STATES.index(State.DISARMED)}
    assert np.ptp(t["measured"], axis=0).max() == 0


def test_a_control_process_that_is_killed_is_missed(live):
    node = live(*PATIENT)
    node.acting()
    os.kill(node.pid("ready"), signal.SIGKILL)
    assert node.end() == 1


def test_terminated_by_a_service_manager_it_brakes_first(live):
    node = live(*PATIENT)
    node.acting()
    node.process.terminate()
    assert node.end() == 130
    holds(node.out)
    within_limits(node.out)


def test_when_its_parent_is_gone_the_control_process_brakes_and_ends(live):
    node = live(*PATIENT)
    node.acting()
    control, worker = node.pid("ready"), node.pid("inference ready")
    node.process.kill()
    node.process.wait()
    for pid in (control, worker):
        for _ in range(500):
            if (
                not Path(f"/proc/{pid}").exists()
                or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
            ):
                break
            time.sleep(0.02)
        else:
            pytest.fail("a process is left behind")
    within_limits(node.out)


def test_a_control_process_that_is_stopped_goes_on_within_limits_and_without_a_burst(live):
    node = live(*PATIENT, "seconds=6")
    node.acting()
    os.kill(node.pid("ready"), signal.SIGSTOP)
    time.sleep(0.7)
    os.kill(node.pid("ready"), signal.SIGCONT)
    node.end()
    within_limits(node.out)
    t = ticks(node.out)
    assert np.diff(t["time"]).max() > 0.6 and t["lateness"].max() > 0.5
    assert (np.diff(t["time"]) > 0.2 / HZ).mean() > 0.99


def test_a_control_process_that_stays_stopped_is_told(live):
    node = live(*PATIENT, "seconds=6")
    node.acting()
    os.kill(node.pid("ready"), signal.SIGSTOP)
    time.sleep(2)
    os.kill(node.pid("ready"), signal.SIGCONT)
    node.end()
    assert "nothing is sent to the robot; use the emergency stop" in node.said()
    within_limits(node.out)


def test_two_runs_do_not_share_a_log_and_an_earlier_one_is_kept(policy: Path, tmp_path: Path, live):
    node = live(*PATIENT, "seconds=4")
    node.acting()
    facts = (node.out / "run.json").read_bytes()
    with pytest.raises(DataError, match="being written already"):
        RunLog(node.out)
    assert run(policy, node.out) == 1, "the other run says so"
    assert (node.out / "run.json").read_bytes() == facts, "run.json belongs to the run that goes on"
    node.end()
    (node.out / "lock").unlink()
    before = {file.name: file.read_bytes() for file in node.out.iterdir()}
    for number in (1, 2):
        set_aside(node.out)
        assert sorted(path.name for path in node.out.iterdir()) == [
            f"earlier.{k + 1}" for k in range(number)
        ]
        (node.out / "events.jsonl").write_text("{}")
    assert {file.name: file.read_bytes() for file in (node.out / "earlier.1").iterdir()} == before


def test_under_load_the_arm_keeps_its_limits(live):
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        node = live(*PATIENT, "seconds=4")
        node.acting()
        node.end()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    within_limits(node.out)


def test_a_parent_that_is_stopped_holds_nothing_up(live):
    node = live(*PATIENT, "seconds=4")
    node.acting()
    os.kill(node.process.pid, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(node.process.pid, signal.SIGCONT)
    assert node.end() == 0
    assert np.median(np.diff(ticks(node.out)["time"])) == pytest.approx(1 / HZ, rel=0.2)
    assert events(node.out)[-1]["dropped"] == 0
