"""What a robot may do now, and which ways lead from one state to another."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a robot may do now. FAULT is left on purpose only."""

    DISARMED = "disarmed"  # nothing is sent
    HOLD = "hold"  # it stays where it is
    SHADOW = "shadow"  # everything runs, nothing is sent
    ACTIVE = "active"
    FAULT = "fault"  # it has braked, and holds


NEXT = {  # to which states one can go by asking
    State.DISARMED: {State.HOLD, State.SHADOW},
    State.HOLD: {State.ACTIVE, State.SHADOW, State.DISARMED},
    State.SHADOW: {State.HOLD, State.DISARMED},
    State.ACTIVE: {State.HOLD},
    State.FAULT: {State.HOLD, State.DISARMED},
}


SILENT = (State.DISARMED, State.SHADOW)  # nothing is sent
# Without a command for longer than both, a robot stands at its setpoint.
PAUSE_SECONDS = 0.02
PAUSE_TICKS = 3


def rest_after(hz: float) -> float:
    """Return the time between two commands after which a robot stands at its setpoint [s]."""
    return max(PAUSE_SECONDS, PAUSE_TICKS / hz)


@dataclass(frozen=True)
class WatchdogConfig:
    """What becomes a fault, and how softly a motion begins."""

    observation_seconds: float = 0.25  # [s] observations that are older are a fault
    camera_seconds: float = 0.5  # [s] pictures that are older are a fault
    action_seconds: float = 1.0  # [s] without a usable action while ACTIVE, after which it is one
    ramp_seconds: float = 1.0  # [s] over which full speed is reached after HOLD

    def pace(self, seconds: float) -> float:
        """Return the share of full velocity that a motion may have after so long [s]."""
        if not self.ramp_seconds:
            return 1.0
        return min(1.0, seconds / self.ramp_seconds)
