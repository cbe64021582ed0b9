"""What must be settled before a test module is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch: on tensors this small, threads cost more than they bring
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame, below Push-T: no screen

import fewstep.envs.rendering  # noqa: F401  (chooses MuJoCo's backend)
