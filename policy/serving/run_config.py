"""What a run is told: on which robot, who acts, and within what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ...envs import ConfigError
from ...envs.agent import require_delay
from ...envs.hardware.registry import is_driver
from ...envs.safety.states import WatchdogConfig

Level = Literal["info", "warning", "alarm"]
Log = Callable[[str, Level], None]  # is given what a person has to know


@dataclass(frozen=True)
class RunConfig:
    """What runs, on which robot, and within what."""

    # "simulated", ros2, lerobot:<type>, a task in real time, "module:callable", or an installed one
    robot: str
    # what the robot's maker takes: options.port=/dev/ttyUSB0
    options: dict[str, Any] = field(default_factory=dict)
    # a run folder, a policy that comes with the package, or the ws://host:port of a server
    policy: str = ""
    # cameras.yaml, which `fewstep cameras` writes, or {front: /dev/video0}; not of a simulated task
    cameras: Any = None
    actions: str = ""  # a store whose recorded `episode` is replayed in place of a policy
    episode: int = 0  # which one
    engine: str = "fastest"  # what computes the chunks; by default the fastest that is there
    episodes: int = 1  # how many to play
    seconds: float = 60.0  # [s] of an episode, at most
    seed: int = -1  # of the first start, for robots that draw it; -1 for none
    # a YAML file {action: {low, high, velocity, acceleration, max_following_error}} that makes
    # the robot's limits tighter
    limits: str = ""
    unlimited: tuple[str, ...] = ()  # actions that go without limits
    # a store, made where there is none, in which every episode is kept as a demonstration
    record: str = ""
    # keyboard, gamepad, spacemouse, or a leader arm, named as robot= is, with which a person takes
    # the robot from the policy at any moment, and gives it back
    teleop: str = ""
    # what a leader arm's maker takes: leader.port=/dev/ttyACM1
    leader: dict[str, Any] = field(default_factory=dict)
    # where the policy's monitor gives alarm: off, log, warn, slow (to a third of full velocity) or
    # hold, which ends the episode; without a monitor nothing is scored
    monitor: str = "warn"
    shadow: bool = False  # everything runs, nothing is sent
    # in place of a policy a small motion of one joint after the other, which tells how old
    # observations are and how long commands take; with a policy also how long its inference takes
    calibrate: bool = False
    # [s] that a command takes to act, and is sent early; by default what the policy says
    actuation_delay: float | None = None
    unattended: bool = False  # ask nobody anything, and end with the first fault
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    priority: int = 50  # of SCHED_FIFO, 0 to go without
    threads: int = 1  # of the CPU, for the inference
    page: bool = True  # serve a page that shows the run, with buttons to hold, arm and end it
    port: int = 0  # of the page, on this machine only; 0 takes any
    out: str = "out/run"  # folder of the log


def require_consistent(config: RunConfig) -> None:
    """Raise ConfigError where settings contradict each other."""
    if config.calibrate and config.actions:
        raise ConfigError("calibrate=true replays nothing: leave out actions=")
    if not config.calibrate and bool(config.policy) == bool(config.actions):
        raise ConfigError("run needs either a policy= or recorded actions=")
    if config.calibrate and config.shadow:
        raise ConfigError("calibrate=true moves the robot: it cannot be done with shadow=true")
    if config.record and (config.shadow or config.calibrate):
        raise ConfigError("record= keeps what a policy has sent: not with shadow or calibrate=true")
    if config.teleop and (config.shadow or config.calibrate or not config.policy):
        raise ConfigError(
            "teleop= takes a robot from its policy: not with shadow, calibrate or actions="
        )
    if config.actuation_delay is not None:
        require_delay(config.actuation_delay)
    if config.cameras is not None and not is_driver(config.robot):
        raise ConfigError(
            f"cameras= is for robots, and {config.robot!r} is a simulated task: it draws the "
            "pictures that its policy looks at"
        )
    watchdog = config.watchdog
    positive = {
        "seconds": config.seconds,
        "watchdog.observation_seconds": watchdog.observation_seconds,
        "watchdog.camera_seconds": watchdog.camera_seconds,
        "watchdog.action_seconds": watchdog.action_seconds,
        "episodes": config.episodes,
        "threads": config.threads,
    }
    wrong = [f"{name}={value}" for name, value in positive.items() if not value > 0]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}: must be above 0")
    if not watchdog.ramp_seconds >= 0 or config.episode < 0:
        raise ConfigError(
            "watchdog.ramp_seconds and episode must be 0 or more, "
            f"not {watchdog.ramp_seconds} and {config.episode}"
        )
    if not 0 <= config.priority <= 99:
        raise ConfigError(f"priority must be 0 to 99, not {config.priority}")
