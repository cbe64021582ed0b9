"""How the verbs print lines."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str, style: str = "", end: str = "\n") -> None:
    """Print a line as it is.

    Brackets are no markup, and a narrow terminal breaks it where it likes. What cannot be printed
    is spelt out: a driver's error may hold any bytes.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    console.print(text, style=style, markup=False, soft_wrap=True, end=end)


def print_raw(console: Console, text: str) -> None:
    """Print on a raw terminal, which does not return to the left by itself."""
    for line in text.splitlines():
        say(console, line, end="\r\n")
