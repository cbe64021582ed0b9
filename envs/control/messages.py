"""A policy in another process: its requests and chunks as records, and the Runner that asks it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from ..agent import Request
from ..chunk import Chunk
from ..mailbox import Mailbox
from ..spec import Spec

OnChunk = Callable[[np.ndarray], None]  # is given the record of a chunk


def chunk_type(horizon: int, action_size: int) -> np.dtype:
    """Return the record of a chunk; seconds: what making it took."""
    return np.dtype(
        [
            ("episode", "i8"),
            ("time", "f8"),
            ("dt", "f8"),
            ("seconds", "f8"),
            ("actions", "f8", (horizon, action_size)),
        ]
    )


def taken_type(horizon: int, action_size: int) -> np.dtype:
    """Return the record of a chunk in a log; taken: when it came to the robot [s]."""
    return np.dtype([("taken", "f8"), *chunk_type(horizon, action_size).descr])


class Messages:
    """Requests and chunks of a policy as records of fixed size.

    All arrays lie in them, so nothing has to be trusted to be read.
    """

    def __init__(self, spec: Spec, *, observation_steps: int, pictures: int, horizon: int) -> None:
        self._spec = spec
        observed = []
        for key, field in spec.observations.items():
            count = pictures if field.is_image else observation_steps
            observed.append((key, field.dtype, (count, *field.shape)))
        self.chunk = chunk_type(horizon, spec.action_size)
        self.request = np.dtype(
            [
                ("episode", "i8"),
                ("time", "f8"),
                ("seed", "i8"),
                ("prefix_length", "i8"),
                ("prefix", "f8", (horizon, spec.action_size)),
                ("obs", observed),
            ]
        )

    def pack(self, request: Request) -> np.ndarray:
        """Return a request as a record."""
        record = np.zeros((), self.request)
        length = len(request.prefix)
        record["episode"] = request.episode
        record["time"] = request.time
        record["seed"] = request.seed
        record["prefix_length"] = length
        if length:
            record["prefix"][:length] = request.prefix
        for key in self._spec.observations:
            record["obs"][key] = request.obs[key]
        return record

    def unpack(self, record: np.ndarray) -> Request:
        """Return the request in a record."""
        length = int(record["prefix_length"])
        obs = {key: np.array(record["obs"][key]) for key in self._spec.observations}
        return Request(
            episode=int(record["episode"]),
            obs=obs,
            seed=int(record["seed"]),
            time=float(record["time"]),
            prefix=np.array(record["prefix"][:length]),
        )

    def pack_chunk(self, chunk: Chunk, seconds: float) -> np.ndarray:
        """Return a chunk as a record; seconds: what making it took."""
        record = np.zeros((), self.chunk)
        record["episode"] = chunk.episode
        record["time"] = chunk.time
        record["dt"] = chunk.dt
        record["seconds"] = seconds
        record["actions"] = chunk.actions
        return record

    def unpack_chunk(self, record: np.ndarray) -> Chunk:
        """Return the chunk in a record."""
        return Chunk(
            episode=int(record["episode"]),
            time=float(record["time"]),
            dt=float(record["dt"]),
            actions=np.array(record["actions"]),
        )


class ProcessRunner:
    """Asks a policy in another process, and never waits for it.

    What is asked and not read yet is replaced.
    bell: a pipe, not blocking, whose other end wakes the other process up; on_chunk: is given the
    record of every chunk that is taken.
    """

    def __init__(
        self,
        messages: Messages,
        requests: Mailbox,
        chunks: Mailbox,
        bell: int,
        on_chunk: OnChunk = lambda record: None,
    ) -> None:
        self._messages = messages
        self._requests = requests
        self._chunks = chunks
        self._bell = bell
        self._on_chunk = on_chunk
        self.seconds = 0.0  # that the last chunk took to make

    def submit(self, request: Request) -> None:
        """Leave the request where the other process finds it, whether it lives or not."""
        self._requests.write(self._messages.pack(request))
        # Where this fails it rings already, or nobody is there to hear it.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._bell, b".")

    def poll(self) -> Chunk | None:
        """Return the newest chunk, once."""
        record = self._chunks.read()
        if record is None:
            return None
        self._on_chunk(record)
        self.seconds = float(record["seconds"])
        return self._messages.unpack_chunk(record)

    def stalls(self) -> bool:
        """Return False: real time goes on."""
        return False
