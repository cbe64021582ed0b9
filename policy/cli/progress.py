"""Progress bars that appear with the first thing that they have to show."""

from __future__ import annotations

from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bars:
    """A bar with counts and the time left for everything that goes on.

    None before the first of them moves.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._started:
            self._progress.stop()

    def begin(self, name: str, total: int) -> TaskID:
        """Show the bar of this name, made where there is none."""
        if not self._started:
            self._progress.start()
            self._started = True
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        return self._tasks[name]

    def advance(self, name: str, total: int, count: int) -> None:
        """Move a bar on by `count` of `total`."""
        self._progress.advance(self.begin(name, total), count)

    def update(self, name: str, total: int, completed: int, description: str) -> None:
        """Set a bar to `completed` of `total`, with another text beside it."""
        self._progress.update(self.begin(name, total), completed=completed, description=description)
