"""What the tests of the server share: an engine that is plain to see through."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from fewstep.envs import Field, Spec
from fewstep.envs.web.array_maps import pack, unpack
from fewstep.policy.engines.engine import ChunkShape
from fewstep.policy.serving.server.layout import Layout, read_layout
from fewstep.policy.serving.server.policy_server import PolicyServer

SPEC = Spec(
    {"state": Field((3,), "rad"), "front": Field((48, 64, 3), kind="image")},
    {"arm": Field((2,), "rad", names=("base", "tip")), "grip": Field((1,))},
    policy_hz=10.0,
)


class PlainEngine:
    """Says in every action what it was asked with: newest state, its change, noise, pictures."""

    name = "plain"
    batches = False
    sampler: dict[str, Any] = {"step": "ddim", "network_evaluations": 1}  # noqa: RUF012

    def __init__(self, spec: Spec = SPEC, steps: int = 2, prefix: bool = True) -> None:
        self.spec = spec
        size = spec.action_size
        self.shape = ChunkShape(steps, 1, 48, 8, 4, prefix, (1, 8, size))
        self.asked: list[dict[str, Any]] = []
        self.fails: Exception | None = None

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        self.asked.append({**obs, "noise": noise, "prefix": prefix})
        if self.fails is not None:
            raise self.fails
        chunks = noise[0].astype(np.float32).copy()
        chunks[:, 0, :] = obs["state"][:, -1]
        chunks[:, 1, :] = obs["state"][:, -1] - obs["state"][:, 0]
        if prefix is not None and prefix_length is not None:
            for row, length in enumerate(prefix_length.astype(int)):
                chunks[row, :length] = prefix[row, :length]
        return chunks


def observation(value: float = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "state": np.full(3, value, np.float32),
        "front": np.full((48, 64, 3), 7, np.uint8),
        **more,
    }


@contextmanager
def served(
    engine: Any = None,
    layout: Layout | None = None,
    port: int = 0,
    weights: str = "abc",
    **options: Any,
) -> Iterator[str]:
    """A server on a thread of its own; yields its address."""
    engine = engine or PlainEngine()
    layout = layout or read_layout("", engine.spec)
    server = PolicyServer(engine, layout, weights=weights, **options)
    found: list[str] = []
    begun = threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def main() -> None:
        async with await server.listen("127.0.0.1", port) as listening:
            found.append(f"127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}")
            begun.set()
            await end.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert begun.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        server.close()


@contextmanager
def client(address: str, **options: Any) -> Iterator[ClientConnection]:
    """A client that has heard the greeting."""
    with connect(f"ws://{address}", compression=None, max_size=None, **options) as connection:
        connection.recv(10)
        yield connection


def ask(connection: ClientConnection, content: Mapping[str, Any]) -> Any:
    """The reply: a map, or the text of an error."""
    connection.send(pack(content))
    reply = connection.recv(20)
    return reply if isinstance(reply, str) else unpack(reply)
