"""What the inference process is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from ...envs.cameras.rings import CameraPort


@dataclass(frozen=True)
class InferenceConfig:
    """The policy that acts, and where it is asked."""

    policy: str  # its folder
    engine: str = "eager"  # what computes the chunks
    threads: int = 1  # of the CPU
    requests: int = -1  # file descriptor of the mailbox with what is asked
    chunks: int = -1  # file descriptor of the mailbox for the answers
    monitor: bool = False  # whether its chunks are scored
    cameras: tuple[CameraPort, ...] = ()  # whose pictures are taken from shared memory
