"""A mark for tests that draw pictures."""

import os

import pytest

import fewstep.envs.sim.rendering  # noqa: F401  (chooses MuJoCo's backend)

needs_opengl = pytest.mark.skipif(
    os.environ.get("MUJOCO_GL") == "disabled", reason="this machine has no OpenGL"
)
