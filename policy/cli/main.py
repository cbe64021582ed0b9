"""`fewstep <verb> [key=value ...]`: the overview, and the door to the verbs.

Nothing here imports more than Python itself: what a verb needs is imported when it runs.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

from .verbs import VERBS

WIDTH = 100  # of lines, at most: a wide terminal shows no wider text
STOPPED = 130  # exit code after Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns 0 for success, 1 for findings or failure, 2 for a wrong command line, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("fewstep"))
        return 0
    from .command import run_command

    code = run_command(arguments[0], arguments[1:])
    if argv is None and code == STOPPED:
        _let_ctrl_c_end_python()
    return code


def _let_ctrl_c_end_python() -> None:
    """Let Ctrl-C end the process at once, without a traceback, while Python waits for threads."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)


def overview() -> str:
    """Return what `fewstep --help` prints: each verb with its line, folded to the terminal."""
    width = min(WIDTH, shutil.get_terminal_size().columns)
    lines = ["fewstep <verb> [key=value ...]     fewstep <verb> --help shows the keys", ""]
    for verb, summary in VERBS.items():
        lines += textwrap.wrap(f"  {verb:9} {summary}", width, subsequent_indent=" " * 12)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
