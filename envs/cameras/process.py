"""The process of one camera: reads it, judges its pictures, and leaves them in shared memory."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FewstepError, RobotError
from ..mailbox import Mailbox
from ..schema import from_plain
from .camera import Camera, open_camera
from .camera_config import CameraConfig
from .rings import STATUS, CameraPort, PictureRing
from .scrutiny import Scrutiny

RETRY_SECONDS = 0.5  # between two tries to open a camera that has gone
SOONEST_SHARE = 0.7  # of a period after a picture, before which the next is left out
LONGEST_TROUBLE = 200  # characters
Say = Callable[..., None]  # an event, and details of it


@dataclass(frozen=True)
class CameraProcessConfig:
    """The camera, and where its pictures go. restarted: it has given pictures before."""

    camera: CameraConfig
    port: CameraPort
    restarted: bool = False


class Station:
    """Keeps one camera going: opens it again where it has gone.

    Where it was there before, not even a first failure to open it is the end.
    """

    def __init__(self, config: CameraProcessConfig) -> None:
        self._config = config.camera
        self._ring: PictureRing = config.port.open_ring()
        self._status: Mailbox = config.port.open_status()
        self._record = np.zeros((), STATUS)
        self._ready = config.restarted

    def run(self, say: Say) -> None:
        """Go on for ever; what fails before the first picture is an error.

        say: is told once when there is one.
        """
        while True:
            camera: Camera | None = None
            try:
                camera = open_camera(self._config)
                self._serve(camera, say)
            except Exception as error:  # whatever a driver raises
                if not self._ready:
                    raise
                self._report(f"has gone: {error_text(error)}")
            if camera is not None:
                with suppress(Exception):
                    camera.close()
            time.sleep(RETRY_SECONDS)

    def _serve(self, camera: Camera, say: Say) -> None:
        scrutiny = Scrutiny(self._config)
        soonest = -math.inf
        while True:
            stamp, picture = require_picture(camera.read(), self._config.size)
            if stamp < soonest:
                continue  # more pictures than were asked for would push the earlier ones out
            soonest = stamp + SOONEST_SHARE / self._config.hz
            trouble = scrutiny.look(stamp, picture)
            if scrutiny.usable:
                self._ring.write(stamp, picture)
                self._record["stamp"] = stamp
            self._report(trouble)
            if not self._ready:
                self._ready = True
                say("camera ready", trouble=trouble)

    def _report(self, trouble: str) -> None:
        self._record["alive"] = time.monotonic()
        self._record["trouble"] = trouble[:LONGEST_TROUBLE].encode(errors="replace")
        self._status.write(self._record)


def require_picture(given: Any, size: tuple[int, int]) -> tuple[float, np.ndarray]:
    """Return what a camera has given; RobotError where it is no stamp and picture."""
    try:
        stamp, picture = given
        stamp = float(stamp)
        is_picture = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    except (TypeError, ValueError, AttributeError):
        is_picture = False
        stamp = math.nan
    if not is_picture or not math.isfinite(stamp):
        wanted = f"(seconds, uint8 array ({size[0]}, {size[1]}, 3))"
        raise RobotError(f"read() has to return {wanted}, not {describe(given)}")
    return stamp, given[1]


def describe(given: Any) -> str:
    """Return what was given in place of a stamp and a picture, in words."""
    parts = given if isinstance(given, tuple) else (given,)
    words = []
    for part in parts:
        if isinstance(part, np.ndarray):
            words.append(f"{part.dtype} array {part.shape}")
        else:
            words.append(repr(part)[:40])
    return f"({', '.join(words)})" if isinstance(given, tuple) else words[0]


def error_text(error: BaseException) -> str:
    """Return an error in one line, with its type where it is not one of ours."""
    if isinstance(error, FewstepError | OSError) and str(error):
        return " ".join(str(error).split())
    return " ".join(f"{type(error).__name__}: {error}".split())


def keep_stdout() -> Say:
    """Return what tells the process that started this one, in lines of JSON.

    What a camera's driver prints goes to the standard error from now on.
    """
    with suppress(OSError):
        sys.stdout.flush()
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(event: str, **details: object) -> None:
        print(json.dumps({"event": event, **details}), file=line, flush=True)

    return say


def end_with_parent() -> None:
    """End, with what a driver has started, once the standard input does: nobody is left to look."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main(config: CameraProcessConfig) -> None:
    """Serve a camera, or say why it cannot be."""
    say = keep_stdout()
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        Station(config).run(say)
    except BaseException as error:  # also of a driver that would end the program
        say("camera failed", text=error_text(error))
    os._exit(1)  # whatever a driver's threads may wait for


if __name__ == "__main__":
    main(from_plain(CameraProcessConfig, json.loads(sys.argv[1]), "camera"))
