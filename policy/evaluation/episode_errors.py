"""Errors of many chunks, summed up by episode; their means with intervals, and how they differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...demos.windows import Windows
from .action_error import ActionError
from .statistics import judge, paired_t, t_interval

NO_MARGIN = 0.0  # a difference is told from none or it is not; none is small enough to be none


@dataclass(frozen=True)
class EpisodeErrors:
    """Sums of errors over the windows of each of E episodes, by step ahead and by number.

    measure: of the errors; sums (E, H, M): in its units; counts (E, H): how many actions were
    recorded so many steps ahead, since those past the end of an episode are left out.
    """

    measure: ActionError
    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def sum_up(
        cls, measure: ActionError, windows: Windows, chunks: np.ndarray, actions: np.ndarray
    ) -> EpisodeErrors:
        """Compare chunks (W, H, A) of the windows with all recorded actions (N, A)."""
        _, episode = np.unique(windows.starts, return_inverse=True)
        every = np.arange(len(windows))
        errors = measure.measure(chunks, actions[windows.chunk(every)])
        recorded = windows.recorded(every)
        sums = np.zeros((episode.max() + 1, *errors.shape[1:]))
        counts = np.zeros(sums.shape[:2], int)
        np.add.at(sums, episode, errors * recorded[..., None])
        np.add.at(counts, episode, recorded)
        return cls(measure, sums, counts)

    def by_element(self, steps: int) -> np.ndarray:
        """Return the mean error (E, M) over the first steps of all chunks of each episode."""
        return self.sums[:, :steps].sum(1) / self.counts[:, :steps].sum(1)[:, None]

    def shares(self, steps: int) -> np.ndarray:
        """Return the mean share (E,) over elements, and over the first steps."""
        return self.measure.mean_share(self.by_element(steps))

    def by_step(self) -> np.ndarray:
        """Return the mean error (H, M) so many steps ahead, over the episodes that last so long.

        It is NaN where no episode does.
        """
        known = self.counts > 0
        means = self.sums / np.where(known, self.counts, 1)[..., None]
        episodes = known.sum(0)[:, None]
        total = (means * known[..., None]).sum(0)
        return np.where(episodes > 0, total / np.maximum(episodes, 1), np.nan)


def summarise_errors(
    errors: EpisodeErrors, action_steps: int, numbers: Sequence[int]
) -> dict[str, Any]:
    """Return the figures of a result or a reference for JSON; what is not known is None.

    "executed" are the first action_steps of each chunk, "chunk" is all of it. numbers: of the
    episodes, as the store counts them.
    """
    horizon = errors.counts.shape[1]
    executed = errors.shares(action_steps)
    whole = errors.shares(horizon)
    episodes = []
    for index, number in enumerate(numbers):
        shares = {"executed": float(executed[index]), "chunk": float(whole[index])}
        episodes.append({"episode": number, **shares})
    return {
        "executed": _estimate(executed),
        "chunk": _estimate(whole),
        "by_step": _plain(errors.measure.mean_share(errors.by_step())),
        "elements": _summarise_elements(errors, action_steps),
        "episodes": episodes,
    }


def compare_errors(ours: EpisodeErrors, theirs: EpisodeErrors, action_steps: int) -> dict[str, Any]:
    """Return ours minus theirs on the same episodes, over the steps that would be executed.

    "verdict" says of ours better, worse or undecided: the smaller error is the better one.
    """
    difference = paired_t(ours.shares(action_steps), theirs.shares(action_steps))
    value, low, high = difference
    verdict = judge((-value, -high, -low), NO_MARGIN)
    return {"difference": value, "interval": _plain((low, high)), "verdict": verdict}


def _summarise_elements(errors: EpisodeErrors, action_steps: int) -> list[dict[str, Any]]:
    measure = errors.measure
    executed = errors.by_element(action_steps)
    whole = errors.by_element(errors.counts.shape[1])
    by_step = errors.by_step()
    elements = []
    for index, name in enumerate(measure.names):
        mean = float(executed[:, index].mean())
        known = bool(measure.counted[index])
        elements.append(
            {
                "name": name,
                "unit": measure.units[index],
                "range": float(measure.ranges[index]) if known else None,
                "executed": mean,
                "interval": _plain(_interval(executed[:, index])),
                "executed_share": mean / float(measure.ranges[index]) if known else None,
                "chunk": float(whole[:, index].mean()),
                "by_step": _plain(by_step[:, index]),
            }
        )
    return elements


def _estimate(shares: np.ndarray) -> dict[str, Any]:
    """Return a mean share over episodes with its 95 % interval; None where there is none."""
    return {"share": float(shares.mean()), "interval": _plain(_interval(shares))}


def _interval(errors: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean of errors, none of which can be below zero."""
    low, high = t_interval(errors)
    return max(low, 0.0) if math.isfinite(low) else low, high


def _plain(numbers: Iterable[float]) -> list[float | None]:
    """Return numbers for JSON, which has neither NaN nor infinity."""
    return [float(number) if math.isfinite(number) else None for number in numbers]
