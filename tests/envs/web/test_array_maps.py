"""Messages in the coding of openpi's clients, and what is none."""

from contextlib import suppress

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fewstep.envs import FewstepError, ProtocolError
from fewstep.envs.web.array_maps import MOST_BYTES, flatten, pack, unpack

DTYPES = st.sampled_from(["u1", "i2", "<i8", "<f4", ">f4", "f8", "f2", "b1"]).map(np.dtype)


@given(DTYPES.flatmap(lambda d: arrays.arrays(d, arrays.array_shapes(min_dims=0, min_side=0))))
def test_an_array_comes_back_as_it_was(array: np.ndarray) -> None:
    back = unpack(pack({"x": array, "inside": {"y": array}, "text": "é", "number": 1.5}))
    for found in (back["x"], back["inside"]["y"]):
        assert found.dtype == array.dtype and found.shape == array.shape
        assert found.tobytes() == array.tobytes()
    assert (back["text"], back["number"]) == ("é", 1.5)


def test_numbers_of_numpy_come_back() -> None:
    back = unpack(pack({"x": np.float32(2.5), "n": np.int64(7)}))
    assert back["x"] == 2.5 and isinstance(back["x"], np.float32) and back["n"] == 7


def array_map(**changed: object) -> bytes:
    sound = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2]}
    return msgpack.packb({"x": sound | {key.encode(): value for key, value in changed.items()}})


@pytest.mark.parametrize(
    "message",
    [
        array_map(dtype="O"),
        array_map(dtype="V8"),
        array_map(dtype="<c8"),
        array_map(dtype="<M8[s]"),
        array_map(dtype="f4,f4"),
        array_map(dtype="U2"),
        array_map(dtype=5),
        array_map(shape=[3]),
        array_map(shape=[-2]),
        array_map(shape=[True, 2]),
        array_map(shape=[2.0]),
        array_map(shape=[2**40, 2**40]),
        array_map(shape=[1] * 40),
        array_map(shape="2"),
        array_map(shape=None),
        array_map(data="abcdefgh"),
        array_map(data=None),
        msgpack.packb({"x": {b"__npgeneric__": True, b"data": "a", b"dtype": "<f4"}}),
        msgpack.packb({"x": {b"__npgeneric__": True, b"dtype": "<f4"}}),
        msgpack.packb({"x": {b"__npgeneric__": True, b"data": 1, b"dtype": "O"}}),
        msgpack.packb([1, 2]),
        msgpack.packb("text"),
        msgpack.packb({"x": msgpack.ExtType(5, b"abc")}),
        msgpack.packb({"x": list(range(5000))}),
        msgpack.packb({}) + b"more",
        b"",
        b"\xdd\xff\xff\xff\xff",
        b"\x81" * 100_000,
        b"\x82\x80\x01",
        bytes(MOST_BYTES + 1),
    ],
    ids=lambda message: repr(message[:60]),
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_map_or_refused(message: bytes) -> None:
    with suppress(FewstepError):
        assert isinstance(unpack(message), dict)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_message_with_one_wrong_byte_is_a_map_or_refused(place: int, byte: int) -> None:
    message = bytearray(pack({"a": np.arange(4.0), "b": {"c": np.zeros((2, 3), np.uint8)}}))
    message[place % len(message)] = byte
    with suppress(FewstepError):
        assert isinstance(unpack(bytes(message)), dict)


def test_maps_in_maps_are_joined_by_a_slash() -> None:
    assert flatten({"images": {"cam": {"high": 1}}, "state": 2}) == {
        "images/cam/high": 1,
        "state": 2,
    }


def test_what_cannot_be_sent_is_refused() -> None:
    for value in (object(), np.array(["a"]), np.array([None])):
        with pytest.raises(ProtocolError):
            pack({"x": value})
