"""`fewstep <verb> [key=value ...]`: the overview, and the door to the verbs.

Nothing here imports more than Python itself: what a verb needs is imported when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

VERBS = {  # each has a module of its name in this folder
    "demo": "The whole path on the built-in task: record, train, evaluate, report.",
    "record": "Record demonstrations: the task's scripted expert acts, or a policy, or a person.",
    "import": "Import demonstrations of another format; what lies at `source` says which.",
    "export": "Export demonstrations to a format that others read.",
    "check": "Look for what is wrong with demonstrations, and say what to do about it.",
    "view": "Look through demonstrations in the browser, and sort bad ones out; nothing is erased.",
    "train": "Train a policy on demonstrations; the same command again goes on with an unfinished run.",
    "distill": "Distill a policy into a student that needs one network evaluation per chunk.",
    "evaluate": "Roll a policy out on seeded starts: success, score and latency, with 95 % intervals.",
    "tune": "Find the fewest network evaluations that are not worse than ten, and keep them.",
    "run": "Run a policy, or recorded actions, on a robot, within limits and with a log.",
    "bench": "Measure the latency of a policy here, batch 1, against its control period.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0 for success, 1 for findings or failure, 2 for a wrong command line, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("fewstep"))
        return 0
    from .command import run_command

    return run_command(arguments[0], arguments[1:])


def overview() -> str:
    """Return what `fewstep --help` prints: a line for each verb."""
    lines = ["fewstep <verb> [key=value ...]     fewstep <verb> --help shows the keys", ""]
    for verb, summary in VERBS.items():
        lines.append(f"  {verb:9} {summary}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
