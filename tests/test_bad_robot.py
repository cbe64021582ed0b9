"""Whatever a bad robot does, and whoever drives it: its motors are sent nothing beyond their limits, and it is told."""

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bad_robot
import motion
import numpy as np
import pytest

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.policy.cli import main

HZ = 100.0
TESTS = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    """Six seconds of all joints in motion, near their largest velocity."""
    path, spec = tmp_path_factory.mktemp("bad") / "demos", bad_robot.spec(HZ)
    t = np.arange(120) / spec.policy_hz
    action = (0.5 * np.sin(1.8 * t)[:, None] + [0.1, 0.2, 0.3]).astype(np.float32)
    with DemoStore.create(path, spec) as store:
        store.append(Episode({"joints": action, "action": action, "time": t}, spec))
    return path


class Cell:
    """A bad robot, what goes wrong with it and when, and what became of that."""

    def __init__(self, folder: Path, demos: Path) -> None:
        self.log, self.trouble, self.out = folder / "motors", folder / "trouble", folder / "out"
        self._demos = demos

    def cause(self, **trouble: Any) -> None:
        """Let something go wrong from now on, and nothing else."""
        beside = self.trouble.with_suffix(".new")
        beside.write_text(json.dumps(trouble))
        beside.rename(self.trouble)

    def later(self, seconds: float, *troubles: dict[str, Any], pause: float = 0.1) -> None:
        """Cause one trouble after the other, from so long after motion begins."""

        def work() -> None:
            while not self.commands() or np.ptp(self.commands()[-20:], axis=0).max() < 1e-3:
                time.sleep(0.02)
            time.sleep(seconds)
            for trouble in troubles:
                self.cause(**trouble)
                time.sleep(pause)

        threading.Thread(target=work, daemon=True).start()

    def run(self, *more: str, hz: float = HZ) -> int:
        options = [f"+options.log={self.log}", f"+options.trouble={self.trouble}", f"+options.hz={hz}"]
        who = [] if any(m.startswith(("policy=", "calibrate=")) for m in more) else [f"actions={self._demos}"]
        return main(["run", "robot=bad_robot:BadRobot", *options, *who, "unattended=true", f"out={self.out}", *more])

    def commands(self) -> list[Any]:
        if not self.log.exists():
            return []
        return [r["action"] for r in motion.records(self.log) if r["kind"] == "command" and r["action"] is not None]

    def said(self) -> str:
        return (self.out / "events.jsonl").read_text()

    def resets(self) -> int:
        return sum(r["kind"] == "reset" for r in motion.records(self.log))


@pytest.fixture
def cell(tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    monkeypatch.setenv("PYTHONPATH", TESTS)
    yield Cell(tmp_path, demos)


def test_a_good_day(cell: Cell) -> None:
    assert cell.run("seconds=4") == 0
    assert motion.judged(cell.log, HZ).keeps_limits()
    assert {r["dtype"] for r in motion.records(cell.log) if r.get("action")} == {"float64"}
    assert np.ptp(cell.commands(), axis=0).max() > 0.5, "it has moved"


TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "an encoder that is off by a radian": ({"offset": 1.0}, "jumped by|away from where it was sent"),
    "an encoder that is off by a million": ({"offset": 1e6}, "outside its limits"),
    "a joint that gives way": ({"sink": 0.5}, "away from where it was sent"),
    "joints that are held fast and pushed": ({"sink": -0.8, "stuck": True}, "away from where it was sent"),
    "observations that stay the same": ({"freeze": True}, r"observation is 0\.\d+ s old"),
    "observations that fail": ({"blind": True}, r"observation is 0\.\d+ s old"),
    "a bus that takes no commands": ({"deaf": True}, "takes no command: no answer on the bus"),
    "a clock that goes back": ({"clock_back": 100.0}, r"clock went back by (99.9\d|100.00) s"),
    "a clock that stands still": ({"clock_stops": True}, r"clock went on by 0\.\d+ s in 1\.\d+ s"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_fault_in_motion_ends_at_rest_within_limits(cell: Cell, trouble: str) -> None:
    causes, why = TROUBLES[trouble]
    cell.later(0.3, causes)
    assert cell.run("seconds=5") == 1
    assert motion.judged(cell.log, HZ).keeps_limits()
    assert motion.at_rest(cell.log) or "deaf" in causes, "what takes no commands stays where it was sent last"
    assert re.search(rf"active -> fault: .*({why})", cell.said())
