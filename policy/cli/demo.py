"""`fewstep demo`: the whole path on the built-in task, from demonstrations to a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ...demos.episode import Episode
from ...envs import Outcome
from ..engines.exported import ONNX, has_export
from ..evaluation.demo import DemoConfig, DemoEvents, demo
from ..evaluation.job import Job
from ..evaluation.tune import Tuning
from ..training.train import TrainConfig
from .evaluate import advance
from .overrides import given_settings, part_of, settings_from
from .tables import print_differences, print_tuning, results_table
from .train import TrainSettings, chosen_device, leave_exports
from .training_bar import TrainingBar


@dataclass(frozen=True)
class DemoSettings(DemoConfig):
    """The whole path on the built-in task: record, train, evaluate, report.

    Stopped and started again, it goes on.
    """

    steps: int = 0  # of training; 0 for those of the recipe
    out: str = "out"  # folder of demonstrations, policy, evaluation and report


def run(settings: DemoSettings, console: Console) -> int:
    """Run every stage that is not done yet, and say where the report lies."""
    out = Path(settings.out)
    config = part_of(settings, DemoConfig)
    training = recipe("pickplace-pixels" if config.cameras else "pickplace")
    if settings.steps:
        training = replace(training, steps=settings.steps)
    with Stages(console, config, training, out) as stages:
        report = demo(
            out,
            config,
            training,
            device=chosen_device("auto"),
            command=spell_command(settings),
            events=stages.events(),
        )
    if not has_export(out / "policy", ONNX):
        leave_exports(str(out / "policy"), console)
    console.print(f"open {report} in a browser")
    return 0


def spell_command(settings: DemoSettings) -> str:
    """Return the command that does the same again."""
    words = ["fewstep demo"]
    for name, value in given_settings(settings).items():
        words.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    return " ".join(words) if words[1:] else "make demo"


def recipe(name: str) -> TrainConfig:
    """Return the settings of a file in configs/recipe."""
    settings = settings_from("train", TrainSettings, [f"recipe={name}", "data=."])
    return part_of(settings, TrainConfig)


class Stages:
    """Shows the stages of the demo one below the other, each with bars of its own."""

    def __init__(
        self, console: Console, config: DemoConfig, training: TrainConfig, out: Path
    ) -> None:
        self._console = console
        self._config = config
        self._training = training
        self._out = out
        self._bars = self._make_bars()

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bars.__exit__(*exception)

    def events(self) -> DemoEvents:
        """Return who hears what happens."""
        return DemoEvents(
            on_stage=self._begin,
            on_episode=self._episode,
            on_frames=self._show_pictures,
            on_training=self._report_training,
            on_rollouts=self._rollouts,
            on_tuned=self._tuned,
            on_evaluated=self._evaluated,
            log=self._console.print,
        )

    def _begin(self, title: str) -> None:
        self._end()
        self._console.rule(title)
        self._bars = self._make_bars()

    def _make_bars(self) -> TrainingBar:
        return TrainingBar(self._console, self._training, self._out / "policy")

    def _end(self) -> None:
        self._bars.__exit__(None, None, None)

    def _episode(self, outcome: Outcome, episode: Episode | None) -> None:
        total = self._config.recorded
        self._bars.advance("recording", total, int(episode is not None))

    def _show_pictures(self, camera: str, done: int, total: int) -> None:
        self._bars.show_pictures(camera, done, total)

    def _report_training(self, row: dict[str, float]) -> None:
        self._bars.report(row)

    def _rollouts(self, job: Job, count: int) -> None:
        advance(self._bars, job, count)

    def _tuned(self, tuning: Tuning) -> None:
        self._end()
        print_tuning(self._console, tuning)

    def _evaluated(self, evaluation: dict[str, Any]) -> None:
        self._end()
        self._console.print(results_table(evaluation))
        print_differences(self._console, evaluation)
