"""How smooth a rollout was: jumps where one chunk takes over from another, and jerk."""

from __future__ import annotations

import numpy as np
import torch

from ...envs import Step
from ...envs.agent import Chunk
from ..field_codes import encoded_width
from ..policy import Policy


class Smoothness:
    """Hears every step of one rollout; all but discrete actions count, in halves of the demonstrated range, as rms."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        fields = policy.spec.actions.values()
        self._kept = np.concatenate(
            [np.full(encoded_width(f), f.kind != "discrete") for f in fields]
        )
        self._chunk: Chunk | None = None
        self._sent: list[np.ndarray] = []
        self._seams: list[float] = []

    def hear(self, step: Step, chunk: Chunk | None) -> None:
        """A step, and the chunk that its command came from."""
        before, self._chunk = self._chunk, chunk
        self._sent.append(step.sent)
        old = (
            before.at(step.obs.time, self._policy.spec)
            if before is not None and chunk is not before
            else None
        )
        if old is not None and step.intended.action is not None:
            self._seams.append(_rms(self._encode(step.intended.action) - self._encode(old)))

    def result(self) -> dict[str, float | None]:
        """seam: mean difference between new and old chunk at the tick of the change; jerk: rms third difference."""
        sent = self._encode(np.stack(self._sent)) if self._sent else np.empty((0, 1))
        jerk = _rms(np.diff(sent, 3, axis=0)) if len(sent) > 3 else None
        return {"seam": float(np.mean(self._seams)) if self._seams else None, "jerk": jerk}

    def _encode(self, actions: np.ndarray) -> np.ndarray:
        x = self._policy.normaliser.encode_actions(torch.as_tensor(actions, dtype=torch.float32))
        return x.cpu().numpy()[..., self._kept]


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
