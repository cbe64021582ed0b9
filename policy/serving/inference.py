"""The inference process: owns the policy, answers the newest request, and ends when nobody is left to ask."""

from __future__ import annotations

import json
import os
import sys
import time

import torch

from ...envs.agent import Request
from ...envs.control.mailbox import Mailbox
from ...envs.control.messages import Messages
from ..engines.engine import Engine
from ..engines.loading import load_engine
from .runners import answer

WARM = 3  # chunks made before the first request: the first one is slow


def main(policy: str, requests: int, chunks: int, threads: int = 1) -> None:
    """Serve a policy over two mailboxes, given as file descriptors; the standard input is the bell.

    Says on the standard output, one JSON object a line, when it is ready and how long a chunk takes.
    """
    torch.set_num_threads(threads)
    engine = load_engine(policy)
    config = engine.config
    messages = Messages(
        engine.spec, observation_steps=config.observation_steps, horizon=config.horizon
    )
    asked, given = Mailbox(messages.request, requests), Mailbox(messages.chunk, chunks)
    seconds = [_answer(engine, messages, given, _blank(engine)) for _ in range(WARM)]
    print(
        json.dumps({"event": "inference ready", "pid": os.getpid(), "seconds": min(seconds)}),
        flush=True,
    )
    while os.read(0, 4096):
        record = asked.read()
        if record is not None:
            _answer(engine, messages, given, messages.unpack(record))


def _answer(engine: Engine, messages: Messages, given: Mailbox, request: Request) -> float:
    began = time.monotonic()
    chunk = answer(engine, [request])[0]
    seconds = time.monotonic() - began
    if chunk is not None:
        given.write(messages.pack_chunk(chunk, seconds))
    return seconds


def _blank(engine: Engine) -> Request:
    """A request of no episode, to warm up with."""
    steps = engine.config.observation_steps
    obs = {
        k: torch.zeros(steps, *f.shape).numpy().astype(f.dtype)
        for k, f in engine.spec.observations.items()
    }
    return Request(-1, obs, 0, 0.0)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
