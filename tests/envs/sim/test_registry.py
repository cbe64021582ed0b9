"""Tasks by name, with options for their constructors."""

from collections.abc import Sequence
from typing import Any

import fakes
import pytest

from fewstep.envs import RobotError
from fewstep.envs.sim.pick_place import CAMERAS
from fewstep.envs.sim.registry import TASKS, make_robot

SLOW = f"{fakes.__name__}:SlowPoint-v0"


def test_options_reach_the_constructor() -> None:
    assert make_robot(SLOW, options={"reach": 0.5}).env.unwrapped.reach == 0.5


def test_options_of_a_task_add_to_its_own() -> None:
    robot = make_robot("pickplace", options={"cameras": ["front"]}, pictures=True)
    assert "front" in robot.spec.observations


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reach": -1}, r"ValueError: reach must be above 0, not -1$"),
        ({"rech": 1}, r"TypeError: .*unexpected keyword argument 'rech'"),
    ],
)
def test_a_constructor_that_fails_says_so_in_one_line(options: dict, reason: str) -> None:
    with pytest.raises(RobotError, match=reason) as raised:
        make_robot(SLOW, options=options)
    assert "\n" not in str(raised.value)
    assert f"task '{SLOW}' cannot be made with options={options}: " in str(raised.value)


def images_of(robot: Any) -> list[str]:
    return list(robot.spec.images)


@pytest.mark.parametrize("cameras", [(), ("wrist",), ["front", "wrist"]])
def test_a_task_gives_the_cameras_that_are_named(cameras: Sequence[str]) -> None:
    assert images_of(make_robot("pickplace", cameras=cameras)) == list(cameras)


def test_cameras_add_to_those_of_the_options() -> None:
    options = {"cameras": ["front"]}
    robot = make_robot("pickplace", options=options, cameras=("wrist", "front"))
    assert images_of(robot) == ["front", "wrist"]


def test_the_cameras_of_a_task_are_those_of_its_environment() -> None:
    assert TASKS["pickplace"].cameras == CAMERAS


@pytest.mark.parametrize(
    ("task", "valid"),
    [("pickplace", "front, wrist"), ("pusht-mujoco", "(none)"), (SLOW, "(none)")],
)
def test_a_camera_that_there_is_not_is_refused_with_those_that_there_are(
    task: str, valid: str
) -> None:
    with pytest.raises(RobotError) as raised:
        make_robot(task, cameras=["side"])
    assert str(raised.value) == f"task {task!r} has no camera 'side'; valid: {valid}"


def test_a_camera_that_the_constructor_does_not_know_is_an_error() -> None:
    with pytest.raises(RobotError, match="unknown camera 'side'; valid: front, wrist"):
        make_robot("pickplace", options={"cameras": ["side"]})


def test_one_name_is_no_list_of_cameras() -> None:
    with pytest.raises(RobotError, match=r"as in cameras=\[front\]"):
        make_robot("pickplace", cameras="front")


def test_images_that_are_observed_anyway_may_be_named() -> None:
    pytest.importorskip("gym_pusht")
    options = {"obs_type": "pixels_agent_pos"}
    for cameras in ((), ("pixels",)):
        foreign = make_robot("gym_pusht:gym_pusht/PushT-v0", options=options, cameras=cameras)
        assert images_of(foreign) == ["pixels"]
        assert images_of(make_robot("pusht-pixels", cameras=cameras)) == ["pixels"]
