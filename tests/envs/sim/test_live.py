"""Robots by name, simulated ones in real time, and an arm that needs no simulator."""

import math
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeClock

from fewstep.envs import Command, RobotError
from fewstep.envs.hardware import registry as robots
from fewstep.envs.hardware.registry import make_live
from fewstep.envs.hardware.simulated_arm import SimulatedArm
from fewstep.envs.sim.real_time import Live
from fewstep.envs.sim.registry import make_robot
from fewstep.envs.testing import RobotContract


class TestSimulatedArm(RobotContract):
    def make_robot(self) -> SimulatedArm:
        return SimulatedArm(hz=20.0, clock=FakeClock())


def test_a_robot_goes_by_the_name_of_its_maker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_arm.py").write_text(
        "from fewstep.envs.hardware.simulated_arm import SimulatedArm\n"
        "def make(port): return SimulatedArm(joints=port)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert make_live("my_arm:make", {"port": 3}).spec.action_size == 3
    with pytest.raises(RobotError, match=r"or one that is installed$"):
        make_live("leg", {})
    with pytest.raises(RobotError, match="does not take"):
        make_live("my_arm:make", {"baud": 3})
    installed = EntryPoint("arm", "my_arm:make", robots.GROUP)
    monkeypatch.setattr(
        robots, "entry_points", lambda group: [installed] if group == robots.GROUP else []
    )
    assert make_live("arm", {"port": 2}).spec.action_size == 2
    with pytest.raises(RobotError, match=r"no robot 'leg'.*installed \(arm\)"):
        make_live("leg", {})


def test_a_simulation_keeps_up_with_the_clock_and_waits_for_nobody() -> None:
    clock, robot = FakeClock(100.0), make_robot("pickplace")
    live = Live(robot, clock)
    live.reset(0)
    start = live.observe()
    target = start.data["joints"] + np.float32(0.1)
    live.command(Command(np.append(target, np.float32(0.0)), "operator"))
    clock.time += 0.5
    moved = live.observe()
    assert moved.time == 100.5 and robot.elapsed == pytest.approx(0.5)
    assert np.abs(moved.data["joints"] - target).max() < 0.03
    clock.time += 60
    assert live.observe() is not None and live.outcome() is not None, "its time is over"


@pytest.mark.parametrize(
    ("observing", "acting"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.1), (0.05, 0.1)]
)
def test_an_arm_shows_a_command_as_late_as_it_says(observing: float, acting: float) -> None:
    arm = SimulatedArm(
        joints=1, hz=100.0, observing=observing, acting=acting, lag=0.0, clock=FakeClock()
    )
    arm.reset(0)
    begun, first = arm.clock.now(), float(arm.observe().data["joints"][0])
    arm.command(Command(np.array([first + 0.5]), "operator"))
    seen = math.nan
    for k in range(1, 60):
        arm.clock.wait_until(begun + k / 100)
        if math.isnan(seen) and arm.observe().data["joints"][0] > first + 0.4:
            seen = arm.clock.now() - begun
    assert seen == pytest.approx(observing + acting, abs=0.0201)  # and two ticks


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        ("def make(): raise OSError('no port')", "could not be made: OSError: no port"),
        ("def make(): return None", "made None, which is no Robot: it lacks clock, close, command"),
        ("def make(:", "could not be made: module 'ill_arm_.*' fails: SyntaxError"),
    ],
)
def test_a_maker_that_fails_is_named(
    maker: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"ill_arm_{abs(hash(maker))}"
    (tmp_path / f"{name}.py").write_text(maker + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RobotError, match=f"robot '{name}:make' {message}"):
        make_live(f"{name}:make", {})
    with pytest.raises(RobotError, match="'pickplace' does not take"):
        make_live("pickplace", {"port": 3})
