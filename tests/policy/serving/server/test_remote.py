"""A policy that another process computes: the same chunks, and an end that may come again."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from serving_cases import PlainEngine, served
from websockets.sync.client import connect
from websockets.sync.server import serve

from fewstep.envs import FewstepError, ProtocolError
from fewstep.envs.web.array_maps import pack, unpack
from fewstep.policy.engines import remote
from fewstep.policy.engines.loading import load_engine
from fewstep.policy.engines.remote import RemoteEngine
from fewstep.policy.serving.server.layout import Layout


def question(rows: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "obs": {
            "state": rng.standard_normal((rows, 2, 3)).astype(np.float32),
            "front": rng.integers(0, 255, (rows, 1, 48, 64, 3), np.uint8),
        },
        "noise": rng.standard_normal((1, rows, 8, 3)).astype(np.float32),
    }


def test_chunks_are_those_of_the_engine_behind_the_server() -> None:
    engine = PlainEngine()
    asked = question()
    prefix = np.random.default_rng(1).standard_normal((3, 8, 3)).astype(np.float32)
    with served(engine) as address:
        other = load_engine(f"ws://{address}", "onnx")
        assert (other.spec, other.shape) == (engine.spec, engine.shape)
        for more in ({}, {"prefix": prefix, "prefix_length": np.array([0, 2, 4])}):
            chunks = other.predict(**asked, **more)
            assert (chunks == engine.predict(**asked, **more)).all()
        assert len(engine.asked) == 8


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_it_comes_again_to_the_same_policy_only() -> None:
    port = free_port()
    asked = question(1)
    with served(port=port):
        engine = RemoteEngine(f"ws://127.0.0.1:{port}")
        engine.predict(**asked)
    with pytest.raises(ProtocolError, match=f"no policy server at ws://127.0.0.1:{port}"):
        engine.predict(**asked)
    with served(port=port):
        engine.predict(**asked)
    with (
        served(port=port, weights="other"),
        pytest.raises(ProtocolError, match="serves another policy now"),
    ):
        engine.predict(**asked)
    with (
        served(PlainEngine(steps=3), port=port),
        pytest.raises(ProtocolError, match="serves another policy now"),
    ):
        engine.predict(**asked)


def test_what_the_server_refuses_is_said() -> None:
    with served() as address:
        engine = RemoteEngine(f"ws://{address}")
        asked = question(1)
        asked["obs"]["state"][0, 0, 0] = np.nan
        with pytest.raises(ProtocolError, match="refuses: 'state' holds what is no number"):
            engine.predict(**asked)
        engine.predict(**question(1))


def test_a_key_comes_from_the_environment(monkeypatch) -> None:
    monkeypatch.delenv("FEWSTEP_API_KEY", raising=False)
    with served(key="k" * 16) as address:
        with pytest.raises(ProtocolError, match="401"):
            RemoteEngine(f"ws://{address}")
        monkeypatch.setenv("FEWSTEP_API_KEY", "k" * 16)
        RemoteEngine(f"ws://{address}").predict(**question(1))


def test_a_server_for_other_clients_is_none_for_this() -> None:
    layout = Layout({"state": ("observation/state",), "front": ("observation/image",)})
    with served(layout=layout) as address, pytest.raises(ProtocolError, match="another layout"):
        RemoteEngine(f"ws://{address}")


@contextmanager
def strange(talk: Callable[[Any], None]) -> Iterator[str]:
    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "ws://127.0.0.1:%d" % server.socket.getsockname()[1]  # noqa: UP031
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("hello", "is no policy server"),
        (b"\xc1", "no msgpack map"),
        (pack({}), "is no fewstep server: it lacks 'spec'"),
        (
            pack({"spec": 1, "shape": 2, "sampler": {}, "weights": 3, "layout": {}}),
            "ws://.*: not a Spec",
        ),
    ],
    ids=repr,
)
def test_a_strange_server_is_told_from_ours(first: Any, said: str) -> None:
    with (
        strange(lambda connection: connection.send(first)) as address,
        pytest.raises(FewstepError, match=said),
    ):
        RemoteEngine(address)


def test_an_answer_to_another_question_is_not_taken() -> None:
    with served() as address, connect(f"ws://{address}") as honest:
        greeting = honest.recv(10)

    def talk(connection: Any) -> None:
        connection.send(greeting)
        for message in connection:
            time = unpack(message)["time"]
            actions = np.zeros((8, 3), np.float32)
            connection.send(pack({"actions": actions, "time": time - 1}))

    with strange(talk) as address:
        engine = RemoteEngine(address)
        for _ in range(2):
            with pytest.raises(ProtocolError, match="another question than was asked"):
                engine.predict(**question(1))


def test_nobody_and_who_says_nothing_are_given_up(monkeypatch) -> None:
    monkeypatch.setattr(remote, "OPENING_SECONDS", 0.2)
    with pytest.raises(ProtocolError, match="no policy server"):
        RemoteEngine("ws://127.0.0.1:1")
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(ProtocolError, match="no policy server"),
    ):
        RemoteEngine("ws://127.0.0.1:%d" % listening.getsockname()[1])  # noqa: UP031
    with pytest.raises(ProtocolError, match="no policy server"):
        RemoteEngine("ws://not a host:5")


def test_an_answer_that_is_too_late_is_not_taken_for_the_next(monkeypatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.3)
    engine = PlainEngine()
    go_on = threading.Event()
    predict = engine.predict
    engine.predict = lambda *given, **more: (go_on.wait(5), predict(*given, **more))[1]
    with served(engine) as address:
        other = RemoteEngine(f"ws://{address}")
        with pytest.raises(ProtocolError, match="does not answer"):
            other.predict(**question(1))
        go_on.set()
        asked = question(1)
        asked["obs"]["state"] += 1
        assert (other.predict(**asked) == predict(**asked)).all()
