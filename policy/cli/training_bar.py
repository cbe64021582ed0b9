"""The progress bar of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from ..evaluation.memory import private_memory
from ..training.train import RESUME, TrainConfig
from .printing import say
from .progress import Bars


class TrainingBar(Bars):
    """The bar of a training, which first says how long it will take here.

    After Ctrl-C it says what is kept.
    """

    def __init__(self, console: Console, config: TrainConfig, out: Path | str) -> None:
        super().__init__(console)
        self._config = config
        self._out = Path(out)
        self._said_how_long = False
        self._held_out = ""  # what was measured last, in words

    def log(self, line: str) -> None:
        """Print what a training says of itself."""
        say(self.console, line)

    def show_pictures(self, camera: str, done: int, total: int) -> None:
        """Hear how many pictures of a camera are cached."""
        name = f"pictures of {camera}"
        self.update(name, total, done, name)

    def report(self, row: dict[str, float]) -> None:
        """Hear a row of the training's log."""
        if not self._said_how_long:
            self._say_how_long(row)
            self._said_how_long = True
        if "held_out_error" in row:
            self._held_out = f", held-out error {100 * row['held_out_error']:.1f} %"
        description = f"training, loss {row['loss']:.4f}{self._held_out}"
        self.update("training", self._config.steps, int(row["step"]), description)

    def _say_how_long(self, row: dict[str, float]) -> None:
        rate = row["steps_per_second"]
        seconds = (self._config.steps - row["step"]) / rate
        time = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
        memory = private_memory()
        taken = f", {memory / 1e9:.1f} GB of memory" if memory else ""
        self.console.print(
            f"{rate:.1f} steps of {self._config.batch} windows a second here: about {time}{taken}"
        )

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        if exception[0] is KeyboardInterrupt and (self._out / RESUME).exists():
            self.console.print(f"saved in {self._out}: the same command goes on from here")
