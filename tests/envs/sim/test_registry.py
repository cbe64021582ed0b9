"""Tasks by name, with options for their constructors."""

import fakes
import pytest

from fewstep.envs import RobotError
from fewstep.envs.sim.registry import make_robot

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
