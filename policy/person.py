"""The person in charge of a run: asked before each episode, and after it."""

from __future__ import annotations

import sys
from contextlib import suppress

from rich.console import Console

from ..envs import RobotError


def begins(console: Console, episode: int) -> bool:
    """Whether the person begins: nothing but Enter does."""
    while (said := answer(console, f"episode {episode}: set the scene, Enter to begin, q to end: ")) not in ("", "q"):
        console.print(f"{said!r} begins nothing", markup=False)
    return said == ""


def answer(console: Console, question: str) -> str:
    """What a person answers; what a terminal was told before the question is no answer to it."""
    with suppress(ImportError, OSError, ValueError):
        import termios

        if sys.stdin.isatty():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
    try:
        return console.input(question).strip().lower()
    except EOFError as error:
        raise RobotError("the standard input has ended: nobody answers; unattended=true asks nobody") from error
