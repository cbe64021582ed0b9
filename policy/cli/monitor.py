"""`fewstep monitor`: make, or calibrate, what warns before a policy fails."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ...envs import ConfigError
from ...envs.seeds import evaluation_seeds
from ..checkpoint import load_policy
from ..evaluation.job import Job
from ..evaluation.judged_runs import read_judged_scores
from ..evaluation.monitor_calibration import calibrate, fit_monitor, score_rollouts
from ..monitoring.monitor import SCORES, Monitor, has_monitor, read_monitor, require_own
from .printing import say
from .progress import Bars


@dataclass(frozen=True)
class MonitorSettings:
    """Learn what good episodes look like, so that a run warns when one is unlike them.

    data= makes a monitor of the policy's demonstrations; task= or runs= calibrates it on episodes
    of the policy that have succeeded. It lies beside the policy, and `fewstep run` uses it.
    """

    policy: str = MISSING  # a run folder
    data: str = ""  # the demonstrations that the policy has learnt from
    task: str = ""  # a simulated task; its validation starts are played
    episodes: int = 100  # to play
    runs: tuple[str, ...] = ()  # logs of runs on the robot whose episodes a person has judged
    alarms: float = 0.1  # share of good episodes in which an alarm is put up with, at most


def run(settings: MonitorSettings, console: Console) -> int:
    """Make, calibrate, write, and show."""
    if not (settings.data or settings.task or settings.runs):
        raise ConfigError("monitor needs data= to make one, and task= or runs= to calibrate it")
    if settings.task and settings.runs:
        raise ConfigError("a monitor is calibrated by task= or by runs=, not by both")
    require_own(settings.policy)
    if settings.data:
        say(console, "learning what is known: about a minute of a processor")
        monitor = fit_monitor(settings.policy, settings.data)
    elif has_monitor(settings.policy):
        monitor = read_monitor(settings.policy)
    else:
        raise ConfigError(f"{settings.policy} has no monitor yet: data= makes one")
    if settings.task:
        monitor = _calibrate_in_simulation(settings, monitor, console)
    if settings.runs:
        worst = read_judged_scores(settings.runs, monitor.weights)
        source = ", ".join(settings.runs)
        monitor = calibrate(monitor, worst, settings.alarms, source)
    path = monitor.write(settings.policy)
    _print(console, monitor)
    say(console, f"written to {path}")
    return 0


def _calibrate_in_simulation(
    settings: MonitorSettings, monitor: Monitor, console: Console
) -> Monitor:
    sampler = load_policy(settings.policy).config.drawn_by
    seeds = evaluation_seeds(0, settings.episodes)
    job = Job(settings.policy, settings.task, sampler, seeds)
    with Bars(console) as bars:
        name = "episodes"
        scored = score_rollouts(
            job, monitor, lambda count: bars.advance(name, settings.episodes, count)
        )
    good = [each.worst() for each in scored if each.rollout.success]
    return calibrate(monitor, good, settings.alarms, settings.task)


def _print(console: Console, monitor: Monitor) -> None:
    found = monitor.calibration
    if found is None:
        say(console, "it has no threshold yet: task= or runs= calibrates it")
        return
    for name, scale in zip(SCORES, found.scales, strict=True):
        say(console, f"{name}: an alarm above {scale * found.threshold:.3g}")
    say(
        console,
        f"from {found.episodes} episodes that succeeded ({found.source}): in the next one like "
        f"these an alarm comes with probability {found.alarms:g} at most",
    )
