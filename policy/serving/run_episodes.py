"""The episodes of a run: begun, held, judged and told of, one after the other."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from ...envs import Spec
from ...envs.control.control_loop import NOT_BEGUN
from ...envs.control.log_reading import read_ticks
from ...envs.interrupts import handled_signals
from ...envs.safety.states import State
from .episode_report import report_episode
from .run_config import Log, RunConfig
from .run_recorder import RunRecorder
from .supervisor import Supervisor
from .takeover import TakeoverDevice


class Operator(Protocol):
    """The person in charge. `poll` is to be called again and again while a question is open."""

    def begins(self, episode: int, poll: Callable[[], None]) -> bool:
        """Ask whether the next episode shall begin."""
        ...

    def judges(self, poll: Callable[[], None]) -> bool | None:
        """Ask whether an episode succeeded; None where the person cannot say."""
        ...


def play_episodes(
    config: RunConfig,
    supervisor: Supervisor,
    spec: Spec,
    operator: Operator,
    log: Log,
    recorder: RunRecorder | None,
    takeover: TakeoverDevice | None,
) -> int:
    """Play one episode after the other; return 1 where one failed."""
    code = 0
    for episode in range(config.episodes):
        if not config.unattended and not operator.begins(episode, supervisor.poll):
            break
        if not config.unattended:
            supervisor.held = False  # a person has begun this one
        if supervisor.held:
            break
        with takeover.reading() if takeover else nullcontext():
            outcome = _play_episode(config, supervisor, episode)
        if recorder:
            recorder.take_all()
        success = outcome.success
        if success is None and not config.unattended:
            success = operator.judges(supervisor.poll)
        supervisor.run_log.note("judged", episode=episode, success=success)
        log(f"episode {episode}: {outcome.why}; success: {success}", "info")
        if recorder:
            recorder.end(success)
        ticks = read_ticks(supervisor.run_log.folder, _state(config))
        ticks = ticks[ticks["episode"] == outcome.number]
        cameras = [port.name for port in supervisor.cameras.ports] if supervisor.cameras else []
        report_episode(spec, ticks, cameras, log)
        if success is False or outcome.is_fault:
            code = 1
        if config.unattended and (outcome.interrupted or outcome.is_fault):
            break
    return code


@dataclass(frozen=True)
class Played:
    """How an episode ended."""

    number: int  # as the control process counts
    why: str
    success: bool | None  # None where nobody judged it yet
    interrupted: bool  # by the person

    @property
    def is_fault(self) -> bool:
        """Return whether a fault ended it, or kept it from beginning."""
        return self.why == NOT_BEGUN or self.why.startswith("fault")


def _play_episode(config: RunConfig, supervisor: Supervisor, episode: int) -> Played:
    supervisor.wait_for_inference()
    if not config.shadow:
        supervisor.order("arm")
    seed = str(config.seed + episode) if config.seed >= 0 else "-"
    rest = "disarm" if config.shadow else "hold"
    supervisor.order(f"play {seed} {config.seconds} {_state(config)}")
    if supervisor.held:  # on the page, perhaps before there was an episode to hold
        supervisor.order(rest)
    with _interrupts(supervisor, rest):
        ended = supervisor.wait("ended")
    why = ended.get("why") or "over"
    return Played(ended["episode"], why, ended.get("success"), supervisor.held)


def _state(config: RunConfig) -> State:
    return State.SHADOW if config.shadow else State.ACTIVE


@contextmanager
def _interrupts(supervisor: Supervisor, rest: str) -> Iterator[None]:
    """Let the first Ctrl-C bring the robot to `rest`, and the second end the run.

    So does Ctrl-Z, which stops no arm.
    """
    pressed: list[bool] = []

    def hold(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        supervisor.held = True
        supervisor.order(rest)

    with handled_signals(hold, signal.SIGINT, signal.SIGTSTP):
        yield
