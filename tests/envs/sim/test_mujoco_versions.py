"""Where a library of environments does not fit MuJoCo, the error names both versions."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import gymnasium as gym
import pytest

pytest.importorskip("mujoco")

from fewstep.envs import RobotError
from fewstep.envs.sim import mujoco_versions
from fewstep.envs.sim.registry import make_robot

LIBRARY = """
import gymnasium as gym

class Fetch(gym.Env):
    def __init__(self):
        assert False

gym.register("Unfit-v0", Fetch, max_episode_steps=3)
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of packages that look installed."""
    versions: dict[str, str] = {"gymnasium-robotics": "1.4.2"}

    def version(distribution: str) -> str:
        return versions.get(distribution) or metadata.version(distribution)

    monkeypatch.setattr(mujoco_versions, "version", version)
    return versions


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A gymnasium_robotics in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "gymnasium_robotics", raising=False)
    path = tmp_path / "gymnasium_robotics.py"
    path.write_text(LIBRARY)
    yield path
    sys.modules.pop("gymnasium_robotics", None)
    gym.registry.pop("Unfit-v0", None)


def test_a_constructor_that_fails_within_such_a_library_names_the_versions(
    library: Path, installed: dict[str, str]
) -> None:
    installed["mujoco"] = "4.0.0"
    with pytest.raises(RobotError) as raised:
        make_robot("gymnasium_robotics:Unfit-v0")
    said = str(raised.value)
    assert "task 'gymnasium_robotics:Unfit-v0' cannot be made: AssertionError (raised" in said
    assert "gymnasium-robotics 1.4.2 with mujoco 4.0.0" in said
    assert "runs with mujoco==3.3.7" in said


def test_an_import_that_fails_names_them_too(library: Path, installed: dict[str, str]) -> None:
    installed["mujoco"] = "4.0.0"
    library.write_text("raise AttributeError('MjModel has no flex')")
    with pytest.raises(RobotError, match=r"with mujoco 4\.0\.0, which may not fit"):
        make_robot("gymnasium_robotics:Unfit-v0")


def test_where_the_versions_are_known_to_fit_none_are_named(
    library: Path, installed: dict[str, str]
) -> None:
    installed["mujoco"] = "3.3.7"
    with pytest.raises(RobotError, match=r"AssertionError$"):
        make_robot("gymnasium_robotics:Unfit-v0")


def test_what_other_libraries_raise_names_no_versions() -> None:
    try:
        int("x")
    except ValueError as error:
        assert not mujoco_versions.explain_failure(error)
