"""What must be settled before a test module is imported."""

import os
import signal

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # torch: on tensors this small, threads cost more than they bring
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame, below Push-T: no screen

import fewstep.envs.sim.rendering  # noqa: F401  (chooses MuJoCo's backend)

pytest.register_assert_rewrite("fewstep.envs.testing")

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell ignores it for what it starts in the background
