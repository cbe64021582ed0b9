"""The server, as its clients see it."""

import re
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

import numpy as np
import pytest
from serving_cases import PlainEngine, ask, client, observation, served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fewstep.envs.web.array_maps import pack, unpack
from fewstep.policy.serving.server.policy_server import MOST_CLIENTS

KEY = "k" * 32


def test_the_greeting_says_what_the_policy_observes_and_commands() -> None:
    with served() as address, connect(f"ws://{address}", compression=None) as connection:
        told = unpack(connection.recv(10))  # pyright: ignore
    assert told["action_horizon"] == 8 and told["dt"] == 0.1 and told["prefix"] == 4
    assert told["action_names"] == ["arm.base", "arm.tip", "grip"]
    assert told["units"] == ["rad", "rad", ""] and told["weights"] == "abc"
    assert told["observation"]["front"] == {"shape": [48, 64, 3], "dtype": "uint8", "unit": ""}
    assert told["observation_steps"] == 2


def test_the_history_is_of_one_client() -> None:
    with served() as address, client(address) as one, client(address) as other:
        assert ask(one, observation(1.0, time=0.0))["actions"][1].tolist() == [0, 0, 0]
        assert ask(other, observation(5.0, time=0.1))["actions"][1].tolist() == [0, 0, 0]
        reply = ask(one, observation(3.0, time=0.1))
        assert reply["actions"][:2].tolist() == [[3, 3, 3], [2, 2, 2]]
        assert (reply["time"], reply["dt"]) == (0.1, 0.1)
        assert "warnings" not in reply


def test_a_history_begins_anew_with_an_episode_a_pause_and_a_clock_that_goes_back() -> None:
    with served() as address, client(address) as one:
        ask(one, observation(1.0, time=5.0, episode=0))
        assert not ask(one, observation(2.0, time=5.1, episode=1))["actions"][1].any()
        assert ask(one, observation(3.0, time=5.2, episode=1))["actions"][1].any()
        assert not ask(one, observation(9.0, time=7.2, episode=1))["actions"][1].any()
        reply = ask(one, observation(9.0, time=1.0, episode=1))
        assert "time went back" in reply["warnings"][0]


def test_who_sends_too_seldom_is_told_and_may_send_a_history() -> None:
    with served() as address, client(address) as one:
        ask(one, observation(1.0, time=0.0))
        reply = ask(one, observation(2.0, time=0.4))
        assert "0.4 s apart" in reply["warnings"][0] and not reply["actions"][1].any()
        both = observation(0.0, time=0.8) | {"state": np.array([[1.0] * 3, [4.0] * 3])}
        reply = ask(one, both)
        assert "warnings" not in reply and reply["actions"][1].tolist() == [3, 3, 3]
        short = observation(0.0) | {"state": np.ones((1, 3))}
        assert "1 samples" in ask(one, short)


def test_pictures_come_either_way_round_and_in_any_size() -> None:
    engine = PlainEngine()
    with served(engine) as address, client(address) as one:
        picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        ask(one, observation() | {"front": picture})
        ask(one, observation() | {"front": np.ascontiguousarray(picture.transpose(2, 0, 1))})
        ask(one, observation() | {"front": picture.repeat(2, 0).repeat(2, 1)})
        seen = [asked["front"][0, -1] for asked in engine.asked]
        assert (seen[0] == picture).all() and (seen[1] == picture).all()
        assert seen[2].shape == (48, 64, 3)


def test_a_seed_decides_the_noise_and_a_prefix_is_handed_on() -> None:
    with served() as address, client(address) as one:
        first = ask(one, observation(seed=3))["actions"][2:]
        assert (ask(one, observation(seed=3))["actions"][2:] == first).all()
        assert (ask(one, observation(seed=4))["actions"][2:] != first).any()
        prefix = np.arange(6.0).reshape(2, 3)
        assert (ask(one, observation(prefix=prefix))["actions"][:2] == prefix).all()
        reply = ask(one, observation(prefix=np.ones((7, 3))))
        assert "heeds 4 actions, not 7" in reply["warnings"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "lacks front, state"),
        (observation() | {"state": np.ones(4)}, "shape (4,); the policy observes (3,)"),
        (observation() | {"state": [np.nan, 0, 0]}, "'state' holds what is no number"),
        (observation() | {"state": "three"}, "'state' is no array of numbers"),
        (observation() | {"front": np.ones((48, 64, 3))}, "picture of uint8"),
        (observation() | {"front": np.ones((48, 64), np.uint8)}, "(48, 64)"),
        (observation() | {"front": np.ones((64, 64, 3), np.uint8)}, "other proportions"),
        (observation(time=float("nan")), "'time' is in seconds and below 1e15"),
        (observation(time="now"), "'time' is a number"),
        (observation(seed=-1), "'seed' is a whole number"),
        (observation(episode=1.5), "'episode' is a whole number"),
        (observation(prefix=np.ones(3)), "'prefix' is an array (n, 3)"),
        (observation(prefix=np.full((1, 3), np.inf)), "'prefix' holds what is no number"),
        (observation(noise=np.ones(3)), "'noise' is an array (1, 8, 3)"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_the_next_message_is_answered(content, said) -> None:
    with served() as address, client(address) as one:
        reply = ask(one, content)
        assert isinstance(reply, str) and said in reply and "Traceback" not in reply
        assert ask(one, observation())["actions"].shape == (8, 3)


def test_a_policy_that_fails_tells_its_clients_nothing_of_itself() -> None:
    engine = PlainEngine()
    engine.fails = RuntimeError("/home/someone/secret")
    with served(engine) as address, client(address) as one:
        reply = ask(one, observation())
        assert isinstance(reply, str) and "secret" not in reply
        engine.fails = None
        assert ask(one, observation())["actions"].shape == (8, 3)


def test_the_newest_request_of_a_client_wins() -> None:
    engine = PlainEngine()
    began, go_on = threading.Event(), threading.Event()
    predict = engine.predict

    def slowly(*arguments, **more):
        began.set()
        assert go_on.wait(10)
        return predict(*arguments, **more)

    engine.predict = slowly
    with served(engine) as address, client(address) as one:
        one.send(pack(observation(0.0, time=0.0)))
        assert began.wait(10)
        for k in range(1, 4):
            one.send(pack(observation(float(k), time=k / 10)))
        time.sleep(0.3)
        go_on.set()
        replies = [unpack(one.recv(10)) for _ in range(4)]  # pyright: ignore
    assert [reply.get("superseded") for reply in replies] == [None, True, True, None]
    assert replies[3]["time"] == 0.3 and replies[3]["actions"][1].tolist() == [1, 1, 1]


def test_a_batch_has_always_the_same_size() -> None:
    engine = PlainEngine()
    engine.batches = True
    with served(engine, batch=4) as address, client(address) as one:
        ask(one, observation(2.0))
    assert engine.asked[0]["state"].shape == (4, 2, 3)


def test_strangers_and_web_pages_are_kept_out() -> None:
    with served(key=KEY) as address:
        for headers in ({}, {"Authorization": "Api-Key wrong"}, {"Authorization": KEY}):
            with (
                pytest.raises(InvalidStatus) as refused,
                client(address, additional_headers=headers),
            ):
                pass
            assert refused.value.response.status_code == 401
        with client(address, additional_headers={"Authorization": f"Api-Key {KEY}"}) as one:
            assert "actions" in ask(one, observation())
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://{address}/metrics")
    with served() as address:
        with pytest.raises(InvalidStatus) as refused, client(address, origin="http://evil.example"):
            pass
        assert refused.value.response.status_code == 403


def test_it_says_how_it_is() -> None:
    with served() as address, client(address) as one:
        ask(one, observation())
        ask(one, {})
        read = {
            path: urllib.request.urlopen(f"http://{address}/{path}").read().decode()
            for path in ("healthz", "readyz", "metrics")
        }
    assert read["healthz"] == "OK\n" and read["readyz"] == "ready\n"
    assert "fewstep_chunks_total 1.0" in read["metrics"]
    assert "fewstep_refused_total 1.0" in read["metrics"]


def test_too_many_clients_are_sent_away_and_may_come_again() -> None:
    with served() as address:
        with ExitStack() as many:
            for _ in range(MOST_CLIENTS):
                many.enter_context(client(address))
            with pytest.raises(InvalidStatus), client(address):
                pass
        time.sleep(0.2)
        with client(address) as one:
            assert "actions" in ask(one, observation())


def test_a_message_that_is_too_long_ends_only_its_own_connection() -> None:
    with served() as address, client(address) as one, client(address) as other:
        with pytest.raises(ConnectionClosed):
            one.send(bytes(33 * 2**20))
            one.recv(10)
        assert "actions" in ask(other, observation())


def test_half_open_and_silent_clients_starve_nobody() -> None:
    with served() as address:
        host, port = address.split(":")
        strangers = [socket.create_connection((host, int(port))) for _ in range(50)]
        for number, stranger in enumerate(strangers):
            stranger.send(b"GET / HTTP/1.1\r\nHost: x\r\n"[: number % 20])
        with ExitStack() as silent:
            for _ in range(10):
                silent.enter_context(client(address))
            with client(address) as one:
                assert "actions" in ask(one, observation())
        for stranger in strangers:
            stranger.close()


def test_one_client_that_floods_leaves_the_others_their_turn() -> None:
    with served() as address, client(address) as flood, client(address) as one:
        over = threading.Event()

        def drown() -> None:
            message = pack(observation())
            while not over.is_set():
                flood.send(message)
                flood.recv(10)

        thread = threading.Thread(target=drown)
        thread.start()
        for _ in range(50):
            assert "actions" in ask(one, observation())
        over.set()
        thread.join()


def test_an_observation_of_the_same_time_takes_the_place_of_the_last() -> None:
    with served() as address, client(address) as one:
        for value in (1.0, 2.0, 3.0):
            reply = ask(one, observation(value, time=0.0))
            assert reply["actions"][:2].tolist() == [[value] * 3, [0, 0, 0]]


def test_a_pause_longer_than_a_chunk_is_told_as_well() -> None:
    with served() as address, client(address) as one:
        ask(one, observation(1.0, time=0.0))
        assert "3 s apart" in ask(one, observation(2.0, time=3.0))["warnings"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (observation(prefix=np.full((1, 3), 1e300)), "too large"),
        (observation(noise=np.full((1, 8, 3), 1e300)), "too large"),
        (observation(prefix=[[1], [1, 2]]), "'prefix' is no array of numbers"),
        (observation() | {"state": ["x" * 10**6, "y", "z"]}, "'state' is no array of numbers"),
        (observation() | {"front": np.ones((1, 1, 3), np.uint8)}, "other proportions|too small"),
        (observation() | {"front": np.ones((3, 4, 3), np.uint8)}, "too small"),
        (observation() | {"k" * 300: 1}, "keys are texts"),
        (observation() | {5: 1}, "keys are texts"),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_more_of_what_is_wrong_is_said(content, said) -> None:
    with served() as address, client(address) as one:
        reply = ask(one, content)
        assert isinstance(reply, str) and re.search(said, reply)
        assert ask(one, observation())["actions"].shape == (8, 3)


def test_maps_in_maps_end_somewhere() -> None:
    deep: dict = {}
    for _ in range(50):
        deep = {"in": deep}
    with served() as address, client(address) as one:
        assert "at most 8 maps" in ask(one, observation() | {"more": deep})
        assert "actions" in ask(one, observation())


def test_a_chunk_that_holds_no_number_is_not_sent() -> None:
    engine = PlainEngine()
    predict = engine.predict
    engine.predict = lambda *given, **more: predict(*given, **more) * np.nan
    with served(engine) as address, client(address) as one:
        assert "no number" in ask(one, observation())


def test_of_a_long_history_the_newest_count() -> None:
    engine = PlainEngine()
    with served(engine) as address, client(address) as one:
        states = np.arange(30.0).reshape(10, 3)
        pictures = np.zeros((5, 48, 64, 3), np.uint8)
        pictures[-1] = 9
        ask(one, {"state": states, "front": pictures})
    assert engine.asked[0]["state"].tolist() == states[None, -2:].tolist()
    assert (engine.asked[0]["front"] == 9).all()
