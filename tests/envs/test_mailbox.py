"""Mailboxes: the newest whole record or none, whatever the other process does to the memory."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs.mailbox import HEAD, Mailbox

DTYPE = np.dtype([("n", "i8"), ("x", "f8", (100,))])


def record(n: int) -> np.ndarray:
    out = np.zeros((), DTYPE)
    out["n"], out["x"] = n, n
    return out


@pytest.fixture
def pair():
    writer = Mailbox(DTYPE)
    reader = Mailbox(DTYPE, writer.fd)
    yield writer, reader
    writer.close()
    reader.close()
    reader.close()


def test_a_slot_that_was_never_written_holds_nothing(pair):
    assert pair[1].read() is None


def test_the_newest_record_is_read_once(pair):
    writer, reader = pair
    for n in (1, 2, 3):
        writer.write(record(n))
    found = reader.read()
    assert found is not None and found["n"] == 3 and (found["x"] == 3).all()
    assert reader.read() is None
    writer.write(record(4))
    assert reader.read()["n"] == 4


def test_what_is_read_does_not_change_with_the_slot(pair):
    writer, reader = pair
    writer.write(record(1))
    found = reader.read()
    writer.write(record(2))
    assert (found["x"] == 1).all()


@given(place=st.integers(0, HEAD.size + DTYPE.itemsize - 1), bit=st.integers(0, 7))
def test_a_torn_record_is_none(place: int, bit: int):
    writer = Mailbox(DTYPE)
    reader = Mailbox(DTYPE, writer.fd)
    writer.write(record(7))
    writer._memory[place] = writer._memory[place] ^ (1 << bit)
    assert reader.read() is None
    writer.write(record(8))
    assert reader.read()["n"] == 8
    writer.close()
    reader.close()


def test_a_writer_that_dies_half_way_leaves_nothing_and_its_successor_is_heard(pair):
    writer, reader = pair
    writer.write(record(1))
    assert reader.read() is not None
    HEAD.pack_into(writer._memory, 0, 0, 0, 0)  # the first thing that a writer does
    writer._memory[HEAD.size : HEAD.size + 8] = b"12345678"
    assert reader.read() is None
    successor = Mailbox(DTYPE, reader.fd)
    successor.write(record(2))
    assert reader.read()["n"] == 2
    successor.close()


WRITER = """
    import os, sys, numpy as np
    from fewstep.envs.mailbox import Mailbox
    box = Mailbox(np.dtype([("n", "i8"), ("x", "f8", (100,))]), int(sys.argv[1]))
    out = np.zeros((), box.dtype)
    n = 0
    while os.getppid() == int(sys.argv[2]):
        n += 1
        out["n"], out["x"] = n, n
        box.write(out)
"""


def test_no_record_is_torn_while_another_process_writes_as_fast_as_it_can():
    box = Mailbox(DTYPE)
    code = [sys.executable, "-c", textwrap.dedent(WRITER), str(box.fd), str(os.getpid())]
    child, seen, last = subprocess.Popen(code, pass_fds=[box.fd]), 0, 0
    try:
        while seen < 300 and child.poll() is None:
            if (found := box.read()) is not None:
                assert (found["x"] == found["n"]).all() and found["n"] > last
                seen, last = seen + 1, int(found["n"])
    finally:
        child.kill()
        child.wait()
    assert seen == 300
    box.close()
