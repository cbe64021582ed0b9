"""The log of a run: a record per tick and chunk, everything that was said, and what ran."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..atomic_files import write_file, writing
from ..locks import lock
from ..spec import Spec
from .control_loop import tick_type
from .messages import taken_type

EVENTS = "events.jsonl"
TICKS = "ticks.bin"
CHUNKS = "chunks.bin"
FACTS = "run.json"
LATENCY = "latency.json"


class LogFile:
    """A file that whole records are added to.

    Where that fails the log ends there, and the run goes on.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._path = path
        self.trouble = ""  # why nothing more could be written

    def write(self, content: bytes) -> None:
        """Add records, or none of them from the first failure on."""
        if self.trouble:
            return
        size = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, content)
            if written < len(content):
                os.write(self._fd, content[written:])  # says why the rest does not fit
        except OSError as error:
            self.trouble = f"{self._path} could not be written any more: {error.strerror or error}"
            with suppress(OSError):
                os.ftruncate(self._fd, size)

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RunLog:
    """The folder of one run, its own until it is closed.

    The log of an earlier one is kept in earlier.1 and so on.
    """

    def __init__(self, folder: Path) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "lock").touch()
        self.folder = folder
        self._release = lock(self, folder / "lock")
        set_aside(folder)
        self._events = LogFile(folder / EVENTS)
        self._ticks = LogFile(folder / TICKS)
        self._chunks = LogFile(folder / CHUNKS)

    def event(self, line: bytes) -> None:
        """Add a line of JSON."""
        self._events.write(line + b"\n")

    def note(self, event: str, **details: Any) -> None:
        """Add an event of one's own."""
        line = json.dumps({"event": event, **details})
        self.event(line.encode())

    def ticks(self, records: bytes) -> None:
        """Add whole records of `control.tick_type`."""
        self._ticks.write(records)

    def chunks(self, records: bytes) -> None:
        """Add whole records of `messages.taken_type`."""
        self._chunks.write(records)

    def facts(self, spec: Spec, horizon: int = 0, **details: Any) -> None:
        """Write what ran; spec: of the robot; horizon: of the policy's chunks, 0 without one."""
        facts = {
            **details,
            "ticks": tick_type(spec.action_size, len(spec.observations)).descr,
            "chunks": taken_type(horizon, spec.action_size).descr,
            "spec": spec.to_json(),
        }
        write_file(self.folder / FACTS, json.dumps(facts, indent=1).encode())

    @property
    def trouble(self) -> str:
        """Return why not everything could be written; "" where it was."""
        return self._events.trouble or self._ticks.trouble or self._chunks.trouble

    def close(self) -> None:
        """Let others write here; may be called again."""
        self._events.close()
        self._ticks.close()
        self._chunks.close()
        self._release()


def set_aside(folder: Path) -> None:
    """Move the log of an earlier run to earlier.1 and so on, inside `folder`."""
    names = [name for name in (EVENTS, TICKS, CHUNKS, FACTS, LATENCY) if (folder / name).exists()]
    if not names:
        return
    place = _free_place(folder)
    with writing(place):
        place.mkdir()
        for name in names:
            (folder / name).rename(place / name)


def _free_place(folder: Path) -> Path:
    number = 1
    while (folder / f"earlier.{number}").exists():
        number += 1
    return folder / f"earlier.{number}"
