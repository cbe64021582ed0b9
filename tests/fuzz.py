"""Mutated inputs: each is either read or refused by a FewstepError, in bounded time and memory.

`python tests/fuzz.py 13000` tries so many, spread over all targets; `python tests/fuzz.py 200
lerobot 4000` tries 200 of one target, from its mutation 4000 on. A mutation depends on its target
and its number alone, so each can be redone. Processes of their own try them: what crashes, hangs or
grows is counted as such, with the number of the mutation.
"""

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from fuzz_inputs import TARGETS, Target, files, workshop
from fuzz_mutations import WORK, arguments, copy, damage

from fewstep.envs import FewstepError
from fewstep.policy.cli import command as cli
from fewstep.policy.cli.main import main as run_fewstep
from fewstep.policy.cli.verbs import VERBS

SECONDS = (
    20.0  # wall time that one input may take: far more than it does, since a machine may be busy
)
MEMORY = 2**30  # bytes that reading a small input may take
LAZY = (
    "ros1.bag",
    "ros2_mcap",
)  # rosbags asks for as many bytes as a record declares; what is read is not more for it
COMMAND_LINE = "command line"
ALL = [*TARGETS, COMMAND_LINE]
GOOD, BEGUN = ("read", "refused"), "begun"
VALID = -1  # the number of the mutation that changes nothing


class Outcome(NamedTuple):
    """Of one mutation. what: "read", "refused", or what went wrong."""

    number: int
    what: str
    how: str = ""


def run(name: str, numbers: range) -> Iterator[Outcome]:
    """Try some mutations of a target.

    They are tried one after the other in a process that is replaced when it dies.
    """
    with tempfile.TemporaryDirectory() as folder:
        at = numbers.start
        while at < numbers.stop:
            for outcome in _in_process(name, range(at, numbers.stop), Path(folder)):
                yield outcome
                at = outcome.number + 1


def _in_process(name: str, numbers: range, folder: Path) -> Iterator[Outcome]:
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        _child(name, numbers, folder, theirs)
    os.close(theirs)
    at, how = numbers.start, ""
    with os.fdopen(ours, "rb", buffering=0) as told:
        while select.select([told], [], [], SECONDS)[0] and (line := told.readline()):
            number, what, how = json.loads(line)
            if what != BEGUN:
                at = number + 1
                yield Outcome(number, what, how)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if at < numbers.stop:
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        yield Outcome(
            at, "hung" if killed == signal.SIGKILL else f"crashed by signal {killed}", how
        )


def _child(name: str, numbers: range, folder: Path, told: int) -> None:
    """Never returns."""
    faulthandler.disable()
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    warnings.simplefilter("ignore")
    try:
        valid = folder / "valid" / name
        if not valid.exists():
            valid.parent.mkdir(exist_ok=True)
            TARGETS.get(name, Target(workshop, print)).make(valid)
        used = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, -1))
        for number in numbers:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                os.chdir(place)
                how, use = _drawn(name, number, valid, Path(place))
                for what in (BEGUN, None):
                    os.write(
                        told,
                        json.dumps([number, what or _judged(use, name, place), how]).encode()
                        + b"\n",
                    )
    finally:
        os._exit(0)


def _drawn(name: str, number: int, valid: Path, place: Path) -> tuple[str, Callable[[], object]]:
    """How an input is wrong, and what shall read or refuse it."""
    rng = np.random.default_rng([crc32(name.encode()), number - VALID])
    if name == COMMAND_LINE:
        copy(valid, place / "work")
        words = arguments(
            {verb: list(cli.load(verb).settings.__dataclass_fields__) for verb in VERBS}, rng
        )
        words = ["check", *WORK["check"]] if number == VALID else words
        return repr(words)[:300], lambda: _command(words)
    copy(valid, place / name)
    how = "" if number == VALID else damage(list(files(place / name)), rng)
    return how, lambda: TARGETS[name].use(place / name, place)


def _command(words: list[str]) -> None:
    """Of most verbs only the settings are read.

    One that got what it wants would train, or move a robot.
    """
    load, errors = cli.load, StringIO()
    if words[0] not in WORK:
        cli.load = lambda verb: replace(load(verb), run=lambda settings, console: 0)  # pyright: ignore
    try:
        with redirect_stdout(StringIO()), redirect_stderr(errors):
            code = run_fewstep(words)
    finally:
        cli.load = load
    said = errors.getvalue()
    found = words[0] == "check" and code == 1 and not said  # by the doctor
    if (
        code not in (0, 1, 2)
        or "Traceback" in said
        or (code and not found and not said.startswith("fewstep: "))
    ):
        raise AssertionError(f"code {code}: {said}")


def _judged(use: Callable[[], object], name: str, place: str) -> str:
    try:
        use()
        return "read"
    except FewstepError as error:
        if name not in LAZY and any(isinstance(cause, MemoryError) for cause in _causes(error)):
            return f"took memory: {error}"
        return (
            "refused" if place in str(error) else f"refused without the name of the file: {error}"
        )
    except BaseException as error:  # a panic of Rust is no Exception
        return f"{type(error).__module__}.{type(error).__name__}: {error}"[:300]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def main(count: int, only: str = "", first: int = 0) -> int:
    """Print what went wrong, and how often.

    1 where anything did, or where a valid input is not read.

    only: targets, separated by commas; first: number of the first mutation.
    """
    names = only.split(",") if only else ALL
    total: Counter[str] = Counter()
    for name in names:
        began, found = time.monotonic(), Counter[str]()
        for outcome in run(name, range(first or VALID, first + -(-count // len(names)))):
            kind = outcome.what.partition(":")[0]
            kind = (
                "the valid input is refused"
                if outcome.number == VALID and kind == "refused"
                else kind
            )
            found[kind] += 1
            if kind not in GOOD:
                print(f"  {name} {outcome.number} ({outcome.how}): {outcome.what}", flush=True)
        print(f"{name}: {dict(found)} in {time.monotonic() - began:.1f} s", flush=True)
        total += found
    print(f"all: {sum(total.values())} inputs, {dict(total)}")
    return int(any(kind not in GOOD for kind in total))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:3], *map(int, sys.argv[3:4])))
