"""How smooth a rollout was: jumps where one chunk takes over from another, and jerk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...envs import Spec, Step
from ...envs.chunk import Chunk
from ..field_widths import encoded_width

EncodeActions = Callable[[torch.Tensor], torch.Tensor]  # (..., A) in robot units to (..., E)


class Smoothness:
    """Seams and jerk of one rollout, as root mean squares in halves of the demonstrated range.

    All but discrete actions count. encode: of a policy's normaliser; where it is None neither is
    known.
    """

    def __init__(self, spec: Spec, encode: EncodeActions | None) -> None:
        self._spec = spec
        self._encode_actions = encode
        counted: list[np.ndarray] = []
        for field in spec.actions.values():
            counted.append(np.full(encoded_width(field), field.kind != "discrete"))
        self._counted = np.concatenate(counted)  # which encoded numbers count
        self._chunk: Chunk | None = None
        self._sent: list[np.ndarray] = []
        self._seams: list[float] = []

    def add(self, step: Step, chunk: Chunk | None) -> None:
        """Take a step of the rollout, and the chunk that its command came from."""
        if self._encode_actions is None:
            return
        before = self._chunk
        self._chunk = chunk
        self._sent.append(step.sent)
        intended = step.intended.action
        if before is None or chunk is before or intended is None:
            return
        expected = before.at(step.obs.time, self._spec)
        if expected is not None:
            difference = self._encode(intended) - self._encode(expected)
            self._seams.append(_root_mean_square(difference))

    def result(self) -> dict[str, float | None]:
        """Return "seam" and "jerk", each None where there is none.

        seam: the mean difference between an old chunk and the new one at the tick of the change;
        jerk: the third difference of what was sent.
        """
        seam = float(np.mean(self._seams)) if self._seams else None
        jerk = None
        if len(self._sent) > 3:
            sent = self._encode(np.stack(self._sent))
            jerk = _root_mean_square(np.diff(sent, 3, axis=0))
        return {"seam": seam, "jerk": jerk}

    def _encode(self, actions: np.ndarray) -> np.ndarray:
        """Return actions (..., A) in robot units as the encoded numbers that count."""
        robot_units = torch.as_tensor(actions, dtype=torch.float32)
        assert self._encode_actions is not None
        encoded = self._encode_actions(robot_units)
        return encoded.cpu().numpy()[..., self._counted]


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
