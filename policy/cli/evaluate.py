"""`fewstep evaluate`: seeded rollouts of a policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from ...envs import ConfigError, FewstepError
from ...envs.atomic_files import write_file, writing
from ...envs.errors import refusing
from ...envs.schema import from_plain
from ...envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from ..checkpoint import load_policy
from ..diffusion.samplers import Sampler
from ..engines.remote import RemoteEngine, is_address
from ..evaluation.evaluate import evaluate
from ..evaluation.job import Job
from ..evaluation.open_loop import default_samplers
from ..evaluation.replay import film_failures, read_evaluation
from ..evaluation.same_starts import require_comparable, require_same_seeds
from .open_loop import run_open_loop
from .overrides import given_settings, refuse_settings
from .progress import Bars
from .tables import print_comparison, print_differences, results_table


@dataclass(frozen=True)
class EvaluateSettings:
    """Roll a policy out on seeded starts, or set its chunks beside demonstrations.

    With task=: success, score and latency, with 95 % intervals, in evaluation.json. With data= no
    simulator is needed: errors on held-out episodes, in open_loop.json and open_loop.html.
    """

    # a run folder, a policy that comes with the package, or the ws://host:port of a server
    policy: str = MISSING
    task: str = ""  # a built-in task, metaworld/<name>, or any gymnasium id, also module:Id
    data: str = ""  # demonstrations, in place of a task
    # what the environment's constructor takes: task.options={x:1}
    task_options: dict[str, Any] = field(default_factory=dict)
    out: str = "out/evaluation"  # folder of what is written
    # rollouts per number of network evaluations and delay, by default 50; of data= at most so many
    # episodes, by default all that are held out
    episodes: int | None = None
    # of the first start; 0 to 9999 are for choosing, 100000 upwards for reporting; with data= that
    # of the noise
    seed: int = FIRST_TEST_SEED
    # per chunk, a number or a list; by default the policy's own, with data= also 1, 2, 3 and 10
    network_evaluations: Any = None
    sampler: str = ""  # step rule; by default the policy's own
    times: tuple[float, ...] = ()  # a grid from 1 to 0, in place of network_evaluations
    start: float | None = None  # scale of the noise that a chunk starts from
    noise: float | None = None  # scale of the noise that a stochastic sampler adds on the way
    clip: float | None = None  # largest |x0| on the way, 0 for no limit
    engine: str = "eager"  # what computes the chunks
    workers: int = 0  # processes, 0 for one per core; they change nothing but the time
    delay: Any = 0  # [ticks] from an observation to its chunk, a number or a list
    jitter: float = 0.0  # [ticks] at most so many more, drawn for each chunk
    recorded: str = ""  # log of a `fewstep run` whose chunks' times are drawn in place of delay
    on_delay: str = ""  # what the Agent does meanwhile: prefix, switch or hold
    hz: float | None = None  # [1/s] control rate, where the environment does not say it
    seconds: float | None = None  # [s] of an episode, at most; by default as the environment says
    replay: str = ""  # an evaluation.json whose failed episodes are rolled out again and filmed
    videos: int = 4  # most videos of replay
    # whether report.html, with videos, is written beside evaluation.json; data= always has a page
    report: bool = False
    compare: str = ""  # an evaluation.json on the same seeds to set beside this one


ROLLOUTS = 50  # by default
OF_FILES = (  # settings that a server's policy decides itself, or that need its files
    "data",
    "network_evaluations",
    "sampler",
    "times",
    "start",
    "noise",
    "clip",
    "engine",
    "replay",
    "report",
)
OF_ROLLOUTS = (  # settings that say nothing where demonstrations stand in for a task
    "task_options",
    "workers",
    "delay",
    "jitter",
    "recorded",
    "on_delay",
    "hz",
    "seconds",
    "replay",
    "videos",
    "compare",
)


def run(settings: EvaluateSettings, console: Console) -> int:
    """Evaluate a policy with one or several numbers of network evaluations and delays."""
    if is_address(settings.policy):
        refuse_settings(settings, OF_FILES, f"{settings.policy} is a server, which decides")
    if settings.task and settings.data:
        raise ConfigError("`fewstep evaluate` takes task= or data=, not both")
    if settings.data:
        return _evaluate_open_loop(settings, console)
    if not settings.task:
        raise ConfigError("`fewstep evaluate` needs task=... or data=...")
    jobs = jobs_of(settings)
    out = Path(settings.out)
    if settings.replay:
        return _replay(settings, jobs[0], console)
    earlier = _read_comparable(settings.compare, jobs[0]) if settings.compare else None
    with writing(out):  # before the work, which would be lost
        out.mkdir(parents=True, exist_ok=True)
    with Bars(console) as bars:
        evaluation = evaluate(
            jobs,
            workers=settings.workers,
            paired_by="compare" if settings.compare else "",
            on_rollouts=lambda job, count: advance(bars, job, count),
        )
    write_file(out / "evaluation.json", json.dumps(evaluation, indent=1).encode())
    console.print(results_table(evaluation))
    print_differences(console, evaluation)
    console.print(f"written to {out / 'evaluation.json'}")
    if settings.report:
        _write_report(settings, jobs, evaluation, console)
    if earlier is not None:
        with refusing(FewstepError, f"{settings.compare} is no evaluation.json"):
            print_comparison(console, evaluation, earlier)
    return 0


def _evaluate_open_loop(settings: EvaluateSettings, console: Console) -> int:
    refuse_settings(settings, OF_ROLLOUTS, "data= is evaluated without rollouts")
    policy = load_policy(settings.policy)
    samplers = samplers_of(settings, policy.config.drawn_by)
    if settings.network_evaluations is None and not settings.times:
        samplers = default_samplers(policy, samplers[0])
    return run_open_loop(
        settings.policy,
        settings.data,
        samplers,
        console,
        out=Path(settings.out),
        episodes=settings.episodes,
        engine=settings.engine,
        seed=settings.seed,
        command=_command(settings),
    )


def _read_comparable(path: str, job: Job) -> dict[str, Any]:
    """Read the evaluation to compare with, and refuse it before anything is rolled out."""
    earlier = read_evaluation(path)
    with refusing(FewstepError, f"{path} is no evaluation.json", path):
        require_same_seeds(job, earlier)
        require_comparable(job, earlier, "compare")
    return earlier


def _write_report(
    settings: EvaluateSettings, jobs: list[Job], evaluation: Mapping[str, Any], console: Console
) -> None:
    from ..evaluation.evaluation_report import report_evaluation  # draws with matplotlib

    path = Path(settings.out) / "report.html"
    report_evaluation(path, jobs, evaluation, _command(settings), console.print)
    console.print(f"written to {path}")


def _command(settings: EvaluateSettings) -> str:
    """Return the command line that does the same again."""
    command = ["fewstep evaluate"]
    for name, value in given_settings(settings).items():
        if name == "task_options":
            command.append(f"'task.options={value}'")
        else:
            command.append(f"{name}={value}".replace(" ", ""))
    return " ".join(command)


def advance(bars: Bars, job: Job, count: int) -> None:
    """Move the bar of a job."""
    cost = job.sampler.cost
    name = f"{cost} evaluation{'s' if cost > 1 else ''}"
    if job.delay:
        name += f", {job.delay} ticks late"
    bars.advance(name, len(job.seeds), count)


def jobs_of(settings: EvaluateSettings) -> list[Job]:
    """Return a job for every sampler and delay that the settings name."""
    engine, own, weights = _computed_by(settings)
    episodes = ROLLOUTS if settings.episodes is None else settings.episodes
    seeds = evaluation_seeds(settings.seed, episodes)
    jobs = []
    for sampler in samplers_of(settings, own):
        for delay in _whole_numbers("delay", settings.delay):
            job = Job(
                settings.policy,
                settings.task,
                sampler,
                seeds,
                delay,
                settings.jitter,
                settings.recorded,
                settings.on_delay,
                settings.hz,
                settings.seconds,
                engine,
                settings.task_options,
                weights,
            )
            jobs.append(job)
    return jobs


def _computed_by(settings: EvaluateSettings) -> tuple[str, Sampler, str]:
    """Return what computes the chunks, how where nothing else is said, and a server's weights."""
    if is_address(settings.policy):
        served = RemoteEngine(settings.policy)
        sampler = from_plain(Sampler, served.sampler, f"{settings.policy}: sampler")
        return served.name, sampler, served.weights
    return settings.engine, load_policy(settings.policy).config.drawn_by, ""


def samplers_of(settings: EvaluateSettings, own: Sampler) -> list[Sampler]:
    """Return the samplers that the settings name; `own` is the policy's."""
    given: dict[str, Any] = {}
    for name in ("start", "noise", "clip"):
        if getattr(settings, name) is not None:
            given[name] = getattr(settings, name)
    base = replace(own, **given)
    if settings.sampler and settings.sampler != own.step:
        base = replace(base, step=settings.sampler, times=())
    if settings.times:
        count = len(settings.times) - 1
        return [replace(base, times=settings.times, network_evaluations=count)]
    if settings.network_evaluations is None:
        return [base]
    counts = _whole_numbers("network_evaluations", settings.network_evaluations)
    return [base.at(count) for count in counts]


def _whole_numbers(name: str, given: Any) -> list[int]:
    """Return a list of whole numbers, also where only one is given."""
    numbers = given if isinstance(given, list) else [given]
    wrong = [number for number in numbers if type(number) is not int or number < 0]
    if wrong or not numbers:
        raise ConfigError(f"{name} must be whole numbers, not {wrong}")
    return numbers


def _replay(settings: EvaluateSettings, job: Job, console: Console) -> int:
    out = Path(settings.out)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    earlier: Mapping[str, Any] = read_evaluation(settings.replay)
    with refusing(FewstepError, f"{settings.replay} is no evaluation.json", settings.replay):
        failures = film_failures(earlier, job, out, settings.videos)
    for path in failures.videos:
        console.print(f"written to {path}")
    console.print(f"{failures.failed} of {failures.episodes} episodes had failed")
    return 0
