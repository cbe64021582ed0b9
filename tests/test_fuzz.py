"""Mutated inputs of every kind are read or refused.

A few of each here, as many as you like by tests/fuzz.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_inputs import TARGETS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the limits of a process are those of Linux"
)
FUZZ = Path(__file__).parent / "fuzz.py"
EACH = 20  # inputs of a target, the valid one beside
GROUPS = {
    "arrays": [
        "buffer",
        "buffer_of_others",
        "pusht",
        "archive.zip",
        "robomimic.hdf5",
        "robomimic_of_others.h5",
    ],
    "bags and tables": [
        "ros1.bag",
        "ros2_mcap",
        "ros2_sqlite",
        "fields.yaml",
        "limits.yaml",
        "command line",
    ],
    "others": [
        "lerobot",
        "lerobot_of_others",
        "lerobot_v21",
        "store",
        "store_lossless",
        "policy",
        "log",
    ],
}


@pytest.mark.parametrize("names", GROUPS.values(), ids=GROUPS)
def test_every_input_is_read_or_refused_by_an_error_of_ours(names: list[str]) -> None:
    command = [sys.executable, FUZZ, str(EACH * len(names)), ",".join(names)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"all: {(EACH + 1) * len(names)} inputs" in done.stdout


def test_every_target_is_tried() -> None:
    assert {*TARGETS, "command line"} == set().union(*GROUPS.values())
