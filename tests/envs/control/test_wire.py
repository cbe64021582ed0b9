"""Pipes that are never waited for, shared memory that is there or is refused, and a reset that can
be broken off.
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from fakes import RAIL, FakeClock, Rail

from fewstep.envs import RobotError
from fewstep.envs.control.frames import FrameReader, FrameSender, Periods
from fewstep.envs.control.wire import Orders, Wire
from fewstep.envs.mailbox import Mailbox, Ring, empty_memory
from fewstep.envs.robot import Command, Obs, Step
from fewstep.envs.safety.clock_check import ClockCheck
from fewstep.envs.safety.homing import HomingRobot
from fewstep.envs.safety.notices import Notices


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_matters_arrives_however_full_the_pipe_was(pipe) -> None:
    reading, writing = pipe
    wire = Wire(writing, limit=1000)
    for _ in range(100_000):
        wire.send(b"x" * 99 + b"\n")
    wire.send(b"ended\n", spare=False)
    heard = b""
    while not heard.endswith(b"ended\n"):
        heard += os.read(reading, 1 << 16)
        wire.flush()
    lines = heard.split(b"\n")[:-1]
    assert all(line in (b"x" * 99, b"ended") for line in lines), "no line is torn"
    assert wire.dropped == 100_000 - (len(lines) - 1) > 0


def test_a_pipe_whose_reader_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Wire(writing, 10).send(b"nobody hears this")
    os.close(writing)


def test_orders_come_as_whole_lines_and_the_end_of_the_pipe_means_stop() -> None:
    reading, writing = os.pipe()
    orders = Orders(reading)
    os.write(writing, b"arm\nplay 3 1.5 act")
    assert orders.take() == ["arm"] and not orders.break_off()
    os.write(writing, b"ive\nhold\n")
    assert orders.break_off() and orders.take() == ["play 3 1.5 active", "hold"]
    os.close(writing)
    assert orders.take() == ["stop"] and orders.break_off()
    os.close(reading)


def test_a_ring_gives_every_record_in_order_and_counts_what_it_lost() -> None:
    writer = Ring(np.dtype([("n", "i8")]), 8)
    reader = Ring(writer.dtype, 8, writer.fd)
    record = np.zeros((), writer.dtype)

    def write(first: int, last: int) -> None:
        for n in range(first, last):
            record["n"] = n
            writer.write(record)

    write(0, 5)
    assert [int(reader.read()["n"]) for _ in range(5)] == [0, 1, 2, 3, 4] and reader.read() is None
    write(5, 25)
    found = []
    while (next_one := reader.read()) is not None:
        found.append(int(next_one["n"]))
    assert found == sorted(found) and found[-1] == 24 and reader.lost + len(found) == 20
    writer.close()
    reader.close()


FULL = """
    import resource, sys
    import numpy as np
    from fewstep.envs import RobotError
    from fewstep.envs.mailbox import Mailbox
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        Mailbox(np.dtype([("x", "u1", (100_000,))]))
    except RobotError as error:
        print(error)
"""


def test_memory_that_is_not_there_is_refused_before_anything_is_written() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL)], check=False, capture_output=True, text=True
    )
    assert "no shared memory of" in done.stdout and done.returncode == 0


def test_memory_is_touched_when_it_is_taken() -> None:
    fd = empty_memory()
    box = Mailbox(np.dtype([("x", "u1", (1 << 20,))]), fd)
    assert os.fstat(fd).st_blocks * 512 >= 1 << 20, "pages that were never written can fail later"
    box.close()
    os.close(fd)


def test_a_reset_gives_signs_of_life_and_can_be_broken_off() -> None:
    robot, lives, asked = Rail(FakeClock()), [], threading.Event()
    robot.reset = lambda seed: time.sleep(20)  # type: ignore[method-assign]
    before = signal.getsignal(signal.SIGUSR1)
    homing = HomingRobot(robot, lives.append, asked.is_set)
    threading.Timer(0.5, asked.set).start()
    began = time.monotonic()
    with pytest.raises(RobotError, match="broken off"):
        homing.reset(0)
    assert time.monotonic() - began < 5 and len(lives) >= 3 and lives == sorted(lives)
    os.kill(os.getpid(), signal.SIGUSR1)  # one that comes late does nothing
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("rate", "told"), [(1.0, ""), (0.0, "went on by 0.00 s"), (3.0, "went on by 3.")]
)
def test_a_clock_that_does_not_go_as_time_does_is_told(rate: float, told: str) -> None:
    clock, time_ = FakeClock(50.0), FakeClock()
    check, found = ClockCheck(clock, time_), ""
    for _ in range(25):
        clock.time, time_.time = clock.time + 0.1 * rate, time_.time + 0.1
        found = check.trouble() or found
    assert told in found and bool(found) == bool(told)
    clock.time -= 1.0
    assert "went back by 1.00 s" in check.trouble()


def test_notices_of_one_kind_are_told_once_a_second_and_counted() -> None:
    said, now = list[str](), [0.0]
    notices = Notices(said.append, lambda: now[0])
    for k in range(500):
        now[0] = k / 100
        notices.say("bus", f"error {k}")
    assert len(said) == 5 and said[1] == "error 100 (99 more like it)"
    notices.say("other", "same")
    notices.say("other", "same")
    assert said[5:] == ["same"]


def test_frames_come_through_as_they_were_one_for_each_period() -> None:
    spec, fd = replace(RAIL, command_hz=100.0), empty_memory()
    reader = FrameReader(spec, fd)
    sender = FrameSender(spec, fd)
    for episode in (0, 1):
        for k in range(100):
            data = {"position": np.array([k / 7], np.float32)}
            step = Step(
                Obs(k / 100, data, {"position": k / 100 - 0.01}),
                Command(np.array([k]), "policy"),
                np.array([k]),
                0,
            )
            sender.step(episode, step)
    found = []
    while (frame := reader.read()) is not None:
        found.append(frame)
    assert [episode for episode, _, _ in found] == [0] * 10 + [1] * 10 and reader.lost == 0
    assert [float(step.sent[0]) for _, _, step in found[:10]] == list(range(0, 100, 10))
    last = found[-1][2]
    assert last.intended.source == "policy"
    assert last.obs.data["position"][0] == np.float32(90 / 7) and last.obs.stamps[
        "position"
    ] == pytest.approx(0.89)
    reader.close()
    os.close(fd)


def test_periods_are_those_of_the_policy() -> None:
    periods = Periods(replace(RAIL, command_hz=500.0))
    periods.begin(3.0)
    due = [k for k in range(500) if periods.due(3.0 + k / 500)]
    assert due == list(range(0, 500, 50))
