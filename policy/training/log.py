"""The log of a training: JSON lines to read, TensorBoard scalars to look at."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ...envs.atomic_files import write_file, writing

LOG = "log.jsonl"


class Log:
    """One row per `log_every` steps: a line of JSON, TensorBoard scalars, and whoever listens."""

    def __init__(self, out: Path, step: int, report: Callable[[dict[str, float]], None]) -> None:
        """Go on with the log in `out` from `step`; what was logged after it happens again."""
        self._path = out / LOG
        rows: list[dict[str, float]] = []
        for row in read_rows(self._path):
            if row["step"] <= step:
                rows.append(row)
        lines = [json.dumps(row) + "\n" for row in rows]
        write_file(self._path, "".join(lines).encode())
        self._board = SummaryWriter(str(out), purge_step=step)
        self._report = report
        self._last_before = rows[-1] if rows else {"seconds": 0.0, "cpu_seconds": 0.0}
        self._began = time.monotonic()
        self._cpu_began = time.process_time()
        self._first_step = step

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time of the whole run [s], parts before a resume included."""
        return self._last_before["cpu_seconds"] + time.process_time() - self._cpu_began

    def write(
        self, step: int, loss: float, learning_rate: float, measured: Mapping[str, float]
    ) -> None:
        """Add a row; measured: what else is known at this step, of which NaN is left out."""
        seconds = time.monotonic() - self._began
        row = {
            "step": step,
            "loss": loss,
            "lr": learning_rate,
            "seconds": self._last_before["seconds"] + seconds,
            "cpu_seconds": self.cpu_seconds,
            "steps_per_second": (step - self._first_step) / seconds,
        }
        for key, value in measured.items():
            if math.isfinite(value):
                row[key] = value
        with writing(self._path), self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for key, value in row.items():
            self._board.add_scalar(key, value, step)
        self._report(row)

    def close(self) -> None:
        """Flush and close."""
        self._board.close()


def read_rows(path: Path) -> Iterator[dict[str, float]]:
    """Yield the rows of a log, up to one that a killed writer or a full disk left half written."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
