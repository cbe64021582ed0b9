"""The process of one camera: reads it, judges its pictures, and leaves them in shared memory."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..errors import FewstepError
from ..mailbox import Mailbox
from ..schema import from_plain
from .camera import Camera, open_camera
from .camera_config import CameraConfig
from .rings import STATUS, CameraPort, PictureRing
from .scrutiny import Scrutiny

RETRY_SECONDS = 0.5  # between two tries to open a camera that has gone
LONGEST_TROUBLE = 200  # characters
WHAT_FAILS = (FewstepError, OSError, RuntimeError, ValueError, EOFError)  # when a camera goes


@dataclass(frozen=True)
class CameraProcessConfig:
    """The camera, and where its pictures go."""

    camera: CameraConfig
    port: CameraPort


class Station:
    """Keeps one camera going: opens it again where it has gone."""

    def __init__(self, config: CameraProcessConfig) -> None:
        self._config = config.camera
        self._ring: PictureRing = config.port.open_ring()
        self._status: Mailbox = config.port.open_status()
        self._record = np.zeros((), STATUS)
        self._ready = False

    def run(self) -> None:
        """Go on for ever; a first failure to open it is an error, a later one is tried again."""
        camera = open_camera(self._config)
        while True:
            try:
                self._serve(camera)
            except WHAT_FAILS as error:
                if not self._ready:
                    raise
                self._report(f"has gone: {error}")
            with suppress(*WHAT_FAILS):
                camera.close()
            camera = self._open_again()

    def _serve(self, camera: Camera) -> None:
        scrutiny = Scrutiny(self._config)
        while True:
            stamp, picture = camera.read()
            trouble = scrutiny.look(stamp, picture)
            if picture.shape == (*self._config.size, 3):
                self._ring.write(stamp, picture)
                self._record["stamp"] = stamp
            self._report(trouble)
            if not self._ready:
                self._ready = True
                say("camera ready", pid=os.getpid(), trouble=trouble)

    def _open_again(self) -> Camera:
        while True:
            time.sleep(RETRY_SECONDS)
            try:
                return open_camera(self._config)
            except FewstepError as error:
                self._report(f"has gone: {error}")

    def _report(self, trouble: str) -> None:
        self._record["alive"] = time.monotonic()
        self._record["trouble"] = trouble[:LONGEST_TROUBLE].encode()
        self._status.write(self._record)


def say(event: str, **details: object) -> None:
    """Tell the process that started this one, in a line of JSON."""
    print(json.dumps({"event": event, **details}), flush=True)


def end_with_parent() -> None:
    """End once the standard input does: nobody is left to look at pictures."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(config: CameraProcessConfig) -> None:
    """Serve a camera, or say why it cannot be."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        Station(config).run()
    except Exception as error:
        text = str(error) if isinstance(error, FewstepError) else f"{type(error).__name__}: {error}"
        say("camera failed", text=text)
    os._exit(1)  # whatever a driver's threads may wait for


if __name__ == "__main__":
    main(from_plain(CameraProcessConfig, json.loads(sys.argv[1]), "camera"))
