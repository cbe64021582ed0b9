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
VERDICTS = {"y": True, "n": False}


class Person:
    """Asks at the terminal, and has an eye on what goes on meanwhile.

    `poll` may raise, and ends the question.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._typed = b""

    def begins(self, episode: int, poll: Callable[[], None]) -> bool:
        """Return whether the person begins: nothing but Enter does."""
        question = f"episode {episode}: set the scene, Enter to begin, q to end: "
        while True:
            answer = self.answer(question, poll)
            if answer in ("", "q"):
                return answer == ""
            self._console.print(f"{answer!r} begins nothing", markup=False)

    def judges(self, poll: Callable[[], None]) -> bool | None:
        """Return whether an episode succeeded, None for unknown."""
        answer = self.answer("success? y, n, or Enter for unknown: ", poll)
        return VERDICTS.get(answer[:1])

    def answer(self, question: str, poll: Callable[[], None] = lambda: None) -> str:
        """Return what a person answers.

        What a terminal was told before the question is no answer to it.
        """
        terminal = sys.stdin.fileno()
        if os.isatty(terminal):
            self._typed = b""
            with suppress(ImportError, OSError):
                import termios

                termios.tcflush(terminal, termios.TCIFLUSH)
        self._console.print(question, end="", markup=False, soft_wrap=True)
        return self._line(terminal, poll).decode(errors="replace").strip().lower()

    def _line(self, terminal: int, poll: Callable[[], None]) -> bytes:
        while b"\n" not in self._typed:
            poll()
            readable, _, _ = select.select([terminal], [], [], LOOK_SECONDS)
            if not readable:
                continue
            content = os.read(terminal, 1024)
            if not content:
                raise RobotError(
                    "the standard input has ended: nobody answers; unattended=true asks nobody"
                )
            self._typed += content
        line, _, self._typed = self._typed.partition(b"\n")
        return line
