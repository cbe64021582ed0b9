"""Appends to a store in child processes that are killed on the way.

Test_store.py drives it over stdin and stdout.

It forks: a child costs milliseconds where a new interpreter costs a second, and no thread of zarr
runs yet.
"""

import builtins
import io
import json
import os
import signal
import sys
import time
from typing import Any

import numpy as np

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import Field, Spec

SPEC = Spec(
    {"pose": Field((3,), "m"), "camera": Field((48, 48, 3), kind="image")},
    {"target": Field((2,), "m")},
    policy_hz=10,
)


def make(seed: int) -> Episode:
    """An episode of 1 to 119 frames.

    It begins and ends within files of numbers and pictures shared with others.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 120))
    data = {
        "pose": rng.normal(size=(n, 3)),
        "camera": rng.integers(0, 256, (n, 48, 48, 3), np.uint8),
        "action": rng.normal(size=(n, 2)),
        "time": np.arange(n) / 10,
    }
    return Episode(data, SPEC, (None, False, True)[seed % 3])


class Bomb:
    """Kills this process at the n-th moment at which the files on disk have just changed, or are
    about to.
    """

    def __init__(self, n: int) -> None:
        self.left = n

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self) -> None:
        builtins.open = io.open = self._opening(io.open)
        for name in ("replace", "rename", "unlink", "remove", "rmdir", "link", "mkdir"):
            setattr(os, name, self._around(getattr(os, name)))

    def _around(self, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            result = function(*args, **kwargs)
            self.tick()
            return result

        return call

    def _opening(self, original: Any) -> Any:
        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            handle = original(file, mode, *args, **kwargs)
            if set(mode) & set("wax+"):
                self.tick()  # emptied
                handle = _Halves(handle, self)
            return handle

        return opened


class _Halves:
    """A file that is on disk half written for a moment, then whole."""

    def __init__(self, file: Any, bomb: Bomb) -> None:
        self._file, self._bomb = file, bomb

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        for part in (view[: len(view) // 2], view[len(view) // 2 :]):
            self._file.write(part)
            self._file.flush()
            self._bomb.tick()
        return len(view)

    def __enter__(self) -> "_Halves":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def child(path: str, seeds: list[int], boundary: int, report: int) -> None:
    """Append an episode per seed, writing one byte to `report` before the first and after each."""
    with DemoStore.open(path, "a") as store:
        os.write(report, b".")
        if boundary:
            Bomb(boundary).arm()
        for seed in seeds:
            store.append(make(seed))
            os.write(report, b".")


def run(
    path: str, seeds: list[int], boundary: int = 0, seconds: float | None = None
) -> dict[str, Any]:
    """Fork a writer, kill it `seconds` after it began.

    How many appends returned, and its exit code.
    """
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            child(path, seeds, boundary, writing)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    os.close(writing)
    os.read(reading, 1)  # it has opened the store
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as pipe:
        done = len(pipe.read())
    return {"appended": done, "code": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
