"""The inference process.

It owns the policy, answers the newest request, and ends when nobody is left to ask.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...envs import ProtocolError, Spec
from ...envs.agent import Request
from ...envs.cameras.camera_config import without
from ...envs.cameras.rings import PictureRing
from ...envs.chunk import Chunk
from ...envs.control.messages import Messages
from ...envs.mailbox import Mailbox
from ...envs.pictures import as_seen, resize
from ...envs.schema import from_plain
from ..engines.engine import Engine
from ..engines.loading import load_engine
from ..monitoring.monitor import read_monitor
from ..monitoring.scorer import ChunkMonitor
from .inference_config import InferenceConfig
from .runners import WARM_CHUNKS, answer, blank_request


def main(settings: InferenceConfig) -> None:
    """Serve a policy over two mailboxes; the standard input is the bell.

    Say on the standard output, one JSON object a line, when it is ready and how long a chunk
    takes.
    """
    engine = load_engine(settings.policy, settings.engine, threads=settings.threads)
    shape = engine.shape
    seen = as_seen(engine.spec, shape.side)
    rings = {port.name: port.open_ring() for port in settings.cameras if port.name in seen.images}
    messages = Messages(
        without(seen, rings),
        observation_steps=shape.observation_steps,
        pictures=shape.pictures,
        horizon=shape.horizon,
    )
    asked = Mailbox(messages.request, settings.requests)
    given = Mailbox(messages.chunk, settings.chunks)
    seconds = math.inf
    for _ in range(WARM_CHUNKS):
        taken, _ = _answer_request(engine, messages, given, blank_request(engine))
        seconds = min(seconds, taken)
    monitor = ChunkMonitor(engine, read_monitor(settings.policy)) if settings.monitor else None
    ready = {"event": "inference ready", "pid": os.getpid(), "seconds": seconds}
    print(json.dumps(ready), flush=True)
    while os.read(0, 4096):
        record = asked.read()
        if record is None:
            continue
        try:
            request = with_pictures(messages.unpack(record), rings, seen, shape.pictures)
            _, chunk = _answer_request(engine, messages, given, request)
            if monitor and chunk is not None:
                _say_scores(monitor.score(request, chunk))
        except ProtocolError as error:  # of a server, which may come again
            print(json.dumps({"event": "unanswered", "text": str(error)}), flush=True)


def with_pictures(
    request: Request, rings: Mapping[str, PictureRing], seen: Spec, count: int
) -> Request:
    """Return a request with those pictures that were taken at its moment, a period apart.

    ProtocolError where a camera has none.
    """
    obs = dict(request.obs)
    for name, ring in rings.items():
        height, width, _ = seen.images[name].shape
        pictures = []
        for age in range(count - 1, -1, -1):
            found = ring.nearest(request.time - age / seen.policy_hz)
            if found is None:
                raise ProtocolError(f"camera {name} has no picture")
            pictures.append(resize(found[1], (height, width)))
        obs[name] = np.stack(pictures)
    return replace(request, obs=obs)


def _answer_request(
    engine: Engine, messages: Messages, given: Mailbox, request: Request
) -> tuple[float, Chunk | None]:
    """Write the chunk where it is read, and return how long it took to make [s], and it."""
    began = time.monotonic()
    chunk = answer(engine, [request])[0]
    seconds = time.monotonic() - began
    if chunk is not None:
        given.write(messages.pack_chunk(chunk, seconds))
    return seconds, chunk


def _say_scores(scores: dict[str, Any]) -> None:
    """Say what was scored, which the starting process hears; the chunk has gone out before."""
    print(json.dumps({"event": "monitor", **scores}), flush=True)


if __name__ == "__main__":
    main(from_plain(InferenceConfig, json.loads(sys.argv[1]), "inference"))
