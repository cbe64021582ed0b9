"""The table of encoders, and what a policy's description says of them."""

from __future__ import annotations

from dataclasses import dataclass

from ....envs.errors import pick
from .state import StateEncoder

STATE_ENCODERS = {"mlp": StateEncoder}


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder reads which observations; there is none for images yet."""

    states: str = "mlp"  # of all state fields together: mlp

    def __post_init__(self) -> None:
        pick(STATE_ENCODERS, self.states, "encoder of states")
