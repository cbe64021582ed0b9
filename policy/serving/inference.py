"""The inference process.

It owns the policy, answers the newest request, and ends when nobody is left to ask.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time

from ...envs import ProtocolError
from ...envs.agent import Request
from ...envs.control.mailbox import Mailbox
from ...envs.control.messages import Messages
from ...envs.pictures import as_seen
from ...envs.schema import from_plain
from ..engines.engine import Engine
from ..engines.loading import load_engine
from .inference_config import InferenceConfig
from .runners import WARM_CHUNKS, answer, blank_request


def main(settings: InferenceConfig) -> None:
    """Serve a policy over two mailboxes; the standard input is the bell.

    Say on the standard output, one JSON object a line, when it is ready and how long a chunk
    takes.
    """
    engine = load_engine(settings.policy, settings.engine, threads=settings.threads)
    shape = engine.shape
    messages = Messages(
        as_seen(engine.spec, shape.side),
        observation_steps=shape.observation_steps,
        pictures=shape.pictures,
        horizon=shape.horizon,
    )
    asked = Mailbox(messages.request, settings.requests)
    given = Mailbox(messages.chunk, settings.chunks)
    seconds = math.inf
    for _ in range(WARM_CHUNKS):
        taken = _answer_request(engine, messages, given, blank_request(engine))
        seconds = min(seconds, taken)
    ready = {"event": "inference ready", "pid": os.getpid(), "seconds": seconds}
    print(json.dumps(ready), flush=True)
    while os.read(0, 4096):
        record = asked.read()
        if record is None:
            continue
        try:
            _answer_request(engine, messages, given, messages.unpack(record))
        except ProtocolError as error:  # of a server, which may come again
            print(json.dumps({"event": "unanswered", "text": str(error)}), flush=True)


def _answer_request(engine: Engine, messages: Messages, given: Mailbox, request: Request) -> float:
    """Write the chunk where it is read, and return how long it took to make [s]."""
    began = time.monotonic()
    chunk = answer(engine, [request])[0]
    seconds = time.monotonic() - began
    if chunk is not None:
        given.write(messages.pack_chunk(chunk, seconds))
    return seconds


if __name__ == "__main__":
    main(from_plain(InferenceConfig, json.loads(sys.argv[1]), "inference"))
