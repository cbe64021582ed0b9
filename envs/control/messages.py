"""A policy in another process: requests and chunks as records of fixed size, and the Runner at the robot's end."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np

from ..agent import Chunk, Request
from ..spec import Spec
from .mailbox import Mailbox


class Messages:
    """Requests and chunks of a policy as records: all arrays lie in them, so nothing has to be trusted to be read."""

    def __init__(self, spec: Spec, *, observation_steps: int, horizon: int) -> None:
        self._spec, actions = spec, (horizon, spec.action_size)
        observed = [
            (key, f.dtype, (observation_steps, *f.shape)) for key, f in spec.observations.items()
        ]
        head = [("episode", "i8"), ("time", "f8")]
        self.request = np.dtype(
            [
                *head,
                ("seed", "i8"),
                ("prefix_length", "i8"),
                ("prefix", "f8", actions),
                ("obs", observed),
            ]
        )
        self.chunk = np.dtype([*head, ("dt", "f8"), ("seconds", "f8"), ("actions", "f8", actions)])

    def pack(self, r: Request) -> np.ndarray:
        """A request as a record."""
        out = np.zeros((), self.request)
        out["episode"], out["time"], out["seed"], out["prefix_length"] = (
            r.episode,
            r.time,
            r.seed,
            len(r.prefix),
        )
        out["prefix"][: len(r.prefix)] = r.prefix if len(r.prefix) else 0
        for key in self._spec.observations:
            out["obs"][key] = r.obs[key]
        return out

    def unpack(self, record: np.ndarray) -> Request:
        """The request in a record."""
        obs = {key: np.array(record["obs"][key]) for key in self._spec.observations}
        prefix = np.array(record["prefix"][: int(record["prefix_length"])])
        return Request(
            int(record["episode"]), obs, int(record["seed"]), float(record["time"]), prefix
        )

    def pack_chunk(self, c: Chunk, seconds: float) -> np.ndarray:
        """A chunk as a record; seconds: what making it took."""
        out = np.zeros((), self.chunk)
        out["episode"], out["time"], out["dt"], out["seconds"] = c.episode, c.time, c.dt, seconds
        out["actions"] = c.actions
        return out


class ProcessRunner:
    """Asks a policy in another process, and never waits for it; what is asked and not read yet is replaced.

    bell: a pipe, not blocking, whose other end wakes the other process up.
    """

    def __init__(self, messages: Messages, requests: Mailbox, chunks: Mailbox, bell: int) -> None:
        self._messages, self._requests, self._chunks, self._bell = messages, requests, chunks, bell
        self.seconds = 0.0  # that the last chunk took to make

    def submit(self, request: Request) -> None:
        """Leave the request where the other process finds it, whether it lives or not."""
        self._requests.write(self._messages.pack(request))
        with suppress(
            BlockingIOError, BrokenPipeError
        ):  # it rings already, or nobody is there to hear it
            os.write(self._bell, b".")

    def poll(self) -> Chunk | None:
        """The newest chunk, once."""
        record = self._chunks.read()
        if record is None:
            return None
        self.seconds = float(record["seconds"])
        return Chunk(
            int(record["episode"]),
            float(record["time"]),
            float(record["dt"]),
            np.array(record["actions"]),
        )

    def stalls(self) -> bool:
        """Never: real time goes on."""
        return False
