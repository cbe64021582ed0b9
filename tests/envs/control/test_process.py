"""The policy in a process of its own.

The same chunks as inline, and no waiting whatever becomes of it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewstep.envs import Field, Spec
from fewstep.envs.agent import Request
from fewstep.envs.chunk import Chunk
from fewstep.envs.control.messages import Messages, ProcessRunner
from fewstep.envs.mailbox import Mailbox
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.engines.eager import EagerEngine
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.serving.runners import InlineRunner

SPEC = Spec(
    {"q": Field((2,), "rad"), "eye": Field((4, 4, 3), kind="image")}, {"q": Field((2,), "rad")}, 10
)
STATE = Spec({"q": Field((2,), "rad")}, {"q": Field((2,), "rad")}, 10)
MESSAGES = Messages(SPEC, observation_steps=2, pictures=1, horizon=8)


def request(seed: int, spec: Spec = SPEC, prefix: int = 0) -> Request:
    rng = np.random.default_rng(seed)
    obs = {
        "q": rng.normal(size=(2, 2)).astype(np.float32),
        "eye": rng.integers(0, 256, (1, 4, 4, 3), np.uint8),
    }
    promise = rng.normal(size=(prefix, 2))
    return Request(seed, {k: obs[k] for k in spec.observations}, seed * 2**40, seed / 7, promise)


@given(st.integers(0, 1000), st.integers(0, 8))
def test_requests_come_through_as_they_are(seed: int, prefix: int):
    sent = request(seed, prefix=prefix)
    record = np.frombuffer(MESSAGES.pack(sent).tobytes(), MESSAGES.request)[0]
    found = MESSAGES.unpack(record)
    assert (found.episode, found.seed, found.time) == (sent.episode, sent.seed, sent.time)
    assert all(
        np.array_equal(found.obs[k], sent.obs[k]) and found.obs[k].dtype == sent.obs[k].dtype
        for k in sent.obs
    )
    assert np.array_equal(found.prefix, sent.prefix)


class Node:
    """A worker process with its mailboxes."""

    def __init__(self, policy: Path) -> None:
        self.messages = Messages(STATE, observation_steps=2, pictures=1, horizon=8)
        self.requests, self.chunks = Mailbox(self.messages.request), Mailbox(self.messages.chunk)
        self.runner = self.start(policy)

    def start(self, policy: Path) -> ProcessRunner:
        settings = {"policy": str(policy), "requests": self.requests.fd, "chunks": self.chunks.fd}
        command = [sys.executable, "-m", "fewstep.policy.serving.inference", json.dumps(settings)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(
            command, pass_fds=[self.requests.fd, self.chunks.fd], **pipes
        )
        os.set_blocking(self.process.stdin.fileno(), False)
        assert json.loads(self.process.stdout.readline())["event"] == "inference ready"
        return ProcessRunner(self.messages, self.requests, self.chunks, self.process.stdin.fileno())

    def wait(self, episode: int, seconds: float = 20.0) -> Chunk | None:
        """The next chunk of an episode."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (chunk := self.runner.poll()) is not None and chunk.episode == episode:
                return chunk
        return None

    def stop(self) -> int:
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> tuple[Policy, Path]:
    torch.manual_seed(0)
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16, prefix=True)
    made, path = (
        Policy(STATE, PolicyConfig(horizon=8, action_steps=4, net=net)).eval(),
        tmp_path_factory.mktemp("p") / "run",
    )
    save_policy(made, path, {})
    return made, path


@pytest.fixture
def node(policy) -> Iterator[Node]:
    node = Node(policy[1])
    yield node
    node.process.kill()
    node.process.wait()
    for pipe in (node.process.stdin, node.process.stdout):
        pipe.close()


def test_the_other_process_says_what_the_policy_says_and_ends_with_its_bell(policy, node):
    for seed in (1, 2):
        asked = request(seed, STATE, prefix=seed)
        node.runner.submit(asked)
        inline = InlineRunner(EagerEngine(policy[0]))
        inline.submit(asked)
        found, wanted = node.wait(seed), inline.poll()
        assert found is not None and wanted is not None
        np.testing.assert_allclose(found.actions, wanted.actions, atol=1e-5)
        assert (found.episode, found.time, found.dt) == (wanted.episode, wanted.time, wanted.dt)
        assert 0 < node.runner.seconds < 20
    assert node.stop() == 0


def test_one_that_hangs_or_dies_is_never_waited_for_and_its_successor_answers(policy, node):
    node.process.send_signal(signal.SIGSTOP)
    for seed in range(1, 100):
        node.runner.submit(request(seed, STATE))
        assert node.runner.poll() is None or seed == 1
    node.process.send_signal(signal.SIGCONT)
    assert node.wait(99) is not None
    node.process.kill()
    node.process.wait()
    node.runner.submit(request(100, STATE))
    for pipe in (node.process.stdin, node.process.stdout):
        pipe.close()
    node.runner = node.start(policy[1])
    node.runner.submit(request(101, STATE))
    assert node.wait(101) is not None
