"""The person in charge of a run: asked before each episode, and after it."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console

from ...envs import RobotError

LOOK_SECONDS = 0.05  # between two looks at what goes on while a person thinks


class Person:
    """Asks, and has an eye on what goes on meanwhile. meanwhile: called again and again; what it raises goes on."""

    def __init__(self, console: Console, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._console, self._meanwhile, self._typed = console, meanwhile, b""

    def begins(self, episode: int) -> bool:
        """Whether the person begins: nothing but Enter does."""
        question = f"episode {episode}: set the scene, Enter to begin, q to end: "
        while (said := self.answer(question)) not in ("", "q"):
            self._console.print(f"{said!r} begins nothing", markup=False)
        return said == ""

    def answer(self, question: str) -> str:
        """What a person answers; what a terminal was told before the question is no answer to it."""
        fd = sys.stdin.fileno()
        if os.isatty(fd):
            self._typed = b""
            with suppress(ImportError, OSError):
                import termios

                termios.tcflush(fd, termios.TCIFLUSH)
        self._console.print(question, end="", markup=False, soft_wrap=True)
        return self._line(fd).decode(errors="replace").strip().lower()

    def _line(self, fd: int) -> bytes:
        while b"\n" not in self._typed:
            self._meanwhile()
            if not select.select([fd], [], [], LOOK_SECONDS)[0]:
                continue
            content = os.read(fd, 1024)
            if not content:
                raise RobotError(
                    "the standard input has ended: nobody answers; unattended=true asks nobody"
                )
            self._typed += content
        line, self._typed = self._typed.split(b"\n", 1)
        return line
