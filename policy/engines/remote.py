"""Remote: chunks that a policy server computes, somewhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from ...envs import ProtocolError, Spec
from ...envs.errors import refusing
from ...envs.schema import from_plain
from ...envs.web.array_maps import MOST_BYTES, pack, unpack
from .engine import ChunkShape

ADDRESSES = ("ws://", "wss://")
VARIABLE = "FEWSTEP_API_KEY"  # of the environment: the key that a server may want to see
OPENING_SECONDS = 3.0  # [s] for a connection, and for what the server says of itself
CLOSING_SECONDS = 0.5  # [s] for the other end to take leave
KNOWN_BY = ("spec", "shape", "sampler", "weights", "layout")  # what a policy is known by
ANSWER_SECONDS = 5.0  # [s] for a chunk


def is_address(policy: object) -> bool:
    """Return whether this names a policy server, and no folder."""
    return str(policy).startswith(ADDRESSES)


class RemoteEngine:
    """Asks a server of ours; it comes again where the connection is lost.

    It stays with one policy: a server that serves another one than at first is refused. Raises
    ProtocolError where no chunk can be had, and may be asked again then.
    """

    name = "remote"
    batches = False

    def __init__(self, address: str) -> None:
        self._address = address
        self._opened = ExitStack()  # closes the connection
        self._connection: ClientConnection | None = None
        self._asked = 0  # questions, by which an answer is known
        told = self._open()
        self._close()
        with refusing(ProtocolError, f"{address} is no fewstep server", address):
            self._told = {key: told[key] for key in KNOWN_BY}
            self.spec = Spec.from_json(told["spec"])
            self.shape = from_plain(ChunkShape, told["shape"], "shape")
            self.sampler: dict[str, Any] = dict(told["sampler"])
            self.weights = str(told["weights"])
        if told["layout"] != {key: [key] for key in self.spec.observations}:
            raise ProtocolError(
                f"{address} serves clients of another layout: for this one it needs none"
            )

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return chunks (B, H, A), one question each."""
        chunks = []
        for row in range(noise.shape[1]):
            question: dict[str, Any] = {key: history[row] for key, history in obs.items()}
            question["noise"] = noise[:, row]
            if prefix is not None and prefix_length is not None:
                question["prefix"] = prefix[row, : int(prefix_length[row])]
            chunks.append(self._ask(question))
        return np.stack(chunks)

    def look(self, obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the pictures as they are: the server alone can look."""
        return dict(obs)

    def _ask(self, question: Mapping[str, Any]) -> np.ndarray:
        self._asked += 1
        message = pack({**question, "time": float(self._asked)})
        if self._connection is not None:
            with suppress(_Lost):
                return self._exchange(message)
        self._come_again()
        try:
            return self._exchange(message)
        except _Lost as error:
            raise ProtocolError(f"{self._address} does not answer: {error}") from error

    def _exchange(self, message: bytes) -> np.ndarray:
        """Return the chunk of an answer; _Lost where the connection is."""
        assert self._connection is not None
        try:
            self._connection.send(message)
            answer = self._connection.recv(ANSWER_SECONDS)
        except (OSError, WebSocketException) as error:
            self._close()
            raise _Lost(_said(error)) from error
        if isinstance(answer, str):
            raise ProtocolError(f"{self._address} refuses: {answer}")
        told = unpack(answer)
        actions = told.get("actions")
        shape = (self.shape.horizon, self.spec.action_size)
        if (
            not isinstance(actions, np.ndarray)
            or actions.shape != shape
            or actions.dtype.kind != "f"
            or told.get("time") != float(self._asked)
        ):
            self._close()  # whatever comes after it may belong to another question, too
            raise ProtocolError(f"{self._address} answers another question than was asked")
        if not np.isfinite(actions).all():
            raise ProtocolError(f"{self._address} answers with what is no number")
        return actions.astype(np.float32)

    def _come_again(self) -> None:
        told = self._open()
        if any(told.get(key) != known for key, known in self._told.items()):
            self._close()
            raise ProtocolError(f"{self._address} serves another policy now: begin a new run")

    def _open(self) -> dict[str, Any]:
        """Connect, and return what the server says of itself."""
        key = os.environ.get(VARIABLE, "").strip()
        headers = {"Authorization": f"Api-Key {key}"} if key else {}
        try:
            connecting = connect(
                self._address,
                additional_headers=headers,
                compression=None,
                max_size=MOST_BYTES,
                proxy=None,  # what a shell has set for web pages is no way to a robot
                open_timeout=OPENING_SECONDS,
                close_timeout=CLOSING_SECONDS,
            )
            self._connection = self._opened.enter_context(connecting)
            greeting = self._connection.recv(OPENING_SECONDS)
        except (OSError, WebSocketException, ValueError) as error:
            self._close()
            raise ProtocolError(f"no policy server at {self._address}: {_said(error)}") from error
        if isinstance(greeting, str):
            self._close()
            raise ProtocolError(f"{self._address} is no policy server: it says {greeting[:80]!r}")
        return unpack(greeting)

    def _close(self) -> None:
        self._connection = None
        with suppress(OSError, WebSocketException):
            self._opened.close()


class _Lost(Exception):
    """The connection is lost."""


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
