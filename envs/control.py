"""The control process: owns the clock, the robot and its safety; no torch, no waiting for anyone."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from .agent import Agent
from .calibrate import Sweep
from .clock import ticks
from .errors import FewstepError, RobotError
from .limits import Limits
from .loop import Actor, episode
from .mailbox import Mailbox
from .process import Messages, ProcessRunner
from .replay import Replay
from .robot import Command, Outcome, Robot, Step, measured
from .robots import make_live
from .safety import SILENT, SafeRobot, State, Watch
from .spec import Spec, differences

STATES = tuple(State)
MCL_CURRENT = 1  # of mlockall(2): what is in memory now stays there
NOTHING = Command(None, "operator")
NOT_BEGUN = "not begun"  # why an episode has ended whose state was refused


def tick_type(actions: int) -> np.dtype:
    """The record of one tick; times in s of the robot's clock, ages and lateness in s, arrays (A,) in robot units."""
    head = [("time", "f8"), ("lateness", "f8"), ("episode", "i4"), ("state", "u1"), ("age", "f8"), ("inference", "f8")]
    return np.dtype([*head, *((name, "f4", (actions,)) for name in ("measured", "wanted", "sent"))])


class Wire:
    """A pipe that is never waited for: what does not fit is dropped, and counted."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd, self.dropped = fd, 0

    def send(self, content: bytes) -> None:
        """Write, or count."""
        try:
            os.write(self._fd, content)
        except (BlockingIOError, BrokenPipeError):
            self.dropped += 1


class Control:
    """Ticks on, whoever asks for what: holding between episodes, acting in them.

    What it is told comes as lines on the standard input: `go STATE`, `play SEED SECONDS STATE`, `stop`.
    """

    def __init__(self, safe: SafeRobot, actor: Actor, runner: ProcessRunner | None, out: Wire, events: Wire) -> None:
        self.safe, self._actor, self._runner, self._out, self._events = safe, actor, runner, out, events
        self._record, self._episode = np.zeros((), tick_type(safe.spec.action_size)), -1
        self.stopping, self._heard = False, b""
        os.set_blocking(0, False)

    def tell(self, event: str, **more: Any) -> None:
        """Say something to whoever keeps the log."""
        line = json.dumps({"time": self.safe.clock.now(), "event": event, **more})
        self._events.send(line.encode() + b"\n")

    def run(self) -> None:
        """Until told to stop, nobody is left to tell, or anything fails; then brake, and let go of the robot."""
        try:
            self._tick()
        finally:
            try:
                self._brake()
            finally:
                self._let_go()

    def _tick(self) -> None:
        play: list[str] = []
        while not self.stopping:
            for lateness in ticks(self.safe.clock, self.safe.spec.command_hz):
                self._idle(lateness)
                if self.stopping or (play := self._listen()):
                    break
            if play:
                self._play(int(play[0]) if play[0] != "-" else None, float(play[1]), State(play[2]))
                play = []

    def _idle(self, lateness: float) -> None:
        obs = self.safe.observe()
        self._keep(Step(obs, NOTHING, self.safe.command(NOTHING), lateness))

    def _play(self, seed: int | None, seconds: float, state: State) -> None:
        self._episode += 1
        self.tell("begins", episode=self._episode, seed=seed)
        self._go(state)
        if self.safe.state is not state:
            self.tell("ended", episode=self._episode, why=NOT_BEGUN)
            return
        for step in episode(self.safe, self._actor, seed=seed, max_seconds=seconds):
            if step is not None:
                self._keep(step)
            self._listen()
            if self.stopping or self.safe.state is not state:
                break
        outcome = self.safe.outcome()
        if self.safe.state is State.ACTIVE:
            self.safe.go(State.HOLD)
        self.tell("ended", episode=self._episode, **(_plain(outcome) if outcome else {"why": "over"}))

    def _listen(self) -> list[str]:
        """Do what is asked; a `play` is given back, for the loop to do."""
        with suppress(BlockingIOError):
            content = os.read(0, 4096)
            self.stopping |= not content
            self._heard += content
        while b"\n" in self._heard:
            line, self._heard = self._heard.split(b"\n", 1)
            word, *rest = line.decode().split()
            if word == "play":
                return rest
            self.stopping |= word == "stop"
            if word == "go":
                self._go(State(rest[0]))
        return []

    def _go(self, state: State) -> None:
        try:
            if state is not self.safe.state:
                self.safe.go(state)
        except FewstepError as error:
            self.tell("refused", text=str(error))

    def _keep(self, step: Step) -> None:
        r, obs = self._record, step.obs
        r["time"], r["lateness"], r["episode"] = obs.time, step.lateness, self._episode
        r["state"], r["age"] = STATES.index(self.safe.state), obs.time - min(obs.stamps.values(), default=obs.time)
        r["inference"] = self._runner.seconds if self._runner else 0.0
        r["measured"], r["sent"] = measured(self.safe.spec, obs), step.sent
        r["wanted"] = np.nan if step.intended.action is None else step.intended.action
        self._out.send(r.tobytes())

    def _brake(self) -> None:
        """Come to rest within the limits."""
        if self.safe.state is State.ACTIVE:
            self.safe.go(State.HOLD)
        for lateness in ticks(self.safe.clock, self.safe.spec.command_hz, 10.0):
            if self.safe.state in SILENT or self.safe.resting:
                break
            self._idle(lateness)

    def _let_go(self) -> None:
        try:
            self.safe.close()
        except Exception as error:
            raise RobotError(f"the robot could not be closed: {error}") from error
        self.tell("stopped", dropped=self._out.dropped + self._events.dropped)


def _plain(outcome: Outcome) -> dict[str, Any]:
    """Values for JSON, whatever kind of number a robot has used."""
    success = None if outcome.success is None else bool(outcome.success)
    return {"success": success, "score": float(outcome.score), "why": str(outcome.why)}


def real_time(priority: int) -> str:
    """Freeze the garbage collector, keep the memory, and ask for SCHED_FIFO; says what became of that."""
    gc.collect()
    gc.freeze()
    gc.disable()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mlockall(MCL_CURRENT)
    if not priority:
        return "SCHED_FIFO not asked for"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError) as error:
        return f"NO REAL-TIME PRIORITY ({error}): ticks will be late under load; see docs/running.md, LimitRTPRIO"
    return f"SCHED_FIFO {priority}"


def main(c: Mapping[str, Any]) -> None:
    """Make everything, say `ready`, and tick; or say what keeps it from doing so."""
    events = Wire(c["events"])
    try:
        _serve(c, events)
    except FewstepError as error:
        events.send(json.dumps({"event": "failed", "text": str(error)}).encode() + b"\n")
    except Exception as error:
        text = f"the control process failed: {type(error).__name__}: {error}"
        told = {"event": "failed", "text": text, "trace": traceback.format_exc()[-2000:]}
        events.send(json.dumps(told).encode() + b"\n")


def _serve(c: Mapping[str, Any], events: Wire) -> None:
    robot = make_live(c["robot"], c["options"])
    try:
        control = _control(c, robot, events)
    except BaseException:
        robot.close()
        raise
    control.run()


def _control(c: Mapping[str, Any], robot: Robot, events: Wire) -> Control:
    if wrong := differences(Spec.from_json(c["spec"]), robot.spec):
        raise RobotError(f"what shall run does not fit robot {c['robot']!r}: {'; '.join(wrong)}")

    def hear(text: str) -> None:
        events.send(json.dumps({"time": robot.clock.now(), "event": "safety", "text": text}).encode() + b"\n")

    safe = SafeRobot(robot, Limits.of(robot.spec, c["limits"], c["free"]), Watch(**c["watch"]), hear)
    actor, runner = (Sweep(robot.spec), None) if c["calibrate"] else _actor(c)
    control = Control(safe, actor, runner, Wire(c["ticks"]), events)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(control, "stopping", True))
    safe.reset(None)
    control.tell("ready", pid=os.getpid(), scheduling=real_time(c["priority"]), hz=robot.spec.command_hz)
    return control


def _actor(c: Mapping[str, Any]) -> tuple[Actor, ProcessRunner | None]:
    if c["replay"]:
        return Replay(np.load(c["replay"], allow_pickle=False), Spec.from_json(c["spec"])), None
    spec, agent = Spec.from_json(c["spec"]), c["agent"]
    messages = Messages(spec, observation_steps=agent["observation_steps"], horizon=c["horizon"])
    runner = ProcessRunner(
        messages, Mailbox(messages.request, c["requests"]), Mailbox(messages.chunk, c["chunks"]), c["bell"]
    )
    return Agent(runner, spec, **agent), runner


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
