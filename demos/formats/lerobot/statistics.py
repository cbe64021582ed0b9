"""The statistics that a LeRobot dataset keeps, of each episode and of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...episode import Episode
from .features import IMAGES

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
PICTURES = 20  # of an episode, from which its statistics are made
Figures = dict[str, list]  # statistic -> one value an element, or a channel (3, 1, 1)
Statistics = dict[str, Figures]  # of each feature


def episode_statistics(episode: Episode, numbers: dict[str, np.ndarray]) -> Statistics:
    """Return those of one episode; images in 0 to 1, from a few pictures.

    numbers: its features that are no images, (T, ...) each.
    """
    statistics = {}
    for key, values in numbers.items():
        statistics[key] = _figures(values.astype(float).reshape(len(values), -1))
    for key in episode.spec.images:
        some = np.asarray(episode.data[key][:: max(1, len(episode) // PICTURES)])
        statistics[IMAGES + key] = _image_figures(some)
    return statistics


def _figures(rows: np.ndarray) -> Figures:
    """Return the statistics of rows (N, n)."""
    figures = {
        "min": rows.min(0).tolist(),
        "max": rows.max(0).tolist(),
        "mean": rows.mean(0).tolist(),
        "std": rows.std(0).tolist(),
    }
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    for name, values in zip(QUANTILES, quantiles, strict=True):
        figures[name] = values.tolist()
    figures["count"] = [len(rows)]
    return figures


def _image_figures(images: np.ndarray) -> Figures:
    """Return the statistics of the channels of images (n, height, width, 3)."""
    figures = _figures(images.reshape(-1, 3) / 255)
    for name, values in figures.items():
        if name != "count":
            figures[name] = np.reshape(values, (3, 1, 1)).tolist()
    return figures


def join_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Return those of all episodes.

    They are exact but for the quantiles, which are means of the episodes'.
    """
    joined = {}
    for feature in parts[0]:
        joined[feature] = _join_figures([part[feature] for part in parts])
    return joined


def _join_figures(parts: Sequence[Figures]) -> Figures:
    stacked = {}
    for name in parts[0]:
        stacked[name] = np.array([part[name] for part in parts])
    counts = stacked["count"]
    means = stacked["mean"]
    share = counts.reshape(-1, *[1] * (means.ndim - 1)) / counts.sum()
    mean = (share * means).sum(0)
    variance = (share * (stacked["std"] ** 2 + (means - mean) ** 2)).sum(0)
    figures = {
        "min": stacked["min"].min(0).tolist(),
        "max": stacked["max"].max(0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
    }
    for name in QUANTILES:
        figures[name] = (share * stacked[name]).sum(0).tolist()
    figures["count"] = [int(counts.sum())]
    return figures
