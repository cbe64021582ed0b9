"""What must be settled before a test module is imported."""

import os
import signal
from collections.abc import Iterator

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # torch: on tensors this small, threads cost more than they bring
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame, below Push-T: no screen

import fewstep.envs.sim.rendering  # noqa: F401  (chooses MuJoCo's backend)

pytest.register_assert_rewrite("fewstep.envs.testing")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is cached out of the home of who runs this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a shell ignores it for what it starts in the background
