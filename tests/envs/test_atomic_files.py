"""What is begun beside a place and not finished leaves nothing behind, however its writer ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fewstep.envs import DataError
from fewstep.envs.atomic_files import new_file, new_folder

FILL = """
import sys, time
from pathlib import Path
from fewstep.envs import atomic_files

def removed_slowly(path, **options):
    print("removing", flush=True)
    deadline = time.monotonic() + {pause}
    while time.monotonic() < deadline:
        time.sleep(0.01)
    original(path, **options)

original = atomic_files.rmtree
atomic_files.rmtree = removed_slowly
try:
    with atomic_files.new_folder(Path(sys.argv[1])) as folder:
        (folder / "half").write_bytes(b"half")
        print("begun", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@contextmanager
def writer(path: Path, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun a folder, and takes so many seconds to remove it."""
    script = FILL.format(pause=pause)
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            expect(process, "begun")
            yield process
        finally:
            process.kill()


def expect(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_second_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with writer(tmp_path / "made", pause=0.5) as process:
        process.send_signal(signal.SIGINT)
        expect(process, "removing")
        process.send_signal(signal.SIGINT)
        expect(process, "stopped")
        assert process.wait(20) == 0
    assert names_in(tmp_path) == []


def test_the_next_writer_removes_what_a_killed_one_began(tmp_path: Path) -> None:
    with writer(tmp_path / "made") as process:
        process.kill()
        process.wait(20)
    assert len(names_in(tmp_path)) == 2, "the folder and its lock"
    with new_folder(tmp_path / "made"):
        pass
    assert names_in(tmp_path) == ["made"]


@pytest.mark.parametrize("place", [new_folder, new_file])
def test_what_a_living_writer_fills_is_left_alone(tmp_path: Path, place) -> None:
    with writer(tmp_path / "made"):
        before = names_in(tmp_path)
        for name in before:
            os.utime(tmp_path / name, (0, 0))
        with pytest.raises(ZeroDivisionError), place(tmp_path / "made"):
            raise ZeroDivisionError
        assert names_in(tmp_path) == before


def test_a_folder_that_a_thread_still_writes_to_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewstep.envs.atomic_files.rmtree", Straggler().remove)
    with pytest.raises(DataError, match="no space"), new_folder(tmp_path / "made"):
        raise OSError(28, "no space")
    assert names_in(tmp_path) == []


def test_a_place_in_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="could not write"), new_file(tmp_path / "file" / "made"):
        pass
    assert names_in(tmp_path) == ["file"]


class Straggler:
    """Writes into a folder while it is removed, once."""

    def __init__(self) -> None:
        self.calls = 0

    def remove(self, folder: Path, ignore_errors: bool) -> None:
        self.calls += 1
        if self.calls == 1:
            (folder / "late").touch()
            return
        for entry in folder.iterdir():
            entry.unlink()
        folder.rmdir()
