"""Modules that a user names: where they are searched, and what child processes inherit."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from fewstep.envs import RobotError
from fewstep.envs.hardware.registry import is_driver, make_live
from fewstep.envs.modules import begin_child, load_module, safe_children
from fewstep.envs.sim.registry import make_robot


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty current folder; what a test does to the path of this process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in ("my_arm", "my_other"):  # of other tests
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_what_was_looked_for_and_where_is_said(path: Path) -> None:
    where = re.escape(str(path))
    missing = f"no module 'my_arm': it is neither installed nor in the current folder {where}"
    with pytest.raises(RobotError, match=f"'my_arm:make' could not be made: there is {missing}"):
        make_live("my_arm:make", {})
    with pytest.raises(
        RobotError, match=f"'my_arm:Env-v0': there is {missing}; built in: pickplace"
    ):
        make_robot("my_arm:Env-v0")
    (path / "my_arm.py").write_text("import no_such_driver\n")
    with pytest.raises(RobotError, match="'my_arm' needs no_such_driver, which is not installed"):
        make_live("my_arm:make", {})
    (path / "your_arm.py").write_text("x = 3\n")
    with pytest.raises(RobotError, match=f"{where}/your_arm.py has no callable 'x'"):
        make_live("your_arm:x", {})
    with pytest.raises(RobotError, match="could not be made: module '' fails: ValueError"):
        make_live(":x", {})


def test_what_is_installed_comes_first(path: Path) -> None:
    (path / "calendar.py").write_text("raise SystemExit('the calendar of the current folder')\n")
    sys.modules.pop("calendar", None)
    assert load_module("calendar").__file__ != str(path / "calendar.py")
    assert sys.path[-1] == str(path)
    assert sys.path.count(str(path)) == 1
    load_module("calendar")
    assert sys.path.count(str(path)) == 1


def test_who_names_no_module_gets_none_from_the_current_folder(path: Path) -> None:
    for name in ("pickplace", "Pendulum-v1"):
        make_robot(name).close()
    make_live("simulated", {}).close()
    for name in ("nothing", "no-such-v0"):
        with pytest.raises(RobotError):
            make_live(name, {})
    assert str(path) not in sys.path
    assert "" not in sys.path


def test_a_driver_beside_the_user_is_told_from_a_task(path: Path) -> None:
    (path / "my_other.py").write_text("def Arm(): pass\n")
    assert is_driver("simulated")
    assert is_driver("my_other:Arm")
    for task in ("my_other:Env-v0", "pickplace", "Pendulum-v1"):
        assert not is_driver(task)
    with pytest.raises(RobotError, match="there is no module 'my_arm'"):
        is_driver("my_arm:make")


def test_a_current_folder_that_was_deleted_holds_no_modules(path: Path) -> None:
    path.rmdir()
    with pytest.raises(RobotError, match="in the current folder which has been deleted"):
        load_module("my_arm")


def test_processes_of_a_worker_search_where_they_always_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with safe_children() as before:
        assert os.environ["PYTHONSAFEPATH"]
        with ProcessPoolExecutor(1, get_context("spawn"), begin_child, (before,)) as pool:
            assert pool.submit(os.getenv, "PYTHONSAFEPATH").result() is None
    assert "PYTHONSAFEPATH" not in os.environ


PARENT = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from fewstep.envs.modules import begin_child
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), begin_child, (None,))
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def test_a_worker_ends_with_a_parent_that_is_killed(path: Path) -> None:
    (path / "parent.py").write_text(PARENT)
    with subprocess.Popen([sys.executable, "parent.py"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        parent.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and "\nState:\tZ" not in status(worker):
        assert time.monotonic() < end, "the worker lives on"
        time.sleep(0.05)


def status(process: int) -> str:
    try:
        return Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return "\nState:\tZ"


def test_children_inherit_the_path_but_for_folders_where_a_module_was_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys.path.append(str(path))  # as an editable install does
    load_module("calendar")
    elsewhere = path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    load_module("calendar")
    with safe_children():
        assert sys.path[-1] == str(path)
    assert sys.path[-2:] == [str(path), str(elsewhere)]
