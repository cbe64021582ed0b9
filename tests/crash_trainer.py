"""Trains in child processes that are killed on the way; test_resume.py drives it over pipes.

It forks: a child costs milliseconds where a new interpreter with torch costs seconds, and no thread
runs here yet. What a training imports late is imported here, once.
"""

import json
import os
import signal
import sys
import time
import traceback
from typing import Any

import diffusers.optimization
import diffusers.training_utils  # noqa: F401  both come late in a training, and take seconds
from crash_writer import Bomb

from fewstep.envs.schema import from_plain
from fewstep.policy.training.train import TrainConfig, train

INTERRUPTED = 130


def child(data: str, out: str, config: dict[str, Any], boundary: int, report: int) -> None:
    """Train, writing one byte to `report` when it begins to."""
    if boundary:
        Bomb(boundary).arm()
    os.write(report, b".")
    train(data, out, from_plain(TrainConfig, config))


def run(
    data: str,
    out: str,
    config: dict[str, Any],
    boundary: int = 0,
    seconds: float | None = None,
    blow: str = "SIGKILL",
) -> dict[str, Any]:
    """Fork a training, send it a signal `seconds` after it began.

    Its exit code, and how long it took [s].
    """
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            child(data, out, config, boundary, writing)
            code = 0
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    os.read(reading, 1)
    began = time.monotonic()
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, getattr(signal, blow))
    _, status = os.waitpid(pid, 0)
    os.close(reading)
    return {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - began}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
