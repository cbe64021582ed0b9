"""The log of a run for the tools of ROS 2."""

import json
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from fewstep.envs import DataError, Field, RobotError, Spec
from fewstep.envs.control.control_loop import STATES, tick_type
from fewstep.envs.control.log_bag import write_bag
from fewstep.envs.control.messages import taken_type
from fewstep.envs.control.telemetry import RunLog
from fewstep.envs.safety.states import State
from fewstep.policy.cli.main import main

ARM = Spec({"q": Field((2,), "rad")}, {"q": Field((2,), "rad", measured_by="q")}, 10.0, 100.0)
BEGAN = {"unix": 1_700_000_100.0, "robot": 100.0}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two ticks before a command, three with one, and a chunk."""
    run = RunLog(tmp_path / "run")
    run.facts(ARM, horizon=4, began=BEGAN)
    ticks = np.zeros(5, tick_type(2, 1))
    ticks["time"] = 100 + np.arange(5) / 100
    ticks["state"] = [STATES.index(State.HOLD)] * 2 + [STATES.index(State.ACTIVE)] * 3
    ticks["wanted"] = [[np.nan] * 2] * 2 + [[0.1, 0.2]] * 3
    ticks["sent"] = ticks["limited"] = 0.05
    ticks["lateness"] = 1e-5
    run.ticks(ticks.tobytes())
    chunk = np.zeros(1, taken_type(4, 2))
    chunk["taken"], chunk["time"], chunk["dt"] = 100.035, 100.01, 0.1
    chunk["actions"] = np.arange(8).reshape(4, 2)
    run.chunks(chunk.tobytes())
    run.event(json.dumps({"event": "safety", "time": 100.02, "text": "hold -> active"}).encode())
    run.note("judged", success=True)
    run.event(b"7")
    run.event(b'{"time": 100.03, "ev')  # cut
    run.close()
    return tmp_path / "run"


def test_a_log_reads_back_as_a_bag(log: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", f"run={log}", f"out={tmp_path / 'bag'}"]) == 0
    assert "27 messages" in " ".join(capsys.readouterr().out.split())
    assert sorted(file.name for file in (tmp_path / "bag").iterdir()) == [
        "bag.mcap",
        "metadata.yaml",
    ]
    heard: dict[str, list[tuple[int, object]]] = {}
    with AnyReader([tmp_path / "bag"]) as bag:
        for connection, time, content in bag.messages():
            message = bag.deserialize(content, connection.msgtype)
            heard.setdefault(connection.topic, []).append((time, message))
    counts = {topic: len(messages) for topic, messages in heard.items()}
    assert counts == {
        "/measured": 5,
        "/wanted": 3,
        "/limited": 5,
        "/sent": 5,
        "/lateness": 5,
        "/state": 2,
        "/chunk": 1,
        "/events": 1,
    }
    time, wanted = heard["/wanted"][0]
    assert time == 1_700_000_100_020_000_000 and wanted.header.stamp.sec == 1_700_000_100
    assert wanted.name == ["q[0]", "q[1]"] and wanted.position.tolist() == [0.1, 0.2]
    assert [message.data for _, message in heard["/state"]] == ["hold", "active"]
    time, chunk = heard["/chunk"][0]
    assert chunk.points[3].positions.tolist() == [6.0, 7.0]
    assert chunk.points[3].time_from_start.nanosec == 300_000_000
    assert chunk.header.stamp.nanosec == pytest.approx(10_000_000, abs=1000)


def test_what_is_no_log_makes_no_bag(tmp_path: Path) -> None:
    with pytest.raises(RobotError, match="holds no log of a run"):
        write_bag(tmp_path, tmp_path / "bag")
    assert not (tmp_path / "bag").exists()


def test_a_bag_takes_no_others_place(log: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        write_bag(log, log)
    assert (log / "ticks.bin").exists()


def test_a_run_has_one_format(log: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", f"run={log}", f"out={tmp_path / 'bag'}", "format=rrd"]) == 2
    assert "unknown format of a run's log 'rrd'; valid: mcap" in capsys.readouterr().err
