"""What limits would leave of commands that are not sent."""

from __future__ import annotations

import numpy as np

from ..errors import RobotError
from ..spec import Spec
from .limiter import Limiter
from .limits import Limits


class Shadow:
    """The setpoints of a robot that would follow them exactly; it has a limiter of its own.

    So nothing of them is there when the robot itself is armed.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self._limiter = Limiter(spec, limits)

    def begin(self) -> None:
        """Begin anew, where the robot is when the next command comes."""
        self._limiter.lift()

    def next(self, wanted: np.ndarray | None, measured: np.ndarray, pace: float) -> np.ndarray:
        """Return what limits leave of a command (A,); NaN while the robot is outside of them."""
        if not self._limiter.located:
            try:
                self._limiter.start(measured)
            except RobotError:
                return np.full_like(measured, np.nan)
        return self._limiter.next(wanted, None, pace)
