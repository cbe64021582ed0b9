"""The log of a training: JSON lines to read, TensorBoard scalars to look at."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ...envs.atomic_files import write_file, writing

LOG = "log.jsonl"


class Log:
    """One row per `log_every` steps: a line of JSON, TensorBoard scalars, and whoever listens."""

    def __init__(self, out: Path, step: int, report: Callable[[dict[str, float]], None]) -> None:
        path = out / LOG
        rows = [
            row for row in _rows(path) if row["step"] <= step
        ]  # what was logged after the last save happens again
        write_file(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._path, self._board, self._report = (
            path,
            SummaryWriter(str(out), purge_step=step),
            report,
        )
        self._before = rows[-1] if rows else {"seconds": 0.0, "cpu_seconds": 0.0}
        self._began, self._cpu, self._first = time.monotonic(), time.process_time(), step

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the whole run [s], parts before a resume included."""
        return self._before["cpu_seconds"] + time.process_time() - self._cpu

    def write(self, step: int, loss: float, lr: float, held_out: float) -> None:
        """Add a row; held_out is NaN where it was not measured."""
        seconds = time.monotonic() - self._began
        row = {"step": step, "loss": loss, "lr": lr, "seconds": self._before["seconds"] + seconds}
        row |= {"cpu_seconds": self.cpu_seconds, "steps_per_second": (step - self._first) / seconds}
        if math.isfinite(held_out):
            row["held_out_loss"] = held_out
        with writing(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for key, value in row.items():
            self._board.add_scalar(key, value, step)
        self._report(row)

    def close(self) -> None:
        """Flush and close."""
        self._board.close()


def _rows(path: Path) -> Iterator[dict[str, float]]:
    """The rows of a log, up to one that a killed writer or a full disk left half written."""
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except ValueError:
            return
