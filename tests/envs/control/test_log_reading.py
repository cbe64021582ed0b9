"""What the log of a run tells of its limits."""

import numpy as np

from fewstep.envs import Field, Spec
from fewstep.envs.control.control_loop import tick_type
from fewstep.envs.control.log_reading import Altered

ARM = Spec(
    {"q": Field((2,), "rad", names=("shoulder", "elbow"))},
    {"q": Field((2,), "rad", kind="angle", names=("shoulder", "elbow"), measured_by="q")},
    10.0,
)


def ticks_of(wanted: np.ndarray, limited: np.ndarray) -> np.ndarray:
    ticks = np.zeros(len(wanted), tick_type(2, 1))
    ticks["wanted"] = wanted
    ticks["limited"] = limited
    return ticks


def test_the_share_of_commands_that_limits_have_changed_is_told() -> None:
    wanted = np.tile([0.5, 3.1], (10, 1))
    limited = wanted.copy()
    limited[:3, 0] = [0.4, 0.3, 0.2]
    limited[9, 1] = 3.1 - 2 * np.pi  # the same angle
    wanted[8] = np.nan  # nothing was wanted
    altered = Altered.of(ARM, ticks_of(wanted, limited))
    assert altered.share == 3 / 9
    assert altered.describe() == (
        "limits changed 33% of 9 commands: q.shoulder by 0.2 rad, at most 0.3"
    )


def test_an_episode_without_a_command_has_none_changed() -> None:
    nothing = np.full((4, 2), np.nan)
    altered = Altered.of(ARM, ticks_of(nothing, nothing))
    assert altered.share == 0 and altered.describe() == "limits changed 0% of 0 commands"


def test_rounding_is_no_change() -> None:
    wanted = np.full((4, 2), 0.3)
    assert Altered.of(ARM, ticks_of(wanted, wanted + 1e-12)).share == 0
