"""What a run does where its monitor gives alarm: log, warn, slow down, or hold."""

from __future__ import annotations

import math
from typing import Any

from ...envs import ConfigError
from ...envs.errors import names
from ..engines.remote import is_address
from ..monitoring.monitor import SCORES, has_monitor, read_monitor
from .run_config import Level, Log, RunConfig
from .supervisor import Supervisor

REACTIONS = ("off", "log", "warn", "slow", "hold")
SLOW_PACE = 0.3  # of full velocity
CALM_CHUNKS = 3  # in a row without an alarm, after which it is over


def scores_chunks(config: RunConfig) -> bool:
    """Return whether the chunks of a run are scored.

    ConfigError where the settings ask for what the policy's monitor cannot do, CheckpointError
    where that is damaged.
    """
    if config.monitor not in REACTIONS:
        raise ConfigError(f"monitor={config.monitor!r} is unknown; valid: {names(REACTIONS)}")
    if config.monitor == "off" or not config.policy:
        return False
    reacts = config.monitor in ("slow", "hold")
    if is_address(config.policy) or not has_monitor(config.policy):
        if reacts:
            raise ConfigError(
                f"monitor={config.monitor} needs a monitor beside the policy: "
                f"fewstep monitor policy={config.policy} data=... task=... makes one"
            )
        return False
    monitor = read_monitor(config.policy)  # says now what is wrong with it
    if reacts and monitor.calibration is None:
        raise ConfigError(
            f"monitor={config.monitor} needs a threshold: fewstep monitor policy={config.policy} "
            "with task= or runs= finds one"
        )
    return True


class Alarm:
    """Hears the scores of chunks, and does what was asked for where the largest is above 1."""

    def __init__(self, config: RunConfig, supervisor: Supervisor, log: Log) -> None:
        self._reaction = config.monitor
        self._supervisor = supervisor
        self._rest = "disarm" if config.shadow else "hold"
        self._log = log
        self.begin({"time": -math.inf})

    def begin(self, event: dict[str, Any]) -> None:
        """Begin an episode, at full pace; scores of observations before it count no more."""
        self._since = event["time"]
        self._given = False
        self._calm = 0  # chunks in a row without one

    def hear(self, event: dict[str, Any]) -> None:
        """Take in the scores of a chunk."""
        score = event.get("score")
        if score is None or event["time"] < self._since:  # not calibrated, or of before
            return
        self._calm = 0 if score > 1 else self._calm + 1
        if score > 1 and not self._given:
            self._given = True
            self._react(event)
        elif self._given and self._calm >= CALM_CHUNKS:
            self._given = False
            self._note("the monitor is calm again", "info")
            if self._reaction == "slow":
                self._supervisor.order("pace 1")

    def _react(self, event: dict[str, Any]) -> None:
        worst = max(SCORES, key=lambda name: event["shares"][name])
        what = {
            "observation": "what the policy sees is unlike what it has learnt from",
            "disagreement": "the policy changes its plan from chunk to chunk",
        }[worst]
        self._note(f"monitor: {what} ({event['score']:.1f} of the threshold)", "warning")
        if self._reaction == "slow":
            self._supervisor.order(f"pace {SLOW_PACE}")
        if self._reaction == "hold":
            self._supervisor.held = True
            self._supervisor.order(f"{self._rest} the monitor")

    def _note(self, text: str, level: Level) -> None:
        self._supervisor.run_log.note("alarm", text=text)
        if self._reaction != "log":
            self._log(text, level)
