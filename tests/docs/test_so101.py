"""Every fewstep line of docs/so101.md runs as it is written, on a stand-in for lerobot.

What a test cannot have is put beside a line: cameras that are drawn, few episodes and steps, no
person at the terminal.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from cells import Keys, until

from fewstep.demos.store import DemoStore
from fewstep.envs.control.log_reading import read_ticks
from fewstep.envs.safety.states import State
from fewstep.policy.cli.main import main

HERE = Path(__file__).parent
HARDWARE = HERE.parent / "envs" / "hardware"
PAGE = (HERE.parents[1] / "docs" / "so101.md").read_text(encoding="utf-8")
DRAWN = "{source: simulated, width: 96, height: 96}"
BESIDE = {
    "cameras": [f"cameras={{a: {DRAWN}, b: {DRAWN}}}"],
    "record": ["episodes=2", "out=record"],
    "check": [],
    "view": ["port=0"],
    "train": ["steps=3", "batch=4", "export=false"],
    "evaluate": [],
    "run": ["unattended=true", "seconds=3", "episodes=1", "watchdog.action_seconds=30"],
}


def lines() -> list[list[str]]:
    """The words of each fewstep line of the page, as a shell reads them."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(os.path.expandvars(line), comments=True)
            if words and words[0] == "fewstep":
                found.append(words[1:])
    return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an environment of lerobot in it, and the current folder."""
    python = tmp_path / "lerobot" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    folders = [HARDWARE / "lerobot_toy", HARDWARE / "lerobot_stand_in", HERE / "so101_stand_in"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def demonstrate(desk: Path, keys: Keys) -> None:
    """Begin and keep one episode after the other, until the recording ends."""

    def said(event: str) -> int:
        log = desk / "record" / "events.jsonl"
        if not log.exists():
            return 0
        return sum(json.loads(line)["event"] == event for line in log.read_text().splitlines())

    until(lambda: said("ready"))
    for k in range(2):
        keys.events.append("start")
        until(lambda k=k: said("begins") > k)
        time.sleep(6)
        keys.events.append("success")
        until(lambda k=k: said("ended") > k)


def look(words: list[str]) -> None:
    """Open the page of `fewstep view`, once."""
    command = [sys.executable, "-m", "fewstep.policy.cli.main", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        address = re.search(r"http\S+", viewer.stdout.readline())
        assert address is not None
        with urllib.request.urlopen(address.group(), timeout=30) as page:
            assert page.status == 200
        viewer.send_signal(signal.SIGINT)
        assert "stopped" in viewer.communicate(timeout=60)[0]
    assert viewer.returncode == 0


def test_every_line_of_the_evening_runs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys()
    monkeypatch.setattr("fewstep.policy.serving.teleop_session.Keyboard", lambda: keys)
    evening = lines()
    assert [words[0] for words in evening] == [
        "cameras",
        "record",
        "check",
        "view",
        "train",
        "evaluate",
        "run",
        "run",
    ]
    for words in evening:
        every = [*words, *BESIDE[words[0]]]
        if words[0] == "record":
            threading.Thread(target=demonstrate, args=(desk, keys), daemon=True).start()
        if words[0] == "view":
            look(every)
            continue
        assert main(every) == 0, words
        if words[0] == "run":
            state = State.SHADOW if "shadow=true" in words else State.ACTIVE
            assert len(read_ticks(desk / "out" / "run", state)) > 30
    spec = DemoStore.open(desk / "demos").spec
    assert set(spec.images) == {"front", "wrist"}
    assert spec.actions["joints"].size == 5
