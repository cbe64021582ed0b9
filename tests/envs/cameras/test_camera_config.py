"""Which cameras a robot has: what is written down, and what cannot be."""

from pathlib import Path
from typing import Any

import pytest

from fewstep.envs import ConfigError, Field, RobotError, Spec
from fewstep.envs.cameras.camera_config import (
    CameraConfig,
    camera_names,
    read_cameras,
    with_cameras,
    without,
)

SPEC = Spec({"joints": Field((2,), "rad")}, {"joints": Field((2,), "rad")}, 10.0)


def test_a_source_alone_is_a_camera_of_640x480_at_30_hz() -> None:
    assert read_cameras({"front": "/dev/video0"}) == {"front": CameraConfig("/dev/video0")}


def test_cameras_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text("front: {source: simulated, width: 320, height: 240, hz: 15}\n")
    assert read_cameras(str(path)) == {"front": CameraConfig("simulated", 320, 240, 15.0)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["front"], "a YAML file"),
        ({"front": {"source": "simulated", "fps": 30}}, "cameras.front: unknown entry fps"),
        ({"front": {}}, "cameras.front lacks source"),
        ({"front": 3}, "cameras.front: expected a table, not 3"),
        ({"in front": "simulated"}, "cannot be called 'in front'"),
        ({"front": {"source": "simulated", "width": 0}}, "no picture has 0x480 px"),
        ({"front": {"source": "simulated", "hz": 2}}, "cameras.front.hz must be 5 to 1000, not 2"),
        ({"front": {"source": "simulated", "width": 9000, "height": 9000}}, "more than 1024 MB"),
        ({"front": {"source": ""}}, "cameras.front.source is empty"),
        ({"time": "simulated"}, "cannot be called 'time': a store has it already"),
        ({"front": {"source": "simulated", "exposure": -1}}, "must be 0 to 10 s"),
        ({"front": "/dev/video0", "wrist": "/dev/video0"}, "front and wrist are both /dev/video0"),
        ("nowhere.yaml", "there is no file nowhere.yaml of cameras"),
    ],
)
def test_what_is_no_camera_is_refused_with_its_name(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_cameras(given)


def test_a_table_of_cameras_is_no_list_of_a_tasks_cameras() -> None:
    assert camera_names(["front", "wrist"]) == ("front", "wrist")
    with pytest.raises(ConfigError, match=r"\[front,wrist\]"):
        camera_names({"front": "/dev/video0"})


def test_a_spec_with_cameras_has_their_pictures_and_without_them_it_is_what_it_was() -> None:
    both = with_cameras(SPEC, {"front": (48, 64)})
    assert both.images["front"].shape == (48, 64, 3)
    assert without(both, ["front"]) == SPEC
    with pytest.raises(RobotError, match="joints"):
        with_cameras(SPEC, {"joints": (48, 64)})
